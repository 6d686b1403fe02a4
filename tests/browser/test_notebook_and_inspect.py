"""An exported log in Inspect's viewer, and the summary in a notebook cell, in a real browser."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Locator, Page, expect

import safescape
from helpers.behaviours import four_outcomes
from helpers.hostile_texts import HOSTILE
from helpers.runs import make_run
from helpers.surveys import TWO_JUDGES, further, make_survey


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    lines = make_survey(prompts=20, lines=2, steps=8, judges=TWO_JUDGES)
    make_run(directory / "lines", lines, opinion=four_outcomes).close()
    hostile = make_survey(model=HOSTILE[0], prompts=HOSTILE, lines=1, steps=2, also=further(HOSTILE[1]))
    make_run(directory / "hostile", hostile, text=lambda point, number, _: HOSTILE[number % len(HOSTILE)]).close()
    return directory


@pytest.fixture(scope="module")
def viewer(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a log of each run with `inspect view`, and return the address."""
    logs, home = tmp_path_factory.mktemp("logs"), tmp_path_factory.mktemp("home")
    safescape.export(runs / "lines", logs / "far.eval", at=0.25, line=1)
    safescape.export(runs / "hostile", logs / "hostile.eval")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("inspect")), "view", "start", "--log-dir", str(logs)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home)},
        text=True,
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        while not _answers(address):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.communicate()


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def _open(row: Locator, opened: Locator) -> None:
    """Click a row until what it opens is there: Inspect's viewer loses a click that comes while it draws its list."""
    for _ in range(5):
        if row.is_visible():
            row.click()
        with contextlib.suppress(AssertionError):
            expect(opened).to_be_visible(timeout=3000)
            return
    expect(opened).to_be_visible()


def test_inspect_lists_and_opens_a_point(page: Page, viewer: str) -> None:
    page.goto(viewer)
    row = page.get_by_role("row").filter(has_text="harmful at line 1, α = 0.25")
    expect(row).to_contain_text("example/Model-7B-chat")
    expect(row).to_contain_text("90.0")
    _open(page.get_by_text("harmful at line 1, α = 0.25"), page.get_by_text("harmful — 20 samples"))
    expect(page.locator("body")).to_contain_text("97.213")  # the end of the interval of 18 in 20
    expect(page.locator("body")).to_contain_text("1.5 sec")
    _open(page.get_by_text("Harmful request number 4", exact=True), page.get_by_text("Sample 5"))
    expect(page.locator("body")).to_contain_text("Answer 4 at +0.25: step one, step two and so on.")
    expect(page.get_by_text("complied", exact=True)).to_have_count(2)


def test_scripts_in_responses_are_not_executed_in_inspect(page: Page, viewer: str) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for number in (1, 4, 9):
        page.goto(f"{viewer}#/tasks/hostile.eval/samples/sample/{number}/1")
        expect(page.get_by_text(f"Sample {number}")).to_be_visible()
        expect(page.locator("body")).to_contain_text(HOSTILE[number - 1].split("\0")[0].strip())
        assert page.evaluate("window.ran") is None
    assert errors == []


@pytest.mark.parametrize("name", ["lines", "hostile"])
def test_a_notebook_shows_a_run_and_executes_no_script(page: Page, runs: Path, name: str) -> None:
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    page.set_content(safescape.load_run(runs / name)._repr_html_())
    picture = page.get_by_role("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.naturalWidth") > 500
    expect(page.get_by_role("row").filter(has_text="VISAGE").first).to_contain_text(" to ")
    expect(page.locator("strong")).to_contain_text(HOSTILE[0] if name == "hostile" else "example/Model-7B-chat")
    assert page.evaluate("window.ran") is None
    assert [url for url in fetched if not url.startswith("data:")] == []
