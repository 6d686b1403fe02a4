"""The explorer in a real browser: the list, the pages, comparisons, and their updates while a scan runs."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from helpers import tiny_models
from helpers.behaviours import bowl, four_outcomes
from helpers.chromium import Opened, Pages, Scheme, adding_script, click_first_point, directive_that_stops
from helpers.command_line import command_line, run_command
from helpers.explorer_process import Viewed, viewing
from helpers.hostile_texts import HOSTILE
from helpers.runs import make_run
from helpers.surveys import TWO_JUDGES, make_survey, random_plane
from safescape.store import Store
from safescape.survey import Point, Survey

LONG = "x" * 1_000_000
ANSI = "\x1b[31mred\x1b[0m\x1b]0;title\x07"
PLOT = "document.getElementById('plot')"


def steeper(line: int, alpha: float) -> float:
    return min(1.0, 3 * abs(alpha))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    base = make_survey(prompts=12, lines=2, steps=10, judges=TWO_JUDGES)
    tuned = make_survey(prompts=12, lines=2, steps=10, judges=TWO_JUDGES, model="example/Tuned")
    make_run(directory / "base", base, opinion=four_outcomes).close()
    make_run(directory / "tuned", tuned, rate=steeper, opinion=four_outcomes).close()
    make_run(directory / "plane", make_survey(prompts=5, subspace=random_plane(4)), chance=bowl, points=9).close()
    return directory


@pytest.fixture(scope="module")
def viewed(runs: Path) -> Iterator[Viewed]:
    with viewing(runs) as found:
        yield found


def test_a_run_opened_from_the_list_shows_its_answers(page: Page, viewed: Viewed) -> None:
    logged: list[str] = []
    page.on("console", lambda message: logged.append(message.text))
    page.goto(viewed.address)
    expect(page.locator("#run-list tbody tr")).to_have_count(3)
    expect(page.locator('[data-run="plane"]')).to_contain_text("9 of 25 points")
    expect(page.locator('[data-run="base"]')).to_contain_text("refuses 12 of 12 harmful requests")
    page.get_by_role("link", name="base").click()
    page.wait_for_selector("#plot[data-ready]")
    expect(page.locator("#list details")).to_have_count(12)
    click_first_point(page)
    expect(page.locator("#alpha-text")).to_have_text("−0.5")
    page.get_by_label("Show prompts and answers").check(force=True)
    page.locator("#list summary").first.click()
    expect(page.locator("#list details").first).to_contain_text("Answer 0 at -0.50: step one")
    page.locator('#filters [data-outcome="incoherent"]').click()
    expect(page.locator('#list details:not([data-outcome="incoherent"])')).to_have_count(0)
    assert 0 < page.locator("#list details").count() < 12
    page.get_by_role("link", name="all runs").click()
    expect(page.locator("#run-list tbody tr")).to_have_count(3)
    assert logged == []


def test_two_selected_runs_are_compared_and_others_are_refused(page: Page, viewed: Viewed) -> None:
    page.goto(viewed.address)
    expect(page.locator("#compare")).to_be_disabled()
    page.get_by_label("Compare base").check()
    expect(page.locator("#compare")).to_be_disabled()
    page.get_by_label("Compare tuned").check()
    page.locator("#compare").click()
    page.wait_for_selector("#plot[data-ready]")
    expect(page.locator("#plot .legendtext")).to_contain_text(["base", "tuned"])
    page.go_back()
    page.get_by_label("Compare plane").check()
    page.locator("#compare").click()
    expect(page.locator("#following")).to_contain_text("did not ask what")


def test_the_explorer_and_the_report_show_the_same_page(page: Page, pages: Pages, viewed: Viewed, runs: Path) -> None:
    served = Opened(page, viewed.address + "run?run=tuned")
    other = pages.open(1280, 900, still=True)
    done = run_command("report", runs / "tuned")
    assert done.returncode == 0, done.stderr
    filed = Opened(other, runs / "tuned" / "report.html")

    def seen(opened: Opened) -> tuple[str, str, str]:
        page = opened.page
        page.get_by_label("Show prompts and answers").check(force=True)
        page.keyboard.press("ArrowRight")
        expect(page.locator("#alpha-text")).to_have_text("+0.1")
        expect(page.locator("#list")).to_have_attribute("data-point", "6")
        page.locator("#list summary").first.click()
        traces = page.evaluate(f"() => JSON.stringify({PLOT}.data.map(({{ x, y, name }}) => ({{ x, y, name }})))")
        said = page.locator("main").inner_text()
        for own in ("all runs", "This page is served from your own machine", "This file is self-contained"):
            said = said.replace(own, "")
        return said, traces, page.locator("#list").inner_text()

    assert [" ".join(text.split()) for text in seen(served)] == [" ".join(text.split()) for text in seen(filed)]
    served.assert_quiet()
    filed.assert_quiet()


def test_scripts_in_responses_are_not_executed(page: Page, tmp_path: Path) -> None:
    odd = (*HOSTILE, LONG, ANSI, "a\u2028b\u2029c", "\u202ertl\u202c", "<script>window.ran = 9</script>")
    survey = make_survey(model=HOSTILE[0], prompts=odd, lines=1, steps=2, system_prompt=HOSTILE[1])
    name = "<img src=x onerror='window.ran=7'>"
    make_run(tmp_path / name, survey, text=lambda point, number, complied: odd[number]).close()
    done = run_command("report", tmp_path / name)
    assert done.returncode == 0, done.stderr
    with viewing(tmp_path) as viewed:
        page.goto(viewed.address)
        expect(page.locator("#run-list a.run")).to_have_text(name)
        address = page.locator("#run-list a.run").evaluate("e => e.href")
        for place in (address, tmp_path / name / "report.html"):
            report = Opened(page, place)
            page.get_by_label("Show prompts and answers").check(force=True)
            report.settled()
            for summary in page.locator("#list summary").all():
                summary.click()
            expect(page.locator("#list .text")).to_have_count(2 * len(odd))
            assert page.locator("#list .text").all_text_contents() == [text for text in odd for _ in range(2)]
            assert page.evaluate("window.ran") is None
            expect(page.locator("main img, main a[href^=http], #list b, #list script")).to_have_count(0)
            assert page.evaluate("document.documentElement.scrollWidth") == 1280
            report.assert_quiet()


def test_a_served_page_requests_nothing_from_other_hosts(page: Page, viewed: Viewed) -> None:
    Opened(page, viewed.address + "run?run=base")
    assert directive_that_stops(page, adding_script("textContent: 'window.ran = 1'")) == "script-src-elem"
    assert page.evaluate("window.ran") is None
    assert directive_that_stops(page, adding_script("src: '/plotly.js'")) == "script-src-elem"
    assert directive_that_stops(page, "fetch('https://example.com/').catch(() => {})") == "connect-src"
    assert directive_that_stops(page, "new Image().src = '/plotly.js'") == "img-src"


def grow(directory: Path, survey: Survey, grown: Store, count: int) -> None:
    """Copy the next `count` points from another store, as if they were measured."""
    at = {entry.point: entry.position for entry in grown.points.measured()}
    with Store.claim(directory, survey) as store:
        session = store.begin_session(origin="o", noise_device="cpu", versions={})
        for judge in survey.judges:
            store.verdicts.register(judge, {})
        for point in [point for point in survey.points() if point not in store.points.finished()][:count]:
            answers = {
                probe.name: [each.answer for each in grown.points.answers(point, probe.name)] for probe in survey.probes
            }
            store.points.add(point, position=at[point], seconds=1.0, session=session, answers=answers)


def test_new_points_appear_and_the_selection_is_preserved(page: Page, tmp_path: Path) -> None:
    survey = make_survey(prompts=40, lines=2, steps=10, judges=TWO_JUDGES)
    grown = make_run(tmp_path / "elsewhere" / "grown", survey, opinion=four_outcomes)
    runs = tmp_path / "runs"
    Store.claim(runs / "live", survey).close()
    with viewing(runs) as viewed:
        page.goto(viewed.address + "run?run=live")
        expect(page.locator(".headline")).to_contain_text("Nothing is measured yet")
        grow(runs / "live", survey, grown, 4)
        report = Opened.of(page)
        expect(page.locator(".unfinished")).to_contain_text("4 of 21 points")
        page.get_by_label("Show prompts and answers").check(force=True)
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#alpha-text")).to_have_text("−0.3")
        expect(page.locator("#list")).to_have_attribute("data-point", "3")
        page.locator("#list summary").nth(20).click()
        page.locator("#landscape .table summary").click()
        page.locator("#search").focus()
        page.locator("#list").evaluate("e => { e.scrollTop = 300 }")
        top = page.locator("#browser").bounding_box()
        maps = page.locator("#list details[open] .strip button").count()
        grow(runs / "live", survey, grown, 7)
        expect(page.locator(".unfinished")).to_contain_text("11 of 21 points")
        # one direction is finished, so its figures are shown
        expect(page.locator('[data-figure="basin_radius"] .value')).not_to_have_text("–")
        expect(page.locator("#alpha-text")).to_have_text("−0.3")
        expect(page.locator("#list details[open]")).to_have_count(1)
        assert page.locator("#list").evaluate("e => e.scrollTop") == 300
        assert page.evaluate("document.activeElement.id") == "search"
        expect(page.locator("#landscape .table")).to_have_attribute("open", "")
        assert page.locator("#list details[open] .strip button").count() > maps
        assert page.evaluate("document.getElementById('alpha').max") == "10"
        now = page.locator("#browser").bounding_box()
        assert top is not None
        assert now is not None
        first = f"() => {PLOT}.data.find(({{ name }}) => name?.startsWith('direction 1')).x.length"
        assert page.evaluate(first) == 11
        grow(runs / "live", survey, grown, 100)
        expect(page.locator(".unfinished")).to_have_count(0)
        expect(page.locator("#direction option")).to_have_count(2)
        page.locator("#direction").select_option("1")
        expect(page.locator("#alpha-text")).to_have_text("−0.3")
        report.assert_quiet()
        # deleted while its page is open
        shutil.rmtree(runs / "live")
        expect(page.locator("#following")).to_contain_text("no longer there")
        page.locator("#forward").click()
        expect(page.locator("#list")).to_contain_text("The answers at this point cannot be shown: live: no such run")


def test_a_run_deleted_while_its_page_is_fetched_is_still_said_to_be_gone(page: Page, tmp_path: Path) -> None:
    survey = make_survey(prompts=12, lines=1, steps=10, judges=TWO_JUDGES)
    grown = make_run(tmp_path / "elsewhere" / "grown", survey, opinion=four_outcomes)
    runs = tmp_path / "runs"
    Store.claim(runs / "live", survey).close()
    grow(runs / "live", survey, grown, 4)
    fetched: list[tuple[Route, APIResponse]] = []
    with viewing(runs) as viewed:
        page.goto(viewed.address + "run?run=live")
        report = Opened.of(page)
        page.route("**/run?run=live", lambda route: fetched.append((route, route.fetch())))
        grow(runs / "live", survey, grown, 3)
        for _ in range(100):
            page.wait_for_timeout(50)
            if fetched:
                break
        shutil.rmtree(runs / "live")
        expect(page.locator("#following")).to_contain_text("no longer there")
        # what was fetched before the deletion arrives after the message about it
        route, response = fetched[0]
        route.fulfill(response=response)
        expect(page.locator(".unfinished")).to_contain_text("7 of 11 points")
        expect(page.locator("#following")).to_contain_text("no longer there")
        report.assert_quiet()


def a_whole_and_a_live_run(directory: Path) -> tuple[Path, Callable[[int], None]]:
    """Make two runs of one survey, of which `live` has four points; the function that is returned lets it grow."""
    survey = make_survey(prompts=12, lines=2, steps=10, judges=TWO_JUDGES)
    grown = make_run(directory / "elsewhere" / "grown", survey, opinion=four_outcomes)
    runs = directory / "runs"
    make_run(runs / "whole", survey, opinion=four_outcomes).close()

    def grow_live(points: int) -> None:
        grow(runs / "live", survey, grown, points)

    grow_live(4)
    return runs, grow_live


def test_a_comparison_is_updated_while_one_of_its_runs_grows(page: Page, tmp_path: Path) -> None:
    runs, grow_live = a_whole_and_a_live_run(tmp_path)
    with viewing(runs) as viewed:
        report = Opened(page, viewed.address + "compare?run=whole&run=live")
        expect(page.locator(".unfinished")).to_have_count(1)
        places = f"() => {PLOT}.data.filter(({{ name }}) => name === 'live').flatMap(({{ x }}) => x).length"
        assert page.evaluate(places) < 11
        page.evaluate("window.kept = 1")
        page.locator("#landscape .table summary").click()
        grow_live(100)
        expect(page.locator(".unfinished")).to_have_count(0)
        expect(page.locator("#landscape .table")).to_have_attribute("open", "")
        assert page.evaluate("window.kept") == 1
        assert page.evaluate(places) == 11
        report.assert_quiet()
        shutil.rmtree(runs / "live")
        expect(page.locator("#following")).to_contain_text("One of these runs is no longer there")


def test_a_page_that_cannot_be_read_anew_says_why_in_words(page: Page, tmp_path: Path) -> None:
    runs, grow_live = a_whole_and_a_live_run(tmp_path)
    with viewing(runs) as viewed:
        Opened(page, viewed.address + "compare?run=whole&run=live")
        refused = viewed.address + "compare?run=whole"
        page.route("**/compare?*", lambda route: route.continue_(url=refused))
        grow_live(100)
        expect(page.locator("#following")).to_have_text("Not up to date: select two or more runs to compare them")


def test_the_list_is_updated_and_the_selected_runs_are_preserved(page: Page, tmp_path: Path) -> None:
    survey = make_survey(prompts=4, lines=1, steps=4)
    grown = make_run(tmp_path / "elsewhere" / "grown", survey)
    runs = tmp_path / "runs"
    runs.mkdir()
    with viewing(runs) as viewed:
        page.goto(viewed.address)
        expect(page.locator("#run-list")).to_contain_text("safescape scan demo --quick")
        grow(runs / "one", survey, grown, 2)
        expect(page.locator('[data-run="one"]')).to_contain_text("2 of 5 points")
        page.get_by_label("Compare one").check()
        grow(runs / "one", survey, grown, 3)
        expect(page.locator('[data-run="one"]')).to_contain_text("5 of 5 points")
        expect(page.get_by_label("Compare one")).to_be_checked()
        viewed.end(signal.SIGTERM)
        expect(page.locator("#following")).to_contain_text("The server does not respond")


def test_the_page_of_a_running_scan_is_updated_until_it_ends(page: Page, tmp_path: Path) -> None:
    model = tiny_models.save_refusing_model(tmp_path / "model")
    (tmp_path / "runs").mkdir()
    flags = ["--limit", 6, "--max-new-tokens", 24, "--directions", 2, "--steps", 160, "--whole-answers"]
    command = command_line("scan", model, "--out", tmp_path / "runs" / "watched", *flags)
    with viewing(tmp_path / "runs") as viewed:
        page.goto(viewed.address)
        scan = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            page.get_by_role("link", name="watched").click(timeout=60_000)
            page.wait_for_selector("#plot[data-ready]", timeout=60_000)
            report = Opened.of(page)
            page.evaluate("window.kept = 1")
            seen = set()
            while scan.poll() is None:
                seen.add(page.locator(".measured").inner_text())
                page.wait_for_timeout(100)
            _, err = scan.communicate()
            assert scan.returncode == 0, err
            expect(page.locator(".unfinished")).to_have_count(0, timeout=30_000)
        finally:
            scan.kill()
        assert len(seen) >= 3
        expect(page.locator(".measured")).to_contain_text("321 of 321 points")
        assert page.evaluate("window.kept") == 1
        metrics = json.loads((tmp_path / "runs" / "watched" / "landscape.json").read_text())["metrics"]
        expect(page.locator('[data-figure="visage"] .value')).to_have_text(f"{metrics['visage']['value']:.1f}")
        page.keyboard.press("ArrowRight")
        with Store.read(tmp_path / "runs" / "watched") as store:
            first = Point(0, (store.survey.subspace.axes[0].grid[81],))
            text = store.points.answers(first, "harmful")[0].answer.response.text
        page.get_by_label("Show prompts and answers").check(force=True)
        page.locator("#list summary").first.click()
        assert page.locator("#list .text").nth(1).text_content() == (text or "(empty)")
        report.assert_quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("path", ["", "run?run=base", "run?run=plane", "run?run=none", "compare?run=base&run=tuned"])
def test_all_pages_fit_narrow_and_wide_windows_in_both_schemes(
    pages: Pages, viewed: Viewed, path: str, width: int, scheme: Scheme
) -> None:
    page = pages.open(width, scheme=scheme)
    page.goto(viewed.address + path)
    if page.locator("#plot").count():
        page.wait_for_selector("#plot[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") == width
