"""The figure of a landscape: curves, maps and figures equal the landscape, whatever the name of the model is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.contour import QuadContourSet
from mpl_toolkits.mplot3d import Axes3D

from helpers.behaviours import beside_path, no_basin, tuned
from helpers.figure_contents import assert_texts_are_apart, cells, curve, texts, values, words
from helpers.hostile_texts import HOSTILE
from helpers.runs import make_landscape, make_run
from helpers.surveys import between, further, make_survey, path_line, path_plane, random_plane, trajectory
from safescape.errors import RunError
from safescape.landscape import Landscape, landscape_of
from safescape.survey import Plane, Point, Position
from safescape.views import draw, save_figure
from safescape.views.series.curves import Reading, course_of

PNG = b"\x89PNG\r\n\x1a\n"


def measured(directory: Path, *, points: int | None = None, shift: float = 0.0, **survey: Any) -> Landscape:
    """A run of `tuned` with its checkpoints beside the path."""
    stands = beside_path(len(survey["subspace"].axes), shift=shift)
    return make_landscape(
        directory / "run", make_survey(prompts=20, **survey), chance=tuned, stands=stands, points=points
    )


@pytest.fixture(scope="module")
def landscape(tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    return make_landscape(tmp_path_factory.mktemp("figure") / "run", make_survey())


def test_every_direction_is_drawn_through_its_points_and_so_is_their_mean(landscape: Landscape) -> None:
    figure = draw(landscape)
    lines = [curve(figure, f"direction {n + 1} (seed {n})") for n in range(3)]
    assert [len(line) for line in lines] == [21, 21, 21]
    for number, line in enumerate(lines):
        assert line == [(p.effective[0], p.keyword_asr) for p in landscape.on_line(number)]
    mean = curve(figure, "mean of the directions")
    assert mean == [pytest.approx((line[0][0], sum(y for _, y in line) / 3)) for line in zip(*lines, strict=True)]
    assert curve(figure, "origin: the model under test") == [(0.0, 0.0)]


def test_the_title_has_the_figures_with_their_intervals(landscape: Landscape) -> None:
    said = words(draw(landscape))
    assert "example/Model-7B-chat" in said
    assert "80 prompts · 3 random directions · keyword judge" in said
    for key, decimals in (("visage", 1), ("basin_radius", 3), ("origin_asr", 1)):
        metric = landscape.metrics[key]
        assert f"{metric.value:.{decimals}f}" in said
        assert f"95 %: {metric.low:.{decimals}f} to {metric.high:.{decimals}f}" in said


def test_the_basin_is_shaded_between_the_mean_edges(landscape: Landscape) -> None:
    shades = [patch.get_extents() for patch in draw(landscape).axes[0].patches]
    left = sum(edges[0] for edges in landscape.edges if edges) / 3
    right = sum(edges[1] for edges in landscape.edges if edges) / 3
    axes = draw(landscape).axes[0]
    expected = axes.transData.transform([(left, 0), (right, 0)])[:, 0]
    assert [(shade.x0, shade.x1) for shade in shades] == [pytest.approx(tuple(expected))]


def test_a_radius_beyond_the_span_is_a_lower_bound(tmp_path: Path) -> None:
    said = words(draw(make_landscape(tmp_path / "run", make_survey(), rate=lambda line, alpha: 0.0)))
    assert "≥ 0.500" in said
    assert "0.500 or more" in said


def test_a_run_without_a_basin_has_no_radius(tmp_path: Path) -> None:
    landscape = make_landscape(tmp_path / "run", make_survey(), rate=no_basin)
    figure = draw(landscape)
    said = words(figure)
    assert "No basin: the origin itself is unsafe (ASR 92.5 %)" in said
    assert f"safe would be up to 10 %; VISAGE {landscape.visage:.1f} (" in said
    assert "radius" not in said
    assert not figure.axes[0].patches


@pytest.mark.parametrize(("points", "finished"), [(1, 0), (5, 0), (31, 1), (60, 2)])
def test_the_mean_of_an_unfinished_run_needs_two_finished_directions(
    tmp_path: Path, points: int, finished: int
) -> None:
    figure = draw(make_landscape(tmp_path / "run", make_survey(), points=points))
    assert f"{finished} of 3 random directions finished ({points} of 61 points)" in words(figure)
    labels = [str(line.get_label()) for line in figure.axes[0].lines]
    begun = -(-(points - 1) // 20)
    assert sum(label.startswith("direction") for label in labels) == begun
    assert ("mean of the directions" in labels) == (finished == 2)


def test_a_run_without_points_is_drawn(landscape: Landscape) -> None:
    nothing = landscape.model_copy(update={"points": (), "complete": False})
    assert "0 of 61 points" in words(draw(nothing))


def test_lines_without_the_origin_are_drawn(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(lines=6, steps=4, prompts=4)) as store:
        measured = [entry for entry in store.points.measured() if entry.point.line == 5]
        figure = draw(landscape_of(store.survey, measured))
    assert len(curve(figure, "each direction")) == 4
    assert "0 of 6 random directions finished (4 of 25 points)" in words(figure)


def test_one_direction_has_no_mean(tmp_path: Path) -> None:
    figure = draw(make_landscape(tmp_path / "run", make_survey(lines=1)))
    assert "mean" not in words(figure)
    assert len(curve(figure, "direction 1 (seed 0)")) == 21


def test_points_are_drawn_at_the_effective_alpha_of_rounded_weights(tmp_path: Path) -> None:
    figure = draw(make_landscape(tmp_path / "run", make_survey(lines=1, dtype="bfloat16"), shift=-0.04))
    assert curve(figure, "direction 1 (seed 0)")[0][0] == pytest.approx(-0.48)
    assert "as rounded to bfloat16" in words(figure)


def test_directions_differ_in_colour_and_in_shape(landscape: Landscape) -> None:
    lines = [line for line in draw(landscape).axes[0].lines if str(line.get_label()).startswith("direction")]
    assert len({to_hex(line.get_color()) for line in lines}) == 3
    assert len({line.get_marker() for line in lines}) == 3


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("model", [*HOSTILE, "lone \ud800", "x" * 5000, ""])
def test_a_figure_with_any_name_of_a_model_is_saved(landscape: Landscape, tmp_path: Path, model: str) -> None:
    named = landscape.model_copy(update={"survey": landscape.survey.model_copy(update={"model": model})})
    save_figure(draw(named), tmp_path / "landscape.png")
    assert (tmp_path / "landscape.png").read_bytes().startswith(PNG)


def test_dollar_signs_in_a_name_are_not_parsed_as_mathematics(landscape: Landscape) -> None:
    figure = draw(landscape.model_copy(update={"survey": landscape.survey.model_copy(update={"model": "$x^2$"})}))
    (title,) = [text for text in figure.texts if text.get_text() == "$x^2$"]
    assert not title.get_parse_math()


KINDS: dict[str, dict[str, Any]] = {
    "lines": {"subspace": None},
    "path": {"subspace": path_line(), "through": trajectory(3)},
    "path with probes": {
        "subspace": path_line(),
        "through": trajectory(3),
        "also": further("harmful, mistral", "attack:" + "W" * 60, "benign", "accuracy", "perplexity", "margin"),
    },
    "plane": {"subspace": random_plane(4)},
    "plane with probes": {
        "subspace": path_plane(4),
        "through": trajectory(3),
        "also": further("attack:" + "W" * 60, "benign", "accuracy", "perplexity", "margin"),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_inside_the_figure_and_do_not_overlap(tmp_path: Path, landscape: Landscape, kind: str) -> None:
    given = KINDS[kind]
    drawn = measured(tmp_path, **given) if given["subspace"] else landscape
    long = drawn.model_copy(
        update={"survey": drawn.survey.model_copy(update={"model": "organisation/" + "Model-" * 30})}
    )
    figure = draw(long)
    assert_texts_are_apart(figure)


@pytest.mark.parametrize(("name", "begin"), [("a.png", PNG), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")])
def test_a_figure_is_saved_in_the_format_of_its_suffix(
    landscape: Landscape, tmp_path: Path, name: str, begin: bytes
) -> None:
    save_figure(draw(landscape), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)
    assert [path.name for path in tmp_path.glob("*a.*")] == [name]


def test_a_figure_in_an_absent_directory_is_an_error(landscape: Landscape, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file"):
        save_figure(draw(landscape), tmp_path / "absent" / "a.png")


# A line between two models.


def test_a_path_is_drawn_from_the_origin_to_the_other_model(tmp_path: Path) -> None:
    landscape = measured(tmp_path, subspace=path_line(), model="$base$")
    figure = draw(landscape)
    said = words(figure)
    assert "20 prompts · line between two models · keyword judge" in said
    assert "α, from the origin (0) to the other model (1)" in said
    assert "Basin radius |α|" in said
    assert "Tuned-7B" not in said
    asr = {point.coords[0]: point.keyword_asr for point in landscape.points}
    assert curve(figure, "other model") == [(1.0, asr[1.0])]
    assert curve(figure, "line to the other model") == [(alpha, asr[alpha]) for alpha in sorted(asr)]


def test_an_unfinished_path_has_its_number_of_points_in_the_title(tmp_path: Path) -> None:
    figure = draw(measured(tmp_path, subspace=path_line(), points=4))
    assert "line between two models (4 of 13 points)" in words(figure)
    assert "other model" not in [line.get_label() for line in figure.axes[0].lines]


def test_checkpoints_are_numbered_and_drawn_at_their_positions(tmp_path: Path) -> None:
    landscape = measured(tmp_path, subspace=path_line(), through=trajectory(3))
    figure = draw(landscape)
    asr = [point.keyword_asr for point in landscape.points if point.waypoint is not None]
    assert curve(figure, "checkpoints of the trajectory") == list(zip((0.25, 0.5, 0.75), asr, strict=True))
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text().isdigit()] == ["1", "2", "3"]
    assert "line between two models · 3 checkpoints" in words(figure)


def test_only_measured_checkpoints_are_drawn(tmp_path: Path) -> None:
    figure = draw(measured(tmp_path, subspace=path_line(), through=trajectory(3), points=14))
    assert len(curve(figure, "checkpoints of the trajectory")) == 1


def test_a_run_with_only_a_checkpoint_measured_is_drawn(tmp_path: Path) -> None:
    survey = make_survey(prompts=4, subspace=path_line(2), through=trajectory(1), also=further("a", "perplexity"))
    with make_run(tmp_path / "run", survey, chance=tuned, stands=lambda _: Position((0.2,), 0.5)) as store:
        figure = draw(
            landscape_of(survey, [entry for entry in store.points.measured() if entry.point.waypoint is not None])
        )
    assert curve(figure, "checkpoints of the trajectory") == [(0.2, 0.0)]


# Further probes and capability.


def test_every_probe_of_harmful_prompts_has_its_curve_and_its_visage(tmp_path: Path) -> None:
    landscape = measured(tmp_path, subspace=path_line(), also=further("harmful, mistral", "attack:a.csv"))
    figure = draw(landscape)
    labels = [str(line.get_label()) for line in figure.axes[0].lines]
    for name, metrics in {"harmful": landscape.metrics, **landscape.by_probe}.items():
        visage = metrics["visage"]
        (label,) = [label for label in labels if label.startswith(f"“{name}”")]
        assert label == f"“{name}”: VISAGE {visage.value:.1f} ({visage.low:.1f} to {visage.high:.1f})"
        assert label in words(figure)
        assert curve(figure, label) == [(p.coords[0], p.keyword_asr) for p in landscape.on_line(0, name)]
    assert "line to the other model" not in labels


def test_a_probe_over_several_directions_is_drawn_as_their_mean(tmp_path: Path) -> None:
    landscape = make_landscape(tmp_path / "run", make_survey(prompts=20, also=further("attack:a.csv", items=20)))
    figure = draw(landscape)
    (label,) = [str(line.get_label()) for line in figure.axes[0].lines if "attack" in str(line.get_label())]
    lines = [[p.keyword_asr or 0.0 for p in landscape.on_line(n, "attack:a.csv")] for n in range(3)]
    assert [asr for _, asr in curve(figure, label)] == [pytest.approx(sum(at) / 3) for at in zip(*lines, strict=True)]
    assert "direction 1" not in words(figure)


def test_a_probe_without_a_basin_says_so(tmp_path: Path) -> None:
    survey = make_survey(prompts=20, lines=1, also=further("attack:a.csv", items=20))
    chances = {"harmful": 0.0, "attack:a.csv": 0.9}
    said = words(draw(make_landscape(tmp_path / "run", survey, chance=lambda probe, _: chances[probe])))
    assert "”: VISAGE 10.0 (" in said
    assert "), no basin (origin at 90.0 %)" in said


def test_capability_has_a_panel_with_the_same_horizontal_axis(tmp_path: Path) -> None:
    landscape = measured(tmp_path, subspace=path_line(), also=further("benign", "accuracy", "perplexity"))
    figure = draw(landscape)
    upper, lower, right = figure.axes
    assert upper.get_shared_x_axes().joined(upper, lower)
    for kind, label, panel in (
        ("over_refusal", "over-refusal", 1),
        ("accuracy", "accuracy", 1),
        ("perplexity", "perplexity (right axis)", 2),
    ):
        values = sorted((m.effective[0], m.value) for m in landscape.measures if m.kind == kind)
        assert curve(figure, label, panel) == [pytest.approx(value) for value in values]
    assert right.get_yscale() == "log"
    assert figure.get_figheight() > draw(measured(tmp_path / "less", subspace=path_line())).get_figheight() + 1
    assert not upper.xaxis.get_label_text()
    assert lower.xaxis.get_label_text() == "α, from the origin (0) to the other model (1)"


def test_measures_are_averaged_over_directions_and_perplexity_by_its_logarithm(tmp_path: Path) -> None:
    survey = make_survey(lines=2, steps=2, prompts=4, also=further("accuracy", "perplexity", items=20))

    def chance(probe: str, point: Point) -> float:
        if probe == "harmful":
            return 0.0
        return (0.2, 0.6)[point.line] if point.line is not None else 0.5

    figure = draw(make_landscape(tmp_path / "run", survey, chance=chance))
    assert curve(figure, "accuracy", 1) == [pytest.approx(p) for p in [(-0.5, 40.0), (0.0, 50.0), (0.5, 40.0)]]
    # texts at 0.2 and at 0.6 nats a token: e^0.2 and e^0.6, the mean of whose logarithms is 0.4
    assert curve(figure, "perplexity (right axis)", 2)[0] == pytest.approx((-0.5, np.exp(0.4)))


def test_margins_have_a_panel_of_their_own_with_zero_inside(tmp_path: Path) -> None:
    landscape = measured(tmp_path, subspace=path_line(), also=further("accuracy", "margin"))
    figure = draw(landscape)
    margins = figure.axes[2]
    values = sorted((m.effective[0], m.value) for m in landscape.measures if m.kind == "margin")
    assert curve(figure, "refusal margin", 2) == [pytest.approx(value) for value in values]
    assert margins.get_ylabel() == "Margin (nats)"
    low, high = margins.get_ylim()
    assert low < 0 < high
    assert all(low < m.low <= m.value <= m.high < high for m in landscape.measures if m.kind == "margin")
    assert curve(figure, "accuracy", 1)
    assert margins.xaxis.get_label_text()
    assert not figure.axes[1].xaxis.get_label_text()


def test_a_perplexity_above_a_million_is_drawn_at_the_end_of_the_scale(tmp_path: Path) -> None:
    survey = make_survey(lines=1, steps=2, prompts=4, also=further("perplexity", items=20))

    def nats(probe: str, point: Point) -> float:
        return 0.0 if probe == "harmful" else 3.0 if point.is_origin else 30.0

    figure = draw(make_landscape(tmp_path / "run", survey, chance=nats))
    drawn = curve(figure, "perplexity (right axis)", 2)
    assert drawn == [pytest.approx(p) for p in [(-0.5, 1e6), (0.0, np.exp(3.0)), (0.5, 1e6)]]
    low, high = figure.axes[2].get_ylim()
    assert all(low < value < high for _, value in drawn)
    figure.canvas.draw()
    assert "≥ 1M" in [label.get_text() for label in figure.axes[2].get_yticklabels()]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", [*HOSTILE, "x" * 3000])
def test_any_name_of_a_probe_is_drawn_as_plain_text(tmp_path: Path, name: str) -> None:
    for number, subspace in enumerate((path_line(2), path_plane(2))):
        landscape = measured(tmp_path / str(number), subspace=subspace, also=further(name, items=4))
        figure = draw(landscape)
        figure.canvas.draw()
        (found,) = [text for text in texts(figure) if "“" in text.get_text() and "harmful" not in text.get_text()]
        assert not found.get_parse_math()
        assert number == 1 or re.search(r"”: VISAGE [\d.]+ \([\d.]+ to [\d.]+\)$", found.get_text())


# A plane.


def test_a_cell_of_the_map_is_the_asr_of_its_point(tmp_path: Path) -> None:
    landscape = measured(tmp_path, subspace=random_plane(4))
    figure = draw(landscape)
    asr = {point.coords: point.keyword_asr for point in landscape.points}
    grid = (-0.5, -0.25, 0.0, 0.25, 0.5)
    assert values(cells(figure)).tolist() == [[asr[alpha, beta] for alpha in grid] for beta in grid]
    assert cells(figure).get_clim() == (0.0, 100.0)
    assert curve(figure, "origin: the model under test") == [(0.0, 0.0)]
    assert "20 prompts · plane of two random directions · keyword judge" in words(figure)
    radius = landscape.metrics["basin_radius"]
    assert f"95 %: {radius.low:.3f} to {radius.high:.3f}" in words(figure)


def test_the_edge_of_safety_is_drawn_where_the_asr_equals_the_threshold(tmp_path: Path) -> None:
    survey = make_survey(prompts=20, subspace=random_plane(4))
    # 0, 50, 100 % at |α| = 0, 0.25, 0.5: 10 % lies at 0.05
    figure = draw(make_landscape(tmp_path / "run", survey, chance=lambda _, point: 2 * abs(point.coords[0])))
    contours = [child for child in figure.axes[0].collections if isinstance(child, QuadContourSet)]
    (edge,) = [contour for contour in contours if list(contour.levels) == [10.0]]
    assert np.abs(np.concatenate([path.vertices for path in edge.get_paths()])[:, 0]) == pytest.approx(0.05)
    assert "edge of safety: ASR 10 %" in words(figure)


def test_only_measured_cells_of_an_unfinished_plane_are_drawn(tmp_path: Path) -> None:
    figure = draw(measured(tmp_path, subspace=random_plane(4), points=12))
    assert np.ma.count(values(cells(figure))) == 12
    assert "plane of two random directions (12 of 25 points)" in words(figure)
    assert "not measured" in words(figure)
    assert "radius" not in words(figure)
    # rows β = 0 and β = -0.25 are whole, and two points of the third: four tiles between two rows, and one
    (surface,) = [axes for axes in figure.axes if isinstance(axes, Axes3D)]
    assert len(surface.collections[0].get_facecolor()) == 5


@pytest.mark.parametrize("points", [0, 1])
def test_a_plane_with_one_point_or_none_is_drawn(tmp_path: Path, points: int) -> None:
    landscape = measured(tmp_path, subspace=random_plane(4), points=1)
    figure = draw(landscape if points else landscape.model_copy(update={"points": ()}))
    assert f"({points} of 25 points)" in words(figure)


def test_cells_are_drawn_at_the_effective_coordinates_of_rounded_weights(tmp_path: Path) -> None:
    figure = draw(measured(tmp_path, subspace=random_plane(4), dtype="bfloat16", shift=-0.04))
    corners = np.asarray(cells(figure).get_coordinates())
    # centres at 0.96 of -0.5, -0.25 ..., so corners at 0.96 of -0.625, -0.375 ...
    expected = pytest.approx([-0.6, -0.36, -0.12, 0.12, 0.36, 0.6])
    assert corners[0, :, 0].tolist() == expected
    assert corners[:, 0, 1].tolist() == expected


def test_a_plane_without_a_basin_has_no_edge_of_safety(tmp_path: Path) -> None:
    said = words(draw(make_landscape(tmp_path / "run", make_survey(subspace=random_plane(4)), chance=lambda *_: 0.9)))
    assert "No basin: the origin itself is unsafe (ASR 90.0 %)" in said
    assert "VISAGE 10.0" in said
    assert "edge of safety" not in said


def test_the_other_model_and_the_checkpoints_are_drawn_on_the_plane(tmp_path: Path) -> None:
    figure = draw(measured(tmp_path, subspace=path_plane(4), through=trajectory(2)))
    assert curve(figure, "other model") == [(1.0, 0.0)]
    assert curve(figure, "checkpoints of the trajectory") == [(0.25, 0.1), (0.5, 0.1)]
    assert "plane of two models and a random direction · 2 checkpoints" in words(figure)
    assert "ASR of the other model" in words(figure)
    assert "α, origin (0) to the other model (1)" in words(figure)


def test_the_third_model_of_a_plane_is_marked_if_it_is_a_checkpoint(tmp_path: Path) -> None:
    third = between(4, toward="third").model_copy(update={"fingerprint": trajectory(2)[1].fingerprint})
    plane = Plane(axes=(between(4), third))
    figure = draw(measured(tmp_path, subspace=plane, through=trajectory(2)))
    assert curve(figure, "third model") == [(0.5, 0.1)]
    assert "plane through three models" in words(figure)
    without = draw(measured(tmp_path / "without", subspace=plane))
    assert "third model" not in [line.get_label() for line in without.axes[0].lines]


def test_each_further_probe_and_measure_has_a_map(tmp_path: Path) -> None:
    also = further("attack:a.csv", "benign", "accuracy", "perplexity", "margin")
    landscape = measured(tmp_path, subspace=path_plane(4), also=also)
    figure = draw(landscape)
    maps = [number for number, axes in enumerate(figure.axes) if axes.get_title(loc="left")]
    titles = [figure.axes[number].get_title(loc="left") for number in maps]
    assert titles == ["ASR, “attack:a.csv”", "Over-refusal", "Accuracy", "Perplexity", "Refusal margin"]
    across, up = (axis.grid for axis in landscape.axes)
    for number, kind in zip(maps[1:], ("over_refusal", "accuracy", "perplexity", "margin"), strict=True):
        measured_at = {m.coords: m.value for m in landscape.measures if m.kind == kind}
        expected = [[measured_at[alpha, beta] for alpha in across] for beta in up]
        assert values(cells(figure, number)).tolist() == expected
    # bright is worse: the colour scales of accuracy and margin are reversed
    found = [cells(figure, number).get_cmap().name for number in maps]
    assert found == ["cividis"] * 2 + ["cividis_r", "cividis", "cividis_r"]


def test_a_curve_has_a_gap_where_every_direction_lacks_a_point_of_the_grid() -> None:
    read, grid = {alpha: Reading(alpha, 0.0, 0.0, 0.0) for alpha in (-2.0, -1.0, 1.0, 1.5, 2.0)}, (-2, -1, 0, 1, 1.5, 2)
    lacking = {alpha: reading for alpha, reading in read.items() if alpha != 1.5}

    def lengths(lines: list[dict[float, Reading]], expected: tuple[float, ...]) -> list[int]:
        return [len(piece) for piece in course_of("harmful", "asr", lines, expected).pieces]

    assert lengths([read], grid) == [2, 3]
    assert lengths([read, lacking], grid) == [2, 3]
    assert lengths([lacking], grid) == [2, 1, 1]
    assert lengths([lacking], tuple(lacking)) == [4]
