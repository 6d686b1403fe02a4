"""The picture says what the landscape says, and draws whatever a model is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from safescape.landscape import Landscape, landscape_of
from safescape.views import draw, save_figure
from synthetic import landscape_in, make_run, make_survey, no_basin

PNG = b"\x89PNG\r\n\x1a\n"


def words(figure: Figure) -> str:
    axes = figure.axes[0]
    legend = [text for legend in figure.legends for text in legend.get_texts()]
    found = [*figure.texts, *axes.texts, axes.xaxis.label, axes.yaxis.label, *legend]
    return "\n".join(text.get_text() for text in found)


def curve(figure: Figure, label: str) -> list[tuple[float, float]]:
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == label]
    return [(float(x), float(y)) for x, y in line.get_xydata()]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def landscape(tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    with make_run(tmp_path_factory.mktemp("figure") / "run", make_survey()) as store:
        return landscape_in(store)


def test_every_line_is_drawn_through_its_points_and_the_mean_between_them(landscape: Landscape) -> None:
    figure = draw(landscape)
    lines = [curve(figure, f"direction {n + 1} (seed {n})") for n in range(3)]
    assert [len(line) for line in lines] == [21, 21, 21]
    for number, line in enumerate(lines):
        assert line == [(p.effective[0], p.keyword_asr) for p in landscape.on_line(number)]
    mean = curve(figure, "mean of the directions")
    assert mean == [pytest.approx((line[0][0], sum(y for _, y in line) / 3)) for line in zip(*lines, strict=True)]
    assert curve(figure, "origin: the model under test") == [(0.0, 0.0)]


def test_the_title_block_has_the_figures_with_their_intervals(landscape: Landscape) -> None:
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


def test_a_radius_that_the_span_cuts_off_is_a_lower_bound(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(), rate=lambda line, alpha: 0.0) as store:
        said = words(draw(landscape_in(store)))
    assert "≥ 0.500" in said
    assert "0.500 or more" in said


def test_without_a_basin_there_is_neither_visage_nor_radius(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(), rate=no_basin) as store:
        figure = draw(landscape_in(store))
    said = words(figure)
    assert "No basin: the origin itself is unsafe (ASR 92.5 %)" in said
    assert "VISAGE" not in said
    assert "radius" not in said
    assert not figure.axes[0].patches


@pytest.mark.parametrize(("points", "finished"), [(1, 0), (5, 0), (31, 1), (60, 2)])
def test_an_unfinished_run_is_drawn_as_far_as_it_is(tmp_path: Path, points: int, finished: int) -> None:
    with make_run(tmp_path / "run", make_survey(), points=points) as store:
        figure = draw(landscape_in(store))
    assert f"{finished} of 3 random directions finished ({points} of 61 points)" in words(figure)
    labels = [str(line.get_label()) for line in figure.axes[0].lines]
    begun = -(-(points - 1) // 20)
    assert sum(label.startswith("direction") for label in labels) == begun
    assert ("mean of the directions" in labels) == (finished == 2)


def test_a_run_whose_origin_is_not_measured_yet_is_drawn(landscape: Landscape) -> None:
    nothing = landscape.model_copy(update={"points": (), "complete": False})
    assert "0 of 61 points" in words(draw(nothing))


def test_lines_without_the_origin_are_drawn(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(lines=6, steps=4, prompts=4)) as store:
        measured = [entry for entry in store.measured() if entry.point.line == 5]
        figure = draw(landscape_of(store.survey, measured))
    assert len(curve(figure, "each direction")) == 4
    assert "0 of 6 random directions finished (4 of 25 points)" in words(figure)


def test_one_line_needs_no_mean(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(lines=1)) as store:
        figure = draw(landscape_in(store))
    assert "mean" not in words(figure)
    assert len(curve(figure, "direction 1 (seed 0)")) == 21


def test_points_stand_where_the_rounded_weights_are(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(lines=1, dtype="bfloat16"), shift=-0.04) as store:
        figure = draw(landscape_in(store))
    assert curve(figure, "direction 1 (seed 0)")[0][0] == pytest.approx(-0.48)
    assert "as rounded to bfloat16" in words(figure)


def test_directions_differ_in_colour_and_in_shape(landscape: Landscape) -> None:
    lines = [line for line in draw(landscape).axes[0].lines if str(line.get_label()).startswith("direction")]
    assert len({to_hex(line.get_color()) for line in lines}) == 3
    assert len({line.get_marker() for line in lines}) == 3


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "model",
    [
        "$x^2$",
        r"$\frac{broken",
        "{{7*7}}",
        "%s%n",
        "</svg><script>",
        "a\nb\tc",
        "nul\0",
        "lone \ud800",
        "名前🙂",
        "x" * 5000,
        "",
    ],
)
def test_a_model_may_be_called_anything(landscape: Landscape, tmp_path: Path, model: str) -> None:
    named = landscape.model_copy(update={"survey": {**landscape.survey, "model": model}})
    save_figure(named, tmp_path / "landscape.png")
    assert (tmp_path / "landscape.png").read_bytes().startswith(PNG)


def test_dollars_are_not_mathematics(landscape: Landscape) -> None:
    figure = draw(landscape.model_copy(update={"survey": {**landscape.survey, "model": "$x^2$"}}))
    (title,) = [text for text in figure.texts if text.get_text() == "$x^2$"]
    assert not title.get_parse_math()


def test_texts_stay_inside_the_picture_and_apart(landscape: Landscape) -> None:
    long = landscape.model_copy(update={"survey": {**landscape.survey, "model": "organisation/" + "Model-" * 30}})
    figure = draw(long)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in (*figure.texts, *figure.axes[0].texts) if text.get_text()]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [figure.axes[0].xaxis.label.get_window_extent()]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


@pytest.mark.parametrize(("name", "begin"), [("a.png", PNG), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")])
def test_the_suffix_says_the_format(landscape: Landscape, tmp_path: Path, name: str, begin: bytes) -> None:
    save_figure(landscape, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)
    assert [path.name for path in tmp_path.glob("*a.*")] == [name]


def test_a_picture_that_cannot_be_written_leaves_nothing_behind(landscape: Landscape, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        save_figure(landscape, tmp_path / "absent" / "a.png")
