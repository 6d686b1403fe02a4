"""Pages opened in a real Chromium, with their console messages and network requests."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from playwright.sync_api import Page, expect

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
Scheme = Literal["light", "dark"]


class Opened:
    """An open report page, after its plot is drawn."""

    def __init__(self, page: Page, place: Path | str) -> None:
        self._listen(page)
        page.goto(place.as_uri() if isinstance(place, Path) else place)
        page.wait_for_selector("#plot[data-ready]")

    @classmethod
    def of(cls, page: Page) -> Self:
        """Return the wrapper of a page that is open already."""
        opened = cls.__new__(cls)
        opened._listen(page)
        page.wait_for_selector("#plot[data-ready]")
        return opened

    def _listen(self, page: Page) -> None:
        self.page = page
        self.logged: list[str] = []
        self.fetched: list[str] = []
        page.on("console", lambda message: self.logged.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.logged.append(str(error)))
        page.on("request", lambda request: self.fetched.append(request.url))

    def settled(self) -> None:
        """Wait until the answers at the selected point are shown: they are decompressed or fetched after the click."""
        expect(self.page.locator("#list")).not_to_have_attribute("aria-busy", "true")

    def quiet(self) -> None:
        """Check that nothing was logged, and that nothing was requested from elsewhere than the page or its server."""
        host = "/".join(self.page.url.split("/")[:3]) + "/"
        own = ("data:", "blob:", host if self.page.url.startswith("http") else self.page.url)
        assert (self.logged, [url for url in self.fetched if not url.startswith(own)]) == ([], [])
