"""The report page in a real browser: its plot, mouse and keyboard, and no script in a model's answer is executed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from helpers.behaviours import beside_path, bowl, no_basin, tuned
from helpers.chromium import (
    Opened,
    Pages,
    Scheme,
    adding_script,
    click_first_point,
    directive_that_stops,
    place_in_plot,
)
from helpers.hostile_texts import HOSTILE
from helpers.pages import write_report
from helpers.runs import make_run
from helpers.surveys import (
    FINGERPRINT,
    at_models,
    further,
    make_survey,
    path_line,
    path_plane,
    random_plane,
    trajectory,
)
from safescape.landscape import landscape_of
from safescape.survey import Waypoint
from safescape.views import render_page


class Report(Opened):
    """An open report page."""

    def answers(self) -> list[str]:
        self.settled()
        return self.page.locator("#list details").all_inner_texts()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(
        tmp_path_factory.mktemp("report"), make_survey(prompts=20, model="organisation/" + "Model-" * 20)
    )


@pytest.fixture
def report(page: Page, written: Path) -> Report:
    return Report(page, written)


def test_the_landscape_is_drawn_without_network_requests(report: Report) -> None:
    assert report.page.locator("#plot .scatterlayer .trace").count() >= 5
    expect(report.page.locator("#plot .legendtext")).to_contain_text(["direction 1 (seed 0)"])
    expect(report.page.locator("#plot .annotation-text")).to_contain_text(["unsafe", "basin, "])
    report.assert_quiet()


def test_a_click_on_a_point_shows_its_answers(report: Report) -> None:
    expect(report.page.locator("#here-asr")).to_contain_text("ASR 0.0 %")
    click_first_point(report.page)
    expect(report.page.locator("#alpha-text")).to_have_text("−0.5")
    expect(report.page.locator("#here-asr")).to_contain_text("ASR 100.0 %")
    expect(report.page.locator('#list details[data-outcome="complied"]')).to_have_count(20)
    report.assert_quiet()


def test_every_point_can_be_selected_with_the_keyboard(report: Report) -> None:
    report.page.locator("#alpha").focus()
    report.page.keyboard.press("End")
    expect(report.page.locator("#alpha-text")).to_have_text("+0.5")
    report.page.keyboard.press("ArrowLeft")
    expect(report.page.locator("#alpha-text")).to_have_text("+0.45")
    report.page.locator("#direction").select_option("2")
    report.page.locator("#to-origin").press("Enter")
    expect(report.page.locator("#alpha-text")).to_have_text("0, the origin")
    report.page.locator("#list summary").first.press("Enter")
    expect(report.page.locator("#list details").first).to_have_attribute("open", "")
    report.assert_quiet()


def test_prompts_and_answers_are_hidden_until_they_are_switched_on(report: Report) -> None:
    page = report.page
    page.locator("#list summary").first.click()
    report.settled()
    assert "Harmful request number" not in page.locator("body").inner_text()
    assert "I'm sorry" not in page.locator("body").inner_text()
    expect(page.locator("#list .body").first).to_contain_text("Hidden.")
    page.get_by_label("Show prompts and answers").check(force=True)
    expect(page.locator("#list details").first).to_contain_text("Harmful request number 0")
    expect(page.locator("#list .text mark").first).to_have_text("I'm sorry")
    page.get_by_label("Show prompts and answers").uncheck(force=True)
    report.settled()
    assert "Harmful request number" not in page.locator("body").inner_text()


def test_answers_are_filtered_by_outcome_and_searched(report: Report) -> None:
    page = report.page
    page.locator("#alpha").evaluate("e => { e.value = 6; e.dispatchEvent(new Event('input')) }")
    report.settled()
    complied = page.locator('#list details[data-outcome="complied"]').count()
    assert 0 < complied < 20
    page.locator('#filters [data-outcome="complied"]').click()
    expect(page.locator("#list details")).to_have_count(complied)
    page.locator('#filters [data-outcome="all"]').click()
    page.locator("#search").fill("NUMBER 17")
    expect(page.locator("#list details")).to_have_count(1)
    expect(page.locator("#shown")).to_have_text("1 of 20 answers")
    page.locator("#search").fill("no such words")
    expect(page.locator("#list")).to_have_text("No answer matches.")


def test_the_strip_of_a_request_selects_its_points(report: Report) -> None:
    page = report.page
    page.locator("#list summary").nth(3).click()
    cells = page.locator("#list details").nth(3).locator(".strip button")
    expect(cells).to_have_count(63)
    cells.first.click()
    expect(page.locator("#alpha-text")).to_have_text("−0.5")
    expect(page.locator("#list details").nth(3)).to_have_attribute("open", "")


def test_a_click_on_the_map_of_outcomes_opens_the_answer(report: Report) -> None:
    canvas = report.page.locator("#maps canvas").nth(1)
    expect(report.page.locator("#maps canvas")).to_have_count(3)
    report.page.locator("#search").fill("something else")
    canvas.click(position={"x": 2, "y": 2})
    expect(report.page.locator("#direction")).to_have_value("1")
    expect(report.page.locator("#alpha-text")).to_have_text("−0.5")
    expect(report.page.locator("#list details")).to_have_count(20)
    expect(report.page.locator("#list details[open]")).to_have_count(1)
    report.assert_quiet()


def test_the_policy_blocks_added_scripts_and_requests(report: Report) -> None:
    assert directive_that_stops(report.page, adding_script("textContent: 'window.ran = 1'")) == "script-src-elem"
    assert report.page.evaluate("window.ran") is None
    assert directive_that_stops(report.page, "fetch('https://example.com/').catch(() => {})") == "connect-src"
    assert directive_that_stops(report.page, "new Image().src = 'https://example.com/pixel.png'") == "img-src"


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_narrow_and_wide_windows_in_both_schemes(
    pages: Pages, written: Path, width: int, scheme: Scheme
) -> None:
    page = pages.open(width, scheme=scheme)
    report = Report(page, written)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    plot = page.locator("#plot").bounding_box()
    assert plot is not None
    assert plot["width"] <= width
    report.assert_quiet()


@pytest.mark.parametrize(("points", "directions"), [(1, 3), (31, 3), (60, 3)])
def test_answers_of_an_unfinished_run_are_shown(page: Page, tmp_path: Path, points: int, directions: int) -> None:
    report = Report(page, write_report(tmp_path, make_survey(prompts=5), points=points))
    expect(page.locator("#direction option")).to_have_count(directions)
    expect(page.locator(".unfinished")).to_contain_text(f"{points} of 61 points")
    assert len(report.answers()) == 5
    report.assert_quiet()


def test_answers_are_shown_if_the_origin_is_not_measured(page: Page, tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(prompts=5, lines=6, steps=4)) as store:
        measured = [entry for entry in store.points.measured() if entry.point.line == 5]
        (tmp_path / "report.html").write_text(
            render_page(store, landscape_of(store.survey, measured)), encoding="utf-8"
        )
    report = Report(page, tmp_path / "report.html")
    expect(page.locator(".headline")).to_contain_text("itself is not measured yet.")
    expect(page.locator("#alpha-text")).to_have_text("−0.5")
    assert len(report.answers()) == 5
    report.assert_quiet()


def test_the_headline_of_a_model_without_a_basin_says_so(page: Page, tmp_path: Path) -> None:
    report = Report(page, write_report(tmp_path, make_survey(prompts=20, lines=1), rate=no_basin))
    expect(page.locator(".headline")).to_contain_text("no basin, the origin itself is unsafe (ASR 95.0 %)")
    assert "basin" not in page.locator("#plot").inner_text()
    report.assert_quiet()


# Paths, planes, checkpoints and further probes.


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    survey = make_survey(
        prompts=10,
        subspace=path_plane(4),
        through=trajectory(3),
        also=further("attack:a.csv", "benign", "accuracy", "perplexity", items=8),
    )
    return write_report(tmp_path_factory.mktemp("plane"), survey, chance=tuned, stands=beside_path(2, spacing=0.22))


def test_a_click_on_a_cell_of_a_plane_shows_the_answers_of_its_point(page: Page, plane: Path) -> None:
    report = Report(page, plane)
    expect(page.locator("#direction")).to_have_value("2")
    expect(page.locator("#here-asr")).to_contain_text("ASR 0.0 %")
    page.locator("#plot").scroll_into_view_if_needed()
    page.mouse.click(*place_in_plot(page, 1.25, 0.25))
    expect(page.locator("#direction option:checked")).to_have_text("β = +0.25")
    expect(page.locator("#alpha-text")).to_have_text("+1.25")
    expect(page.locator("#here-asr")).to_contain_text("ASR 100.0 % 10 of 10 not refused")
    page.get_by_label("Show prompts and answers").check(force=True)
    page.locator("#list summary").first.click()
    expect(page.locator("#list details").first).to_contain_text("Answer 0 at +1.25: step one")
    expect(page.locator("#maps-block")).to_be_hidden()
    report.assert_quiet()


def test_the_strips_of_a_plane_have_a_row_for_each_beta(page: Page, plane: Path) -> None:
    report = Report(page, plane)
    page.locator("#list summary").first.click()
    # five rows of seven points, and the three checkpoints
    cells = page.locator("#list details").first.locator(".strip button")
    expect(cells).to_have_count(5 * 7 + 3)
    cells.first.click()
    expect(page.locator("#direction option:checked")).to_have_text("β = +0.5")
    expect(page.locator("#alpha-text")).to_have_text("−0.25")
    report.assert_quiet()


def kind(page: Page) -> str:
    return str(page.evaluate("document.getElementById('plot').data[0].type"))


def test_a_plane_is_turned_into_a_surface_and_back(page: Page, plane: Path) -> None:
    report = Report(page, plane)
    assert kind(page) == "heatmap"
    page.locator("#surface").click()
    page.wait_for_selector("#plot canvas", state="attached")
    assert kind(page) == "surface"
    expect(page.locator("#surface")).to_have_attribute("aria-pressed", "true")
    page.locator("#plot").scroll_into_view_if_needed()
    page.evaluate(
        "() => { document.getElementById('plot').on('plotly_hover', ({ points: [at] }) => { under = [at.x, at.y] }) }"
    )
    box = page.locator("#plot").bounding_box()
    assert box is not None
    # a click chooses the point whose label shows
    for across, down in ((0.35, 0.45), (0.55, 0.35)):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        page.wait_for_timeout(1000)
        said = page.locator("#plot .hovertext").text_content() or ""
        page.mouse.down()
        page.wait_for_timeout(200)
        page.mouse.up()
        page.wait_for_timeout(1000)
        alpha, beta = page.evaluate("window.under")
        # the ring around the selected point is drawn last
        ring = page.evaluate("(({ x: [x], y: [y] }) => [x, y])(document.getElementById('plot').data.at(-1))")
        assert ring == [alpha, beta]
        place = page.locator("#alpha-text").inner_text().partition(",")[0]
        assert said.startswith(f"α = {place}, {page.locator('#direction option:checked').inner_text()}")
    page.locator("#surface").click()
    page.wait_for_selector("#plot .heatmaplayer image", state="attached")
    assert kind(page) == "heatmap"
    # warnings of the graphics driver about speed are ignored
    assert [line for line in report.logged if not line.startswith("warning: ")] == []
    assert not any("WARN" in line for line in report.logged)


def test_each_measure_of_a_plane_can_be_selected(page: Page, plane: Path) -> None:
    report = Report(page, plane)
    expect(page.locator("#layer option")).to_have_text(
        ["ASR", "ASR, “attack:a.csv”", "over-refusal", "accuracy", "perplexity"]
    )
    for number in range(5):
        page.locator("#layer").select_option(str(number))
        shown = page.evaluate("document.getElementById('plot').data[0].z")
        assert len(shown) == 5
        assert len(shown[0]) == 7
    report.assert_quiet()


@pytest.mark.parametrize("on_plane", [False, True])
def test_a_checkpoint_is_selected_by_a_click_and_by_the_keyboard(page: Page, tmp_path: Path, on_plane: bool) -> None:
    subspace = path_plane(4) if on_plane else path_line(4)
    survey = make_survey(prompts=10, subspace=subspace, through=trajectory(3))
    report = Report(
        page, write_report(tmp_path, survey, chance=tuned, stands=beside_path(2 if on_plane else 1, spacing=0.22))
    )
    page.locator("#plot").scroll_into_view_if_needed()
    # 0, 48 and 96 % of 10 requests
    page.mouse.click(*place_in_plot(page, 0.44, 0.1 if on_plane else 50.0))
    expect(page.locator("#alpha-label")).to_have_text("Checkpoint")
    expect(page.locator("#alpha-text")).to_have_text("2")
    expect(page.locator("#here-asr")).to_contain_text("5 of 10 not refused")
    expect(page.locator("#here-asr")).to_contain_text("20 % of its squared distance from the origin is off the")
    page.locator("#alpha").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#alpha-text")).to_have_text("3")
    page.get_by_label("Show prompts and answers").check(force=True)
    page.locator("#list summary").first.click()
    expect(page.locator("#list details").first).to_contain_text("at checkpoint 3: step one")
    page.locator("#to-origin").click()
    expect(page.locator("#alpha-label")).to_have_text("Distance α")
    expect(page.locator("#alpha-text")).to_have_text("0, the origin")
    report.assert_quiet()


def test_the_point_of_the_other_model_is_named(page: Page, tmp_path: Path) -> None:
    report = Report(page, write_report(tmp_path, make_survey(prompts=10, subspace=path_line(4)), chance=tuned))
    page.locator("#plot").scroll_into_view_if_needed()
    page.mouse.click(*place_in_plot(page, 1.0, 100.0))
    expect(page.locator("#alpha-text")).to_have_text("+1, the other model")
    expect(page.locator("#plot .legendtext")).to_contain_text(["line to the other model", "origin", "other model"])
    report.assert_quiet()


def test_the_answers_to_each_probe_are_shown(page: Page, tmp_path: Path) -> None:
    survey = make_survey(
        prompts=10, subspace=path_line(4), also=further("attack:a.csv", "benign", "accuracy", "perplexity", items=8)
    )
    report = Report(page, write_report(tmp_path, survey, chance=tuned))
    expect(page.locator("#probe option")).to_have_text(["harmful", "attack:a.csv", "benign"])
    expect(page.locator("#plot .legendtext")).to_contain_text(
        ["“harmful”", "“attack:a.csv”", "origin", "other model", "over-refusal", "accuracy", "perplexity"]
    )
    page.locator("#probe").select_option("2")
    # 16 % of 8 harmless requests are refused at the origin
    expect(page.locator("#here-asr")).to_contain_text("Over-refusal 12.5 % 1 of 8 refused")
    assert len(report.answers()) == 8
    page.get_by_label("Show prompts and answers").check(force=True)
    page.locator("#list summary").first.click()
    expect(page.locator("#list details").first).to_contain_text("Harmless request 0")
    page.locator("#probe").select_option("1")
    expect(page.locator("#here-asr")).to_contain_text("ASR 0.0 %")
    page.locator("#maps canvas").first.click(position={"x": 700, "y": 2})
    expect(page.locator("#list details[open]")).to_have_count(1)
    expect(page.locator("#list details[open]")).to_contain_text("Attacked request")
    report.assert_quiet()


def test_a_probe_asked_only_at_the_models_is_not_measured_between_them(page: Page, tmp_path: Path) -> None:
    also = at_models("attack:a.csv", "benign", items=8)
    report = Report(
        page, write_report(tmp_path, make_survey(prompts=10, subspace=path_line(4), also=also), chance=tuned)
    )
    page.locator("#probe").select_option("2")
    expect(page.locator("#here-asr")).to_contain_text("Over-refusal 12.5 % 1 of 8 refused")
    page.locator("#forward").click()
    expect(page.locator("#here-asr")).to_have_text("Not measured here: this probe is asked at the named models alone.")
    assert report.answers() == []
    for _ in range(3):
        page.locator("#forward").click()
    expect(page.locator("#alpha-text")).to_have_text("+1, the other model")
    assert len(report.answers()) == 8
    report.assert_quiet()


def test_scripts_in_names_of_models_and_probes_are_not_executed(page: Page, tmp_path: Path) -> None:
    name = HOSTILE[1] + HOSTILE[2]
    through = [Waypoint(model=name, fingerprint=FINGERPRINT)]
    survey = make_survey(prompts=4, subspace=path_line(2, toward=name), through=through, also=further(name, items=4))
    report = Report(page, write_report(tmp_path, survey, chance=tuned, stands=beside_path(1, spacing=0.22)))
    expect(page.locator("#probe option")).to_have_text(["harmful", name])
    page.locator("#probe").select_option("1")
    page.locator("#direction").select_option(label="checkpoints")
    assert page.evaluate("window.ran") is None
    expect(page.locator("main img, main a[href^='http'], #plot a, #list b, #probes b")).to_have_count(0)
    report.assert_quiet()


@pytest.mark.parametrize("width", [400, 1280])
def test_a_surface_fits_narrow_and_wide_windows(pages: Pages, plane: Path, width: int) -> None:
    page = pages.open(width)
    Report(page, plane).assert_quiet()
    page.locator("#surface").click()
    page.wait_for_selector("#plot canvas", state="attached")
    assert kind(page) == "surface"
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("points", [1, 9])
def test_answers_of_an_unfinished_plane_are_shown(page: Page, tmp_path: Path, points: int) -> None:
    report = Report(
        page, write_report(tmp_path, make_survey(prompts=5, subspace=random_plane(4)), chance=bowl, points=points)
    )
    expect(page.locator(".unfinished")).to_contain_text(f"{points} of 25 points")
    expect(page.locator("#alpha-text")).to_have_text("0, the origin")
    expect(page.locator("#direction option")).to_have_count(1 if points == 1 else 2)
    report.assert_quiet()


@pytest.mark.parametrize("also", [("perplexity",), ("perplexity", "margin"), ("accuracy", "perplexity", "margin")])
def test_every_measure_has_a_panel_of_its_own(page: Page, tmp_path: Path, also: tuple[str, ...]) -> None:
    """A perplexity without a rate lies over no other axis, which would be left out and leave it the whole height."""
    survey = make_survey(prompts=4, lines=1, steps=4, also=further(*also, items=4))
    report = Report(page, write_report(tmp_path, survey, chance=lambda probe, _: 2.0 if probe != "harmful" else 0.0))
    axes = {"accuracy": "yaxis2", "perplexity": "yaxis3", "margin": "yaxis5"}
    layout = "document.getElementById('plot')._fullLayout"
    panels = [page.evaluate(f"{layout}.{axis}.domain") for axis in ("yaxis", *(axes[name] for name in also))]
    if "accuracy" in also:
        assert panels[1] == panels[2]  # the perplexity on the right
        del panels[1]
    for (low, _), (_, high) in pairwise(panels):
        assert high < low
    assert page.evaluate(f"{layout}.xaxis.anchor") == ("y5" if "margin" in also else "y3")
    report.assert_quiet()
