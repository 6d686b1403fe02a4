"""axe-core finds no serious violation on any page, in both colour schemes, with details closed and open."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import pytest
from playwright.sync_api import Page, expect

from helpers.behaviours import bowl, four_outcomes
from helpers.chromium import Pages, Scheme
from helpers.explorer_process import Viewed, viewing
from helpers.runs import make_run
from helpers.surveys import TWO_JUDGES, make_survey, random_plane

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    directory = tmp_path_factory.mktemp("accessible")
    survey = make_survey(prompts=6, lines=2, steps=4, judges=TWO_JUDGES)
    make_run(directory / "lines", survey, opinion=four_outcomes).close()
    make_run(directory / "begun", survey, opinion=four_outcomes, points=3).close()
    plane = make_survey(prompts=4, subspace=random_plane(4), judges=TWO_JUDGES)
    make_run(directory / "plane", plane, chance=bowl, opinion=four_outcomes).close()
    with viewing(directory) as found:
        yield found


def found_on(page: Page) -> list[str]:
    """Return the serious and critical violations that axe-core finds: each rule with its elements."""
    page.evaluate(AXE)
    results = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{violation['id']}: {[node['html'][:200] for node in violation['nodes']][:5]}"
        for violation in results["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["", "run?run=lines", "run?run=begun", "run?run=plane", "run?run=none", "compare?run=lines&run=begun"]
)
def test_pages_have_no_serious_violation(pages: Pages, viewed: Viewed, path: str, scheme: Scheme) -> None:
    page = pages.open(1280, 900, scheme=scheme)
    page.goto(viewed.address + path)
    if not path:
        expect(page.locator("#run-list")).to_contain_text("refuses 6 of 6")
    if page.locator("#plot").count():
        page.wait_for_selector("#plot[data-ready]")
    assert found_on(page) == []
    if page.locator("#browser").count():
        page.get_by_label("Show prompts and answers").check(force=True)
        page.keyboard.press("p")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#pinned-here")).to_be_visible()
        page.locator("#list summary").first.click()
        expect(page.locator("#list .pair section")).to_have_count(2)
        for details in page.locator("details.table summary").all():
            details.click()
        page.wait_for_timeout(300)  # colours of the switch fade
        assert found_on(page) == []
        page.keyboard.press("?")
        assert found_on(page) == []
