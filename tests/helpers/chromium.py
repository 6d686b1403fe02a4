"""Pages opened in a real Chromium, with what they log and fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Self

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


class Opened:
    """An open page whose plot is drawn."""

    def __init__(self, page: Page, place: Path | str) -> None:
        self._listen(page)
        page.goto(place.as_uri() if isinstance(place, Path) else place)
        page.wait_for_selector("#plot[data-ready]")

    @classmethod
    def of(cls, page: Page) -> Self:
        """The page that is open already."""
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
        """What was said at the chosen point is shown: it is unpacked, or fetched, after the choice."""
        expect(self.page.locator("#list")).not_to_have_attribute("aria-busy", "true")

    def quiet(self) -> None:
        """Nothing was logged, and nothing fetched but the page and, where it is served, what its server has."""
        host = "/".join(self.page.url.split("/")[:3]) + "/"
        own = ("data:", "blob:", host if self.page.url.startswith("http") else self.page.url)
        assert (self.logged, [url for url in self.fetched if not url.startswith(own)]) == ([], [])
