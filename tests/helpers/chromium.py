"""Pages opened in a real Chromium, with their console messages and network requests."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from playwright.sync_api import Browser, Page, ViewportSize, expect

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


class Pages:
    """Opens pages of one browser and closes them together."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._opened: list[Page] = []

    def open(self, width: int, height: int = 800, *, scheme: Scheme = "light", still: bool = False) -> Page:
        """Open an empty page; a `still` one prefers reduced motion."""
        size: ViewportSize = {"width": width, "height": height}
        motion: Literal["reduce", "no-preference"] = "reduce" if still else "no-preference"
        self._opened.append(self._browser.new_page(viewport=size, color_scheme=scheme, reduced_motion=motion))
        return self._opened[-1]

    def close(self) -> None:
        for page in self._opened:
            page.close()


def place_in_plot(page: Page, x: float, y: float, *, axis: str = "yaxis") -> tuple[float, float]:
    """Return the position in the window of a point of the plot."""
    across, down = page.evaluate(
        """([x, y, axis]) => {
            const { xaxis, [axis]: yaxis } = document.getElementById("plot")._fullLayout;
            const box = document.getElementById("plot").getBoundingClientRect();
            return [box.left + xaxis._offset + xaxis.l2p(x), box.top + yaxis._offset + yaxis.l2p(y)];
        }""",
        [x, y, axis],
    )
    return across, down


def click_first_point(page: Page) -> None:
    """Click the first point of the first curve of the plot."""
    curve = page.locator("#plot .scatterlayer .trace", has=page.locator(".points path")).first
    curve.locator(".points path").first.click(force=True)


def select_first_point(page: Page) -> None:
    """Move the slider of a report to the first point of the line."""
    page.locator("#alpha").evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')) }")


def adding_script(properties: str) -> str:
    """Return the JavaScript statement that adds a script element with these properties to the page."""
    return f"document.body.append(Object.assign(document.createElement('script'), {{ {properties} }}))"


def directive_that_stops(page: Page, statement: str) -> str:
    """Run a JavaScript statement and return the directive of the page's policy that it violates, or "allowed"."""
    return str(
        page.evaluate(
            f"""() => new Promise((resolve) => {{
                document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
                {statement};
                setTimeout(() => resolve("allowed"), 2000);
            }})"""
        )
    )


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

    def assert_quiet(self) -> None:
        """Check that nothing was logged, and that nothing was requested from elsewhere than the page or its server."""
        host = "/".join(self.page.url.split("/")[:3]) + "/"
        own = ("data:", "blob:", host if self.page.url.startswith("http") else self.page.url)
        assert (self.logged, [url for url in self.fetched if not url.startswith(own)]) == ([], [])
