"""The figure of a comparison: all runs on one scale, with their figures, whatever their names are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from helpers.behaviours import Chance, Rate, bowl, no_basin, tuned
from helpers.figure_contents import assert_texts_are_apart, cells, curve, values, words, xs, xy, ys
from helpers.hostile_texts import HOSTILE
from helpers.runs import compared_runs
from helpers.surveys import further, path_line, path_plane, random_plane
from safescape.landscape import Comparison
from safescape.survey import Point
from safescape.views import draw_comparison, save_figure
from safescape.views.text.comparison import listed, names_of


def wide(edge: float) -> Rate:
    """Return a rate that rises from 0 to 1 beyond an edge, a little farther out on each line."""
    return lambda line, alpha: min(1.0, max(0.0, (abs(alpha) - edge - 0.01 * line) / 0.1))


def scaled(chance: Chance, scale: float) -> Chance:
    """Return the same landscape, narrower by a factor."""
    return lambda probe, point: chance(probe, Point(point.line, tuple(scale * at for at in point.coords)))


def labelled(figure: Figure, begin: str) -> str:
    (label,) = {str(line.get_label()) for line in figure.axes[0].lines if str(line.get_label()).startswith(begin)}
    return label


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    runs = {"base": {"rate": wide(0.2)}, "tuned": {"rate": wide(0.1)}}
    return compared_runs(tmp_path_factory.mktemp("overlay"), runs, prompts=40)


def test_a_run_is_drawn_as_the_mean_of_its_directions(comparison: Comparison) -> None:
    figure = draw_comparison(comparison)
    for name, landscape in zip(("base", "tuned"), comparison.landscapes, strict=True):
        lines = [[(p.effective[0], p.keyword_asr or 0.0) for p in landscape.on_line(line)] for line in range(3)]
        mean = [(at[0][0], sum(asr for _, asr in at) / 3) for at in zip(*lines, strict=True)]
        assert curve(figure, labelled(figure, f"“{name}”")) == [pytest.approx(point) for point in mean]


def test_the_legend_has_the_figures_of_each_run_with_their_intervals(comparison: Comparison) -> None:
    said = words(draw_comparison(comparison))
    for name, landscape in zip(("base", "tuned"), comparison.landscapes, strict=True):
        visage, radius = landscape.metrics["visage"], landscape.metrics["basin_radius"]
        assert (
            f"“{name}”: VISAGE {visage.value:.1f} ({visage.low:.1f} to {visage.high:.1f}), "
            f"radius {radius.value:.3f} ({radius.low:.3f} to {radius.high:.3f})"
        ) in said


def test_the_title_has_the_names_of_the_runs_and_the_paired_difference(comparison: Comparison) -> None:
    said = words(draw_comparison(comparison)).split("\n")
    less = comparison.differences[1]["visage"]
    assert less.value is not None
    assert less.value < 0
    assert said[:2] == ["base and tuned", "40 prompts · 3 random directions · keyword judge"]
    assert said[2] == "Difference in VISAGE to base, paired prompt by prompt"
    assert said[3:5] == ["tuned", f"−{-less.value:.1f}"]
    low, high = (f"{value:+.1f}".replace("-", "−") for value in (less.low, less.high))
    assert said[5] == f"95 %: {low} to {high}"


def test_all_runs_have_one_scale_and_one_threshold(tmp_path: Path) -> None:
    runs = {"a": {"rate": wide(0.2)}, "b": {"rate": wide(0.1), "shift": 0.1}}
    axes = draw_comparison(compared_runs(tmp_path, runs, prompts=10)).axes[0]
    # the effective α of the second run are a tenth larger
    low, high = axes.get_xlim()
    assert low < -0.55
    assert high > 0.55
    assert [ys(line)[0] for line in axes.lines if len(ys(line)) == 2 and ys(line)[0] > 5] == [10.0]


def test_five_runs_differ_in_colour_shape_or_dash(tmp_path: Path) -> None:
    runs = {name: {"rate": wide(0.05 * n)} for n, name in enumerate("abcde", start=1)}
    figure = draw_comparison(compared_runs(tmp_path, runs, prompts=10, lines=1))
    lines = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("“")]
    assert len({(to_hex(line.get_color()), line.get_marker(), line.get_linestyle()) for line in lines}) == 5
    assert len([line for line in lines if line.is_dashed()]) == 1
    assert words(figure).startswith("a, b, c, d and e")


def test_the_basins_are_bars_at_different_heights(comparison: Comparison) -> None:
    axes = draw_comparison(comparison).axes[0]
    bars = [line for line in axes.lines if line.get_transform() == axes.get_xaxis_transform() and len(xs(line)) == 2]
    spans = {to_hex(line.get_color()): xs(line) for line in bars if ys(line)[0] > 1}
    expected = [
        [sum(edges[side] for edges in landscape.edges if edges) / 3 for side in (0, 1)]
        for landscape in comparison.landscapes
    ]
    assert spans == {"#0072b2": pytest.approx(expected[0]), "#d98200": pytest.approx(expected[1])}
    assert len({ys(line)[0] for line in bars}) == 2


def test_a_run_without_a_basin_is_compared_by_its_visage(tmp_path: Path) -> None:
    runs = {"safe": {"rate": wide(0.2)}, "unsafe": {"rate": no_basin}, "safer": {"rate": wide(0.3)}}
    found = compared_runs(tmp_path, runs)
    said = words(draw_comparison(found))
    visage = found.landscapes[1].metrics["visage"]
    assert (
        f"“unsafe”: VISAGE {visage.value:.1f} ({visage.low:.1f} to {visage.high:.1f}), no basin (origin at 92.5 %)"
        in said
    )
    assert "Difference in VISAGE to safe, paired prompt by prompt\nunsafe\n" in said
    less = found.differences[1]["visage"].value
    assert less is not None
    assert f"−{-less:.1f}" in said
    against = words(draw_comparison(compared_runs(tmp_path / "first", dict(reversed(list(runs.items())[:2])))))
    assert "Difference in VISAGE to unsafe, paired prompt by prompt\nsafe\n" in against


@pytest.mark.parametrize(("points", "drawn"), [(0, []), (1, [[0.0]]), (4, [[-0.5, -0.4, -0.3], [0.0]])])
def test_an_unfinished_line_is_not_drawn_across_gaps(tmp_path: Path, points: int, drawn: list[list[float]]) -> None:
    runs = {"whole": {"rate": wide(0.2)}, "begun": {"rate": wide(0.2), "points": points}}
    figure = draw_comparison(compared_runs(tmp_path, runs, lines=1, steps=10))
    assert f"“begun”: unfinished, {points} of 11 points" in words(figure)
    orange = [line for line in figure.axes[0].lines if to_hex(line.get_color()) == "#d98200"]
    assert [xs(line) for line in orange if xs(line)] == drawn
    # the finished run has no gap
    assert len(curve(figure, labelled(figure, "“whole”"))) == 11


def test_an_unfinished_run_is_drawn_as_the_mean_of_its_finished_directions(tmp_path: Path) -> None:
    found = compared_runs(tmp_path, {"a": {}, "b": {"points": 31}}, prompts=20)
    figure = draw_comparison(found)
    first = [(p.effective[0], p.keyword_asr) for p in found.landscapes[1].on_line(0)]
    label = labelled(figure, "“b”")
    assert label.endswith(", 31 of 61 points")
    assert curve(figure, label) == [pytest.approx(point) for point in first]


def test_each_measure_has_a_panel_with_all_runs_in_their_colours(tmp_path: Path) -> None:
    also = further("benign", "accuracy", "perplexity", "margin")
    runs = {"a": {"chance": tuned}, "b": {"chance": scaled(tuned, 1.5)}}
    found = compared_runs(tmp_path, runs, prompts=10, subspace=path_line(), also=also)
    figure = draw_comparison(found)
    upper, *panels = figure.axes
    assert [axes.get_ylabel() for axes in panels] == [
        "Over-refusal (%)",
        "Accuracy (%)",
        "Perplexity",
        "Refusal margin (nats)",
    ]
    assert [axes.get_yscale() for axes in panels] == ["linear", "linear", "log", "linear"]
    for axes, kind in zip(panels, ("over_refusal", "accuracy", "perplexity", "margin"), strict=True):
        assert axes.get_shared_x_axes().joined(upper, axes)
        drawn = axes.lines[1:] if kind == "margin" else axes.lines  # beside the line at 0
        for line, colour, landscape in zip(drawn, ("#0072b2", "#d98200"), found.landscapes, strict=True):
            expected = sorted((m.effective[0], m.value) for m in landscape.measures if m.kind == kind)
            assert xy(line) == [pytest.approx(point) for point in expected]
            assert to_hex(line.get_color()) == colour
    assert panels[-1].get_xlabel() == "α, from the origin (0) to the other model (1)"
    assert not upper.get_xlabel()


def test_of_several_probes_the_first_one_is_compared(tmp_path: Path) -> None:
    runs = {"a": {"chance": tuned}, "b": {"chance": tuned}}
    found = compared_runs(tmp_path, runs, prompts=10, subspace=path_line(4), also=further("attack:a.csv", "mistral"))
    figure = draw_comparison(found)
    assert "10 prompts (the first of 3 probes) · line between two models" in words(figure)
    asr = [(point.effective[0], point.keyword_asr) for point in found.landscapes[0].on_line(0, "harmful")]
    assert curve(figure, labelled(figure, "“a”")) == [pytest.approx(point) for point in asr]


def test_the_other_models_of_paths_are_marked(tmp_path: Path) -> None:
    runs = {"a": {"chance": tuned}, "b": {"chance": scaled(tuned, 2)}}
    figure = draw_comparison(compared_runs(tmp_path, runs, prompts=10, subspace=path_line()))
    assert "the model that a run's line leads to" in words(figure)
    assert "Difference in safety AUC to a, paired prompt by prompt" in words(figure), (
        "VISAGE would call the worse better"
    )
    assert any(set(xs(line)) == {1.0} for line in figure.axes[0].lines)


# Planes.


def maps(figure: Figure) -> list[int]:
    meshes = [(n, axes) for n, axes in enumerate(figure.axes) if any(isinstance(c, QuadMesh) for c in axes.collections)]
    return [number for number, axes in meshes if axes.get_ylabel() != "Attack success rate (%)"]


def test_planes_stand_side_by_side_on_one_scale(tmp_path: Path) -> None:
    runs = {"a": {"chance": bowl}, "b": {"chance": scaled(bowl, 2)}, "c": {"chance": lambda *_: 0.9}}
    found = compared_runs(tmp_path, runs, prompts=20, subspace=random_plane(4))
    figure = draw_comparison(found)
    grid = (-0.5, -0.25, 0.0, 0.25, 0.5)
    panels = maps(figure)
    assert len(panels) == 3
    for number, landscape in zip(panels, found.landscapes, strict=True):
        asr = {point.coords: point.keyword_asr for point in landscape.points}
        mesh = cells(figure, number)
        assert values(mesh).tolist() == [[asr[alpha, beta] for alpha in grid] for beta in grid]
        assert (mesh.get_clim(), mesh.get_cmap().name) == ((0.0, 100.0), "cividis")
    assert len({(figure.axes[n].get_xlim(), figure.axes[n].get_ylim()) for n in panels}) == 1
    assert len([axes for axes in figure.axes if axes.get_ylabel() == "Attack success rate (%)"]) == 1
    said = words(figure)
    radius = found.landscapes[1].metrics["basin_radius"]
    assert f"radius {radius.value:.3f} ({radius.low:.3f} to {radius.high:.3f})" in said
    assert "no basin (origin at 90.0 %)" in said
    assert "α, along random direction 1 (seed 0)" in said
    assert said.count("edge of safety: ASR 10 %") == 1


def test_maps_have_the_same_limits_if_rounded_weights_differ(tmp_path: Path) -> None:
    runs = {"a": {"chance": bowl}, "b": {"chance": bowl, "shift": 0.2}}
    figure = draw_comparison(compared_runs(tmp_path, runs, prompts=10, subspace=random_plane(4)))
    # cells reach half a step beyond the outermost centre: 1.2 · (0.5 + 0.125)
    assert [figure.axes[n].get_xlim() for n in maps(figure)] == [pytest.approx((-0.75, 0.75))] * 2


def test_only_measured_cells_of_an_unfinished_plane_are_drawn(tmp_path: Path) -> None:
    runs = {"whole": {"chance": bowl}, "begun": {"chance": bowl, "points": 12}, "empty": {"points": 0}}
    figure = draw_comparison(compared_runs(tmp_path, runs, prompts=10, subspace=random_plane(4)))
    counts = [int(np.ma.count(values(cells(figure, number)))) for number in maps(figure)]
    assert counts == [25, 12, 0]
    said = words(figure)
    assert "unfinished\n12 of 25 points" in said
    assert "not measured" in said


# Names and overlapping texts.


def test_long_names_are_truncated_equally_or_counted() -> None:
    assert listed(["a", "b", "c"], 60) == "a, b and c"
    assert listed(["a" * 20, "b" * 20, "cc"], 38) == "aaaaaaa…aaaaaa, bbbbbbb…bbbbbb and cc"
    assert listed(["a" * 20, "b" * 20, "cc"], 30) == "aaaaa…aaaa and 2 others"
    assert listed([f"run-{n}" for n in range(9)], 60) == "run-0 and 8 others"


def test_a_run_is_named_by_the_shortest_distinct_end_of_its_path(comparison: Comparison) -> None:
    for given, expected in (
        (("runs/base", "runs/tuned"), ("base", "tuned")),
        (("/tmp/x/a/run", "/tmp/x/b/run"), ("a/run", "b/run")),
        (("runs/a", "runs/a/b"), ("a", "a/b")),
        (("a", "/b/c"), ("a", "/b/c")),
        (("runs/same", "runs/same"), ("same", "same")),
        ((".", "x"), (".", "x")),
    ):
        assert names_of(comparison.model_copy(update={"names": given})) == expected


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", [*HOSTILE, "lone \ud800", "W" * 3000, ""])
def test_any_name_of_a_run_is_drawn_as_plain_text(comparison: Comparison, tmp_path: Path, name: str) -> None:
    named = comparison.model_copy(update={"names": ("runs/base", f"runs/{name}")})
    figure = draw_comparison(named)
    assert not any(text.get_parse_math() for text in (*figure.texts, *figure.legends[0].get_texts()))
    assert_texts_are_apart(figure)
    save_figure(figure, tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "VISAGE" in figure.legends[0].get_texts()[1].get_text()


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", [HOSTILE[0], "$x^2$", "W" * 3000])
def test_any_name_of_a_plane_is_drawn_as_plain_text(tmp_path: Path, name: str) -> None:
    found = compared_runs(tmp_path, {"a": {"chance": bowl}, "b": {"chance": bowl}}, prompts=4, subspace=random_plane(2))
    figure = draw_comparison(found.model_copy(update={"names": ("a", name)}))
    found_there = [text for axes in figure.axes for text in axes.texts]
    assert not any(text.get_parse_math() for text in (*figure.texts, *found_there))
    assert_texts_are_apart(figure)


LONG = "a-directory-with-a-name-that-is-far-too-long-for-any-legend-or-heading-of-a-picture"
CASES: dict[str, Callable[[], tuple[dict[str, dict[str, Any]], dict[str, Any]]]] = {
    "two": lambda: ({"base": {}, "tuned": {"rate": wide(0.1)}}, {}),
    "five": lambda: ({f"{n}-{LONG}": {"points": None if n else 31} for n in range(5)}, {"lines": 2}),
    "nine": lambda: ({f"run-{n}": {} for n in range(9)}, {"lines": 1}),
    "measures": lambda: (
        {"a": {"chance": tuned}, LONG: {"chance": tuned}},
        {"subspace": path_line(), "also": further("benign", "accuracy", "perplexity", "margin")},
    ),
    "two planes": lambda: ({"a": {"chance": bowl}, LONG: {"chance": bowl}}, {"subspace": random_plane(4)}),
    "five planes": lambda: (
        {f"{n}-{LONG}": {"chance": tuned, "points": 9 if n == 2 else None} for n in range(5)},
        {"subspace": path_plane(4)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_texts_are_inside_the_figure_and_do_not_overlap(tmp_path: Path, case: str) -> None:
    runs, survey = CASES[case]()
    assert_texts_are_apart(draw_comparison(compared_runs(tmp_path, runs, prompts=20, **survey)))
