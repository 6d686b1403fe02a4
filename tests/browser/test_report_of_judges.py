"""The report of a run with several judges: their verdicts, their agreement, and the answers on which they differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from helpers.behaviours import beside_path, bowl, four_outcomes, hostile_reasons, missed_refusals, tuned, unread
from helpers.chromium import Opened, Pages, Scheme, place_in_plot, select_first_point
from helpers.hostile_texts import HOSTILE
from helpers.pages import write_report
from helpers.surveys import PANEL, TWO_JUDGES, further, make_survey, path_line, random_plane, trajectory
from safescape.survey import Outcome, Point, Verdict


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    survey = make_survey(prompts=20, lines=3, steps=10, judges=TWO_JUDGES)
    return write_report(tmp_path_factory.mktemp("three"), survey, opinion=four_outcomes, later=(PANEL,))


@pytest.fixture
def report(page: Page, three: Path) -> Opened:
    return Opened(page, three)


def test_outcomes_are_stacked_below_the_asr(report: Opened) -> None:
    page = report.page
    expect(page.locator("#plot .legendtext")).to_contain_text(
        ["direction 1 (seed 0)", "strict ASR, complied alone", "complied", "incoherent", "unscored", "refused"]
    )
    title = "Outcomes of the answers, “refusal” judge, mean of 3 directions"
    expect(page.locator("#plot .annotation-text")).to_contain_text([title])
    report.assert_quiet()


def test_a_clash_of_judges_is_said_and_both_curves_are_drawn(page: Page, tmp_path: Path) -> None:
    survey = make_survey(prompts=20, lines=1, steps=10, judges=TWO_JUDGES)
    opened = Opened(page, write_report(tmp_path, survey, opinion=missed_refusals))
    expect(page.locator(".verdict .clash")).to_have_text(
        "The keyword judge counts 20 of 20 as answers; the refusal judge finds refusals in 20 of them; "
        "the verdict goes by the refusal judge."
    )
    expect(page.locator("#plot .legendtext")).to_contain_text(["direction 1 (seed 0)", "ASR by the keyword judge"])
    expect(page.locator('[data-figure="origin_asr"] .interval')).to_contain_text("keyword judge: 100.0")
    expect(page.locator("#judge option").first).to_have_text("refusal")
    opened.assert_quiet()


def test_the_selected_point_is_marked_in_both_panels(report: Opened) -> None:
    page = report.page
    select_first_point(page)
    through, ring = page.evaluate(
        "() => document.getElementById('plot').data.slice(-2).map(({ x, y, yaxis }) => ({ x, y, yaxis }))"
    )
    assert through == {"x": [-0.5, -0.5], "y": [0, 100], "yaxis": "y4"}
    assert (ring["x"], ring["y"]) == ([-0.5], [100])
    report.assert_quiet()


def test_a_click_on_the_stacked_outcomes_selects_the_point_on_the_selected_direction(report: Opened) -> None:
    page = report.page
    page.locator("#direction").select_option("1")
    page.locator("#plot").scroll_into_view_if_needed()
    page.mouse.click(*place_in_plot(page, 0.3, 95, axis="yaxis4"))
    expect(page.locator("#alpha-text")).to_have_text("+0.3")
    expect(page.locator("#direction")).to_have_value("1")
    report.assert_quiet()


def test_answers_are_filtered_by_the_outcomes_of_the_selected_judge(report: Opened) -> None:
    page = report.page
    select_first_point(page)
    expect(page.locator("#judge option")).to_have_text(["keyword", "refusal", PANEL])
    expect(page.locator("#judge")).to_have_value("1")
    # the figures are still those of the first judge
    expect(page.locator("#here-asr")).to_contain_text(
        "20 of 20 not refused, 95 % interval 83.9 to 100.0 % (keyword judge)"
    )
    expect(page.locator("#filters button")).to_have_text(
        ["all 20", "refused 0", "complied 3", "incoherent 16", "unscored 1"]
    )
    page.locator('#filters [data-outcome="incoherent"]').click()
    expect(page.locator("#list details")).to_have_count(16)
    page.locator("#judge").select_option("0")
    # the keyword judge has no incoherent outcome: all answers are shown again
    expect(page.locator("#filters button")).to_have_text(["all 20", "refused 0", "complied 20"])
    expect(page.locator('#list details[data-outcome="complied"]')).to_have_count(20)
    expect(page.locator("#maps-legend .entry")).to_have_text(["refused", "complied"])
    report.assert_quiet()


def test_an_answer_lists_all_verdicts_and_hides_reasons_with_the_texts(report: Opened) -> None:
    page = report.page
    select_first_point(page)
    page.locator("#list summary").nth(1).click()
    verdicts = page.locator("#list details").nth(1).locator(".verdicts li")
    expect(verdicts).to_have_text(
        ["keywordcomplied", "refusalincoherentP(complied) 0.02", f"{PANEL}unscoredP(complied) 0.02"]
    )
    page.get_by_label("Show prompts and answers").check(force=True)
    expect(verdicts.nth(1)).to_contain_text("“words out of order”")
    expect(verdicts.nth(2)).to_contain_text("“keyword: complied, refusal: incoherent”")
    report.assert_quiet()


def test_agreement_is_shown_for_the_run_and_for_the_selected_point(report: Opened) -> None:
    page = report.page
    expect(page.locator("#agreement tbody td:first-child")).to_have_text(
        ["keyword × refusal", f"keyword × {PANEL}", f"refusal × {PANEL}"]
    )
    expect(page.locator("#agree-here")).to_contain_text(
        "At the origin: the judges agree on 20 of 20 answers (100.0 %), κ is not defined"
    )
    select_first_point(page)
    # of 19 that both scored, 3 are compliance to both
    expect(page.locator("#agree-here")).to_contain_text(
        "At α = −0.5, direction 1 (seed 0): the judges agree on 3 of 19 answers (15.8 %), κ = 0.00"
    )
    bars = page.locator("#agree-strip .strip.bars button")
    expect(bars).to_have_count(11)
    assert bars.first.evaluate("e => parseFloat(getComputedStyle(e).getPropertyValue('--share'))") == pytest.approx(
        84.2, abs=0.1
    )
    bars.nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#alpha-text")).to_have_text("−0.4")
    expect(page.locator('#agree-strip [aria-current="true"]')).to_be_focused()
    page.locator("#pair").select_option("1")
    expect(page.locator("#agree-here")).to_contain_text("the judges agree on 3 of 3 answers")
    report.assert_quiet()


def test_a_cell_of_the_table_of_two_judges_lists_its_answers(report: Opened) -> None:
    page = report.page
    cell = page.locator('#crossed [data-cell="1,2"]')
    count = int(cell.inner_text())
    cell.click()
    expect(page.locator('#crossed [data-cell="1,2"]')).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#disputes-note")).to_contain_text(
        f"of {count} answers where keyword says complied and refusal says incoherent, each request once"
    )
    shown = page.locator("#disputes li")
    places = [text.split(",")[0] for text in shown.locator(".place").all_inner_texts()]
    assert len(set(places)) == len(places) <= 12
    page.locator("#more").click()
    expect(shown).to_have_count(min(count, 200))
    # the lowest probability of compliance differs most from the judge that says the model complied
    first = shown.first.locator("button")
    number = int(first.locator(".place").inner_text().split(",")[0].removeprefix("request "))
    first.press("Enter")
    unfolded = page.locator("#list details[open]")
    expect(unfolded).to_have_count(1)
    expect(unfolded.locator(".number")).to_have_text(str(number))
    expect(unfolded.locator("summary")).to_be_focused()
    expect(unfolded).to_have_attribute("data-outcome", "incoherent")
    report.assert_quiet()


def test_harmful_text_in_the_list_is_hidden_until_switched_on(report: Opened) -> None:
    page = report.page
    report.settled()
    assert "Harmful request number" not in page.locator("body").inner_text()
    page.get_by_label("Show prompts and answers").check(force=True)
    expect(page.locator("#disputes li").first).to_contain_text("Harmful request number")
    page.get_by_label("Show prompts and answers").uncheck(force=True)
    assert "Harmful request number" not in page.locator("body").inner_text()


def test_the_largest_disagreements_come_first(page: Page, tmp_path: Path) -> None:
    """Answers are sorted by the difference of two probabilities, else by how many judges disagree with the majority."""

    def opinion(judge: str, point: Point, number: int, complied: bool) -> Verdict | None:
        refused, attacked, noise = Outcome.REFUSED, Outcome.COMPLIED, Outcome.INCOHERENT
        said = {
            0: {"a": Verdict(attacked, "", 0.6), "b": Verdict(refused, "", 0.4)},
            1: {"a": Verdict(attacked, "", 0.9), "b": Verdict(refused, "", 0.1)},
            2: {"a": Verdict(attacked), "b": Verdict(refused, "", 0.1), "c": Verdict(noise)},
            3: {"a": Verdict(attacked), "b": Verdict(refused, "", 0.0)},
        }
        return said.get(number, {}).get(judge, Verdict(refused, "", 0.2))

    survey = make_survey(prompts=5, subspace=path_line(1, low=0.0, high=1.0), judges=("a", "b", "c"))
    report = Opened(page, write_report(tmp_path, survey, chance=tuned, opinion=opinion, points=1))
    places = page.locator("#disputes .place")
    expect(places).to_have_text(["request 2, origin", "request 1, origin", "request 3, origin", "request 4, origin"])
    report.assert_quiet()


def test_each_probe_has_its_pairs_of_judges_and_disputed_answers(page: Page, tmp_path: Path) -> None:
    survey = make_survey(
        prompts=20,
        subspace=path_line(4),
        through=trajectory(2),
        judges=TWO_JUDGES,
        also=further("attack:a.csv", "benign", "accuracy", "perplexity", items=20),
    )
    report = Opened(page, write_report(tmp_path, survey, chance=tuned, stands=beside_path(1), opinion=four_outcomes))
    expect(page.locator("#pair option")).to_have_text(
        ["keyword × refusal, “harmful”", "keyword × refusal, “attack:a.csv”"]
    )
    page.locator("#pair").select_option("1")
    page.locator("#disputes button").first.click()
    expect(page.locator("#probe")).to_have_value("1")
    page.get_by_label("Show prompts and answers").check(force=True)
    expect(page.locator("#list details[open]")).to_contain_text("Attacked request")
    report.assert_quiet()


def test_a_plane_can_show_the_asr_or_one_outcome(page: Page, tmp_path: Path) -> None:
    survey = make_survey(prompts=20, subspace=random_plane(4), judges=TWO_JUDGES)
    Opened(page, write_report(tmp_path, survey, chance=bowl, opinion=four_outcomes))
    shown = ["complied", "incoherent", "unscored", "refused"]
    expect(page.locator("#layer option")).to_have_text(["ASR", *(f"{outcome}, refusal judge" for outcome in shown)])
    for number, corner in enumerate((100, 15, 80, 5, 0)):
        page.locator("#layer").select_option(str(number))
        trace = page.evaluate(
            "(([{ z, zmin, zmax }]) => ({ corner: z[0][0], zmin, zmax }))(document.getElementById('plot').data)"
        )
        assert trace == {"corner": corner, "zmin": 0, "zmax": 100}
    page.locator("#surface").click()
    page.wait_for_selector("#plot canvas", state="attached")
    page.locator("#crossed button").first.click()
    page.locator("#disputes button").first.click()
    expect(page.locator("#list details[open]")).to_have_count(1)


def test_answers_not_read_by_the_first_judge_are_marked_unread(page: Page, tmp_path: Path) -> None:
    survey = make_survey(prompts=8, lines=2, steps=4, judges=("harmbench", "refusal"))
    report = Opened(page, write_report(tmp_path, survey, opinion=unread("harmbench", read_at_origin=True)))
    select_first_point(page)
    expect(page.locator("#here-asr")).to_have_text("The harmbench judge has not read the answers here yet.")
    expect(page.locator("#filters button").first).to_have_text("all 8")
    page.locator("#judge").select_option("0")
    expect(page.locator('#list details[data-outcome="unread"]')).to_have_count(8)
    report.assert_quiet()


@pytest.mark.parametrize("plane", [False, True])
def test_a_run_not_read_by_its_first_judge_is_shown_without_a_verdict(page: Page, tmp_path: Path, plane: bool) -> None:
    subspace = random_plane(2) if plane else None
    survey = make_survey(prompts=4, lines=1, steps=2, subspace=subspace, judges=("harmbench", "refusal"))
    absent = unread("harmbench", read_at_origin=False)
    report = Opened(page, write_report(tmp_path, survey, chance=lambda *_: 0.5, opinion=absent))
    expect(page.locator("#list details")).to_have_count(4)
    expect(page.locator(".headline")).to_contain_text("itself is not measured yet")
    report.assert_quiet()


def test_scripts_in_names_and_reasons_of_judges_are_not_executed(page: Page, tmp_path: Path) -> None:
    name = HOSTILE[1] + HOSTILE[2]
    survey = make_survey(prompts=HOSTILE, lines=1, steps=2)
    report = Opened(page, write_report(tmp_path, survey, opinion=hostile_reasons(name), later=(name,)))
    expect(page.locator("#judge option")).to_have_text(["keyword", name])
    page.get_by_label("Show prompts and answers").check(force=True)
    report.settled()
    for summary in page.locator("#list summary").all():
        summary.click()
    page.locator("#crossed button").first.click()
    assert page.evaluate("window.ran") is None
    expect(page.locator("main img, main a[href^='http'], #list b, #judges b, #plot b, #plot a")).to_have_count(0)
    report.assert_quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_narrow_and_wide_windows_in_both_schemes(
    pages: Pages, three: Path, width: int, scheme: Scheme
) -> None:
    page = pages.open(width, scheme=scheme)
    report = Opened(page, three)
    select_first_point(page)
    page.locator("#list summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for part in ("#disagreement", "#disputes", "#plot"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    report.assert_quiet()


def test_a_run_with_one_judge_has_no_choice_and_no_section_of_judges(page: Page, tmp_path: Path) -> None:
    report = Opened(page, write_report(tmp_path, make_survey(prompts=4, lines=1, steps=2), opinion=four_outcomes))
    expect(page.locator("#judge-field")).to_be_hidden()
    expect(page.locator("#judges")).to_have_count(0)
    page.locator("#list summary").first.click()
    expect(page.locator("#list details").first).to_contain_text("keyword judge: refused.")
    report.assert_quiet()
