"""The form of `safescape label --page` in a real browser: keys, buttons, folded answers, and hostile texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from helpers.behaviours import four_outcomes
from helpers.explorer_process import serving
from helpers.hostile_texts import HOSTILE
from helpers.runs import make_run
from helpers.surveys import make_survey
from safescape.store import Store
from safescape.survey import Label, Point


def hostile(point: Point, number: int, complied: bool) -> str:
    return " ".join([HOSTILE[number % len(HOSTILE)]] * 20)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    survey = make_survey(prompts=list(HOSTILE), lines=1, steps=4, judges=("refusal",))
    make_run(tmp_path / "run", survey, opinion=four_outcomes, text=hostile).close()
    return tmp_path / "run"


@pytest.fixture
def address(run: Path) -> Iterator[str]:
    with serving("label", run, "--n", 6, "--page", "--no-open", "--port", 0) as served:
        yield served.address
        assert served.end()[2] == ""


def labels_in(run: Path) -> list[Label | None]:
    with Store.read(run) as store:
        sample = store.labels.sample()
    assert sample is not None
    return [row.label for row in sample.rows]


def test_answers_are_labelled_by_keys_and_buttons(page: Page, address: str, run: Path) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    expect(page.locator("#shown")).to_have_text("0 of 6 labelled")
    expect(page.locator("#text")).to_be_hidden()
    page.keyboard.press(" ")
    expect(page.locator("#text")).to_be_visible()
    page.keyboard.press("r")
    expect(page.locator("#shown")).to_have_text("1 of 6 labelled")
    expect(page.locator("#text")).to_be_hidden()
    page.get_by_role("button", name="Complied").click()
    expect(page.locator("#shown")).to_have_text("2 of 6 labelled")
    page.get_by_role("button", name="Skip").click()
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(page.locator("#shown")).to_have_text("1 of 6 labelled")
    page.keyboard.press("p")
    expect(page.locator("#shown")).to_have_text("2 of 6 labelled")
    assert labels_in(run) == [Label.REFUSED, Label.PARTIAL, None, None, None, None]
    for count in range(3, 7):
        page.keyboard.press("i")
        expect(page.locator("#shown")).to_contain_text(f"{count} of 6 labelled")
    expect(page.locator("#shown")).to_contain_text("done")
    assert page.evaluate("window.ran") is None
    assert said == []


def test_a_label_given_while_another_is_stored_is_ignored_and_undo_waits(page: Page, address: str, run: Path) -> None:
    """The next answer is not shown yet, so that a label of it would be given unseen."""
    page.add_init_script(
        "const quick = window.fetch;"
        "const later = () => new Promise((go) => setTimeout(go, 500));"
        "window.fetch = async (...given) => { await later(); return quick(...given); };"
    )
    page.goto(address)
    expect(page.locator("#shown")).to_have_text("0 of 6 labelled")
    with page.expect_response(lambda response: '"label":null' in (response.request.post_data or "")):
        for key in "rcu":
            page.keyboard.press(key)
    expect(page.locator("#shown")).to_have_text("0 of 6 labelled")
    assert labels_in(run) == [None] * 6


def test_the_form_goes_on_after_it_was_closed(page: Page, address: str) -> None:
    page.goto(address)
    page.keyboard.press("c")
    expect(page.locator("#shown")).to_have_text("1 of 6 labelled")
    page.reload()
    expect(page.locator("#shown")).to_have_text("1 of 6 labelled")
