"""The documentation site: it is built without warnings, is complete, and works from disk in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect
from typer.core import TyperGroup
from typer.main import get_command

import safescape
from safescape.cli import app
from safescape.options import ScanOptions

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, in strict mode.

    The build fails on any warning or error: a broken link or anchor, an absolute link, a page that the navigation
    lacks, or a Python name that is not found. Only messages of level INFO are allowed, and the notice of the theme
    about its own future, which is no message of the build.
    """
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    levels = set(re.findall(r"^(\w+) +-  ", done.stderr, re.MULTILINE))
    assert levels == {"INFO"}, done.stderr
    return place


def test_every_page_of_docs_is_built(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert {page.replace("README", "index") for page in pages} <= built


def test_the_reference_has_every_command_with_its_options(site: Path) -> None:
    page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    commands = dict(group.commands)
    study = commands.pop("study")
    assert isinstance(study, TyperGroup)
    commands |= {f"study {name}": command for name, command in study.commands.items()}
    assert len(commands) > 10
    for name, command in commands.items():
        _, found, rest = page.partition(f">safescape {name}<")
        assert found, name
        section = rest.partition("<h2")[0]
        for parameter in command.params:
            for typed in (*parameter.opts, *parameter.secondary_opts):
                assert not typed.startswith("--") or f"{typed}</code>" in section or f"{typed}," in section, typed


def test_the_reference_has_every_public_name(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in safescape.__all__:
        assert re.search(rf'<h3 id="safescape\.(\w+\.)*{name}"', page), name
    section = page.partition('id="safescape.scan"')[2].partition("<h3")[0]
    assert [name for name in ScanOptions.model_fields if f"<code>{name}</code>" not in section] == []
    assert "Raises" in page
    assert "{{" not in page


def test_pages_and_styles_load_nothing_from_other_hosts(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|iframe|source)[^>]*src="(?:https?:)?//[^"]*"', text) == [], path
        assert re.findall(r'<link[^>]*href="(?:https?:)?//[^"]*"', text) == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//|@import", path.read_text(encoding="utf-8")) == [], path


def record_requests(page: Page, found: list[str]) -> None:
    """Record the address of every request of a page that is not read from disk."""

    def record(request: Request) -> None:
        if not request.url.startswith("file:"):
            found.append(request.url)

    page.on("request", record)


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("name", ["index", "tutorial", "reference/commands", "reference/python", "errors/index"])
def test_a_page_opened_from_disk_is_complete_and_fits(page: Page, site: Path, name: str, width: int) -> None:
    failed: list[str] = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    record_requests(page, failed)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto((site / f"{name}.html").as_uri())
    expect(page.locator("h1").first).to_be_visible()
    broken = "() => [...document.images].filter((each) => each.complete && !each.naturalWidth).map(({ src }) => src)"
    page.wait_for_load_state("load")
    assert page.evaluate(broken) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert failed == []


@pytest.mark.parametrize("name", ["index", "errors/disk"])
def test_the_search_works_from_disk(page: Page, site: Path, name: str) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    record_requests(page, said)
    page.goto((site / f"{name}.html").as_uri())
    page.keyboard.press("s")
    page.keyboard.type("staircase")
    found = page.locator(".md-search-result__link", has_text="Read a landscape")
    expect(found).to_be_visible()
    found.click()
    expect(page.locator("h1")).to_contain_text("Read a landscape")
    assert said == []
