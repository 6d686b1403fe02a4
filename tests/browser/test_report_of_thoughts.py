"""The report of a reasoning model: thoughts are folded, hostile ones are texts, and cut ones are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from helpers.behaviours import hostile_thoughts
from helpers.chromium import Opened
from helpers.hostile_texts import HOSTILE
from helpers.pages import write_report
from helpers.surveys import THINK, make_survey


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    survey = make_survey(prompts=2 * len(HOSTILE), lines=1, steps=4, markers=THINK)
    return write_report(tmp_path_factory.mktemp("thoughts"), survey, thinks=hostile_thoughts)


@pytest.fixture
def report(page: Page, written: Path) -> Opened:
    return Opened(page, written)


def test_thoughts_are_folded_and_hidden_with_the_answers(report: Opened) -> None:
    page = report.page
    answers = page.locator("#list > details")
    answers.nth(1).locator("summary").first.click()
    report.settled()
    assert "Thought" not in page.locator("body").inner_text()
    page.get_by_label("Show prompts and answers").check(force=True)
    thought = answers.nth(1).locator("details.thought")
    expect(thought.locator("summary")).to_have_text("Thought, 41 tokens; not judged")
    expect(thought.locator(".text")).to_be_hidden()
    thought.locator("summary").click()
    expect(thought.locator(".text")).to_have_text(f"Thought 1: {HOSTILE[1]}")
    report.assert_quiet()


def test_a_thought_without_an_answer_is_told(report: Opened) -> None:
    page = report.page
    page.get_by_label("Show prompts and answers").check(force=True)
    cut, plain = page.locator("#list > details").nth(2), page.locator("#list > details").nth(0)
    for each in (cut, plain):
        each.locator("summary").first.click()
    expect(cut.locator("details.thought summary")).to_have_text(
        "Thought, 42 tokens, not ended by the model; not judged"
    )
    expect(cut.locator(".body > .text").last).to_have_text("(empty)")
    expect(cut.locator("summary .outcome").first).to_have_text("unscored")
    expect(plain.locator("details.thought")).to_have_count(0)
    expect(page.locator(".verdict .detail")).to_contain_text("answers follow a thought")
    report.assert_quiet()


def test_every_hostile_thought_is_a_text(report: Opened) -> None:
    page = report.page
    page.get_by_label("Show prompts and answers").check(force=True)
    answers = page.locator("#list > details")
    for number in range(2 * len(HOSTILE)):
        answers.nth(number).locator("summary").first.click()
        thought = answers.nth(number).locator("details.thought")
        if number % 3:
            thought.locator("summary").click()
            expect(thought.locator(".text")).to_contain_text(f"Thought {number}:")
    report.settled()
    assert page.evaluate("() => window.ran") is None
    report.assert_quiet()
