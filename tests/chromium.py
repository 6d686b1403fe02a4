"""Pages opened in a real Chromium, with what they log and fetch."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

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

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.logged: list[str] = []
        self.fetched: list[str] = []
        page.on("console", lambda message: self.logged.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.logged.append(str(error)))
        page.on("request", lambda request: self.fetched.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#plot[data-ready]")

    def quiet(self) -> None:
        outside = [url for url in self.fetched[1:] if not url.startswith(("data:", "blob:"))]
        assert (self.logged, outside) == ([], [])
