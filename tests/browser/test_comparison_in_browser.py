"""The page of a comparison in a real browser: all runs share one scale, and no script in a run's name is executed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from helpers.behaviours import bowl, no_basin, tuned
from helpers.chromium import Opened, Pages, Scheme, place_in_plot
from helpers.hostile_texts import HOSTILE
from helpers.runs import compared_runs
from helpers.surveys import further, one_of_each_kind, path_line, random_plane
from safescape.views import render_comparison


def write_comparison(
    directory: Path, runs: Mapping[str, Any], names: tuple[str, ...] | None = None, **survey: Any
) -> Path:
    """Write the page that compares runs, given by name with the arguments of `make_run`; `names` replaces the names."""
    comparison = compared_runs(directory, runs, **survey)
    named = comparison.model_copy(update={"names": names or comparison.names})
    path = directory / "comparison.html"
    path.write_text(render_comparison(named), encoding="utf-8")
    return path


def drawn(page: Page) -> list[dict[str, Any]]:
    """Return the traces that react to the mouse."""
    found: list[dict[str, Any]] = page.evaluate(
        """[...document.getElementById("plot").data].filter((trace) => trace.hoverinfo !== "skip").map((trace) => ({
            type: trace.type, name: trace.name, x: [...trace.x], y: [...trace.y], z: trace.z ?? null,
            yaxis: trace.yaxis,
            coloraxis: trace.coloraxis ?? null, dash: trace.line?.dash ?? null, colour: trace.line?.color ?? null }))"""
    )
    return found


def has_no_overlap(page: Page, selector: str) -> bool:
    boxes = [box for each in page.locator(selector).all() if (box := each.bounding_box()) and box["width"]]
    return not any(
        a["x"] < b["x"] + b["width"]
        and b["x"] < a["x"] + a["width"]
        and a["y"] < b["y"] + b["height"]
        and b["y"] < a["y"] + a["height"]
        for number, a in enumerate(boxes)
        for b in boxes[number + 1 :]
    )


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = {
        "base": {},
        "unsafe": {"rate": no_basin},
        "c": {"rate": lambda line, alpha: 0.0},
        "begun": {"points": 6},
        "e": {},
    }
    return write_comparison(tmp_path_factory.mktemp("five"), runs, prompts=20, lines=1)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    also = further("benign", "accuracy", "perplexity", items=8)
    runs = {"ten-examples": {"chance": tuned}, "hundred-examples": {"chance": tuned}}
    return write_comparison(tmp_path_factory.mktemp("measured"), runs, prompts=20, subspace=path_line(4), also=also)


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = {"a": {"chance": bowl}, "b": {"chance": bowl, "points": 7}, "c": {"points": 0}}
    return write_comparison(tmp_path_factory.mktemp("planes"), runs, prompts=10, subspace=random_plane(4))


def test_all_runs_are_curves_on_the_same_axes(page: Page, five: Path) -> None:
    opened = Opened(page, five)
    curves = drawn(page)
    # the curve of the unfinished run is broken at its gap
    assert [curve["name"] for curve in curves] == ["base", "unsafe", "c", "begun", "begun", "e"]
    assert {curve["yaxis"] for curve in curves} == {"y"}
    assert [curve["x"] for curve in curves if curve["name"] == "begun"] == [[-0.5, -0.45, -0.4, -0.35, -0.3], [0]]
    assert set(curves[2]["y"]) == {0}
    assert len({(curve["colour"], curve["dash"]) for curve in curves}) == 5
    expect(page.locator("#plot .legendtext")).to_have_text(["base", "unsafe", "c", "begun", "e"])
    expect(page.locator("#plot .annotation-text")).to_contain_text(["unsafe"])
    assert page.evaluate("document.getElementById('plot').data.filter((t) => t.fill === 'tonexty').length") == 6
    opened.assert_quiet()


def test_hovering_a_curve_names_its_run(page: Page, five: Path) -> None:
    opened = Opened(page, five)
    page.locator("#plot").scroll_into_view_if_needed()
    page.mouse.move(*place_in_plot(page, 0.3, 0))
    expect(page.locator("#plot .hoverlayer")).to_contain_text("c, α = +0.3")
    expect(page.locator("#plot .hoverlayer")).to_contain_text("ASR 0.0 %")
    expect(page.locator("#plot .hoverlayer")).to_contain_text("95 % interval 0.0 to 16.1 %")
    opened.assert_quiet()


def test_each_measure_has_a_panel_below_the_asr(page: Page, measured: Path) -> None:
    opened = Opened(page, measured)
    assert [curve["yaxis"] for curve in drawn(page)] == ["y", "y", "y2", "y2", "y3", "y3", "y4", "y4"]
    expect(page.locator("#plot .annotation-text")).to_contain_text(
        ["unsafe", "other model", "over-refusal, %", "accuracy, %", "perplexity"]
    )
    domains = page.evaluate(
        "['yaxis', 'yaxis2', 'yaxis3', 'yaxis4'].map((n) => document.getElementById('plot')._fullLayout[n].domain)"
    )
    for (low, _), (_, high) in pairwise(domains):
        assert high < low, "each panel ends above the next"
    assert domains[-1][0] == pytest.approx(0, abs=1e-9)
    opened.assert_quiet()


def test_planes_are_side_by_side_on_one_colour_scale(page: Page, planes: Path) -> None:
    opened = Opened(page, planes)
    maps = [trace for trace in drawn(page) if trace["type"] == "heatmap"]
    assert len(maps) == 3
    assert {trace["coloraxis"] for trace in maps} == {"coloraxis"}
    assert [sum(v is not None for row in trace["z"] for v in row) for trace in maps] == [25, 7, 0]
    scale = page.evaluate("(({ cmin, cmax }) => [cmin, cmax])(document.getElementById('plot')._fullLayout.coloraxis)")
    assert scale == [0, 100]
    expect(page.locator("#plot .colorbar")).to_have_count(1)
    expect(page.locator("#plot .annotation-text")).to_have_text(["a", "b", "c"])
    ranges = page.evaluate(
        "['xaxis', 'xaxis2', 'xaxis3'].map((n) => document.getElementById('plot')._fullLayout[n].range)"
    )
    assert ranges[0] == ranges[1] == ranges[2]
    opened.assert_quiet()


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["five", "measured", "planes"])
def test_the_page_fits_narrow_and_wide_windows_in_both_schemes(
    pages: Pages, request: pytest.FixtureRequest, which: str, width: int, scheme: Scheme
) -> None:
    page = pages.open(width, scheme=scheme)
    opened = Opened(page, request.getfixturevalue(which))
    assert page.evaluate("document.documentElement.scrollWidth") == width
    panel = page.locator(".panel").bounding_box()
    plot = page.locator("#plot .main-svg").first.bounding_box()
    assert panel is not None
    assert plot is not None
    assert plot["y"] + plot["height"] <= panel["y"] + panel["height"], "the plot stays in its panel"
    assert plot["width"] <= width
    assert has_no_overlap(page, "#plot .annotation-text, #plot .legendtext, #plot .g-xtitle, #plot .g-ytitle")
    opened.assert_quiet()


def test_planes_are_stacked_when_the_window_becomes_narrow(page: Page, planes: Path) -> None:
    opened = Opened(page, planes)
    column = "document.getElementById('plot')._fullLayout.xaxis2.domain[0]"
    assert page.evaluate(column) > 0.3
    page.set_viewport_size({"width": 400, "height": 800})
    expect(page.locator("#plot .colorbar")).to_contain_text("ASR %")
    assert page.evaluate(column) == 0
    opened.assert_quiet()


@pytest.mark.parametrize("kind", ["lines", "path", "plane", "path plane"])
def test_scripts_in_names_of_runs_models_and_probes_are_not_executed(page: Page, tmp_path: Path, kind: str) -> None:
    hostile = "".join(HOSTILE)
    path = write_comparison(
        tmp_path,
        {str(n): {"chance": lambda *_: 0.5} for n in range(4)},
        names=(HOSTILE[0], HOSTILE[1], HOSTILE[2], hostile),
        model=hostile,
        prompts=4,
        lines=1,
        steps=2,
        subspace=one_of_each_kind(toward=hostile)[kind],
        also=further(hostile, "benign", items=4),
    )
    opened = Opened(page, path)
    page.locator("#plot").scroll_into_view_if_needed()
    box = page.locator("#plot").bounding_box()
    assert box is not None
    for share in (0.15, 0.3, 0.45, 0.6):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.3 * box["height"])
    assert page.evaluate("window.ran") is None
    expect(page.locator("main img, main a[href^='http'], #plot a, main b, main svg[onload]")).to_have_count(0)
    expect(page.locator("#runs td").first).to_contain_text("script>")
    opened.assert_quiet()
