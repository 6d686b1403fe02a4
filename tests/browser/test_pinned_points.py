"""The report page with two points side by side, and its keyboard shortcuts."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from helpers.behaviours import bowl, four_outcomes
from helpers.chromium import Opened, Pages
from helpers.pages import write_report
from helpers.surveys import TWO_JUDGES, make_survey, random_plane


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    survey = make_survey(prompts=20, lines=2, steps=10, judges=TWO_JUDGES)
    return write_report(tmp_path_factory.mktemp("two"), survey, opinion=four_outcomes)


@pytest.fixture
def report(page: Page, written: Path) -> Opened:
    return Opened(page, written)


def test_a_pinned_point_is_shown_beside_the_selected_one(report: Opened) -> None:
    page = report.page
    page.locator("#pin").click()
    expect(page.locator("#pin")).to_have_text("Unpin")
    for _ in range(5):
        page.locator("#forward").click()
    expect(page.locator("#pinned-name")).to_have_text("Pinned: origin")
    expect(page.locator("#here-name")).to_have_text("Here: α = +0.5, direction 1")
    expect(page.locator("#pinned-asr")).to_contain_text("ASR 0.0 %")
    expect(page.locator("#here-asr")).to_contain_text("ASR 100.0 %")
    first = page.locator("#list details").first
    expect(first.locator("summary .outcome")).to_have_text(["refused", "complied"])
    first.locator("summary").click()
    expect(first.locator(".pair section")).to_have_count(2)
    # the texts are hidden until they are switched on
    report.settled()
    assert "I'm sorry" not in page.locator("body").inner_text()
    assert "Answer 0 at" not in page.locator("body").inner_text()
    page.get_by_label("Show prompts and answers").check(force=True)
    before, now = first.locator(".pair section").all()
    expect(before).to_contain_text("I'm sorry")
    expect(before.locator("h4").first).to_have_text("Pinned, origin")
    expect(now).to_contain_text("Answer 0 at +0.50: step one")
    expect(first.locator("h4").first).to_have_text("Prompt")
    report.assert_quiet()


def test_answers_can_be_filtered_by_whether_their_outcome_changed(report: Opened) -> None:
    page = report.page
    page.locator("#pin").click()
    page.locator("#forward").click()
    page.locator("#forward").click()
    changed = page.locator('#filters [data-outcome="changed"]')
    number = int(changed.inner_text().split()[1])
    assert 0 < number < 20
    changed.click()
    expect(page.locator("#list details")).to_have_count(number)
    for turn in page.locator("#list summary").all():
        before, now = turn.locator(".outcome").all_inner_texts()
        assert before == "refused"
        assert now != "refused"
    page.locator("#unpin").click()
    expect(page.locator("#list details")).to_have_count(20)
    expect(page.locator('#filters [data-outcome="changed"]')).to_have_count(0)
    expect(page.locator("#pinned-here")).to_be_hidden()
    report.assert_quiet()


def test_a_search_finds_words_of_either_answer(report: Opened) -> None:
    page = report.page
    page.locator("#pin").click()
    page.locator("#alpha").press("End")
    page.locator("#search").fill("i'm sorry")
    expect(page.locator("#list details")).to_have_count(20)
    page.locator("#unpin").click()
    expect(page.locator("#list")).to_have_text("No answer matches.")


def test_the_pinned_point_is_marked_in_the_plot_and_the_strips(report: Opened) -> None:
    page = report.page
    page.keyboard.press("p")
    page.keyboard.press("ArrowRight")
    squares = (
        "() => document.getElementById('plot').data.filter(({ marker }) => marker?.size === 22).map(({ x }) => x[0])"
    )
    assert page.evaluate(squares) == [0]
    page.locator("#list summary").first.click()
    expect(page.locator("#list .strip button.pinned")).to_have_count(2)
    page.keyboard.press("p")
    assert page.evaluate(squares) == [0.1]
    report.assert_quiet()


def test_arrow_keys_change_the_point_and_brackets_the_direction(report: Opened) -> None:
    page = report.page
    place = page.locator("#alpha-text")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(place).to_have_text("+0.2")
    page.keyboard.press("]")
    expect(page.locator("#direction")).to_have_value("1")
    expect(place).to_have_text("+0.2")
    page.keyboard.press("[")
    expect(page.locator("#direction")).to_have_value("0")
    page.keyboard.press("ArrowLeft")
    expect(place).to_have_text("+0.1")
    page.keyboard.press("o")
    expect(place).to_have_text("0, the origin")
    # in a text field, keys type text
    page.locator("#search").press("p")
    page.locator("#search").press("ArrowLeft")
    expect(page.locator("#search")).to_have_value("p")
    expect(place).to_have_text("0, the origin")
    expect(page.locator("#pin")).to_have_text("Pin this point")
    report.assert_quiet()


def test_a_question_mark_and_a_button_open_the_list_of_shortcuts(report: Opened) -> None:
    page = report.page
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    expect(page.locator("#keys")).to_contain_text("previous or next point")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.locator("#show-keys").click()
    page.locator("#close-keys").click()
    expect(page.locator("#keys")).to_be_hidden()
    report.assert_quiet()


def test_two_answers_are_stacked_on_a_narrow_page(pages: Pages, tmp_path: Path) -> None:
    page = pages.open(400, still=True)
    survey = make_survey(prompts=10, subspace=random_plane(4), judges=TWO_JUDGES)
    report = Opened(page, write_report(tmp_path, survey, chance=bowl, opinion=four_outcomes))
    page.keyboard.press("p")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("[")
    expect(page.locator("#here-name")).to_have_text("Here: α = +0.25, β = +0.25")
    page.locator("#list summary").first.click()
    page.get_by_label("Show prompts and answers").check(force=True)
    before, now = (side.bounding_box() for side in page.locator("#list .pair").first.locator("section").all())
    assert before is not None
    assert now is not None
    assert now["y"] >= before["y"] + before["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    report.assert_quiet()
