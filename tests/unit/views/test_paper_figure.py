"""Figures for papers: size, fonts and bytes, drawing into given axes, and refused input."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.typing import ColorType
from mpl_toolkits.mplot3d import Axes3D

import safescape
from helpers.behaviours import beside_path, bowl, four_outcomes, no_basin, tuned
from helpers.figure_contents import xy, ys
from helpers.hostile_texts import HOSTILE
from helpers.runs import make_landscape, make_run
from helpers.surveys import TWO_JUDGES, further, make_survey, path_line, path_plane, random_plane, trajectory
from safescape.landscape import Landscape
from safescape.survey import Survey
from safescape.views import draw_for_paper, paper_bytes


@pytest.fixture(scope="module")
def landscapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Landscape]:
    """A landscape of every kind, by name."""
    surveys: dict[str, tuple[Survey, dict[str, Any]]] = {
        "lines": (make_survey(prompts=20), {}),
        "line": (make_survey(prompts=20, lines=1), {}),
        "many lines": (make_survey(prompts=20, lines=6, steps=8), {}),
        "no basin": (make_survey(prompts=20), {"rate": no_basin}),
        "unfinished": (make_survey(prompts=20), {"points": 30}),
        "one point": (make_survey(prompts=20), {"points": 1}),
        "outcomes": (make_survey(prompts=20, judges=TWO_JUDGES), {"opinion": four_outcomes}),
        "probes": (make_survey(prompts=20, also=further("attacked")), {"chance": tuned}),
        "path": (
            make_survey(prompts=20, subspace=path_line(12), through=trajectory(4)),
            {"chance": tuned, "stands": beside_path(1)},
        ),
        "plane": (make_survey(prompts=20, subspace=random_plane(8)), {"chance": bowl}),
        "unfinished plane": (make_survey(prompts=20, subspace=random_plane(8)), {"chance": bowl, "points": 40}),
        "plane of outcomes": (
            make_survey(prompts=20, subspace=random_plane(8), judges=TWO_JUDGES),
            {"chance": bowl, "opinion": four_outcomes},
        ),
        "path plane": (
            make_survey(prompts=20, subspace=path_plane(8), through=trajectory(4)),
            {"chance": tuned, "stands": beside_path(2)},
        ),
    }
    return {
        name: make_landscape(tmp_path_factory.mktemp("run") / "run", survey, **run)
        for name, (survey, run) in surveys.items()
    }


def _texts(figure: Figure) -> list[Text]:
    figure.canvas.draw()
    found = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def _labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


KINDS = (
    "lines",
    "line",
    "many lines",
    "no basin",
    "unfinished",
    "one point",
    "outcomes",
    "probes",
    "path",
    "plane",
    "unfinished plane",
    "plane of outcomes",
    "path plane",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("columns", "inches"), [(1, 3.3), (2, 6.9)])
def test_a_figure_is_as_wide_as_its_columns_and_legible_there(
    landscapes: dict[str, Landscape], kind: str, columns: Literal[1, 2], inches: float
) -> None:
    figure = draw_for_paper(landscapes[kind], columns)
    assert figure.get_figwidth() == inches
    assert figure.get_figheight() < 3.6
    for text in _texts(figure):
        # the numbers of checkpoints are inside their marks
        assert (5 if text.get_fontweight() == "bold" else 7) <= float(text.get_fontsize()) <= 8, text
        box = text.get_window_extent()
        if not isinstance(text.axes, Axes3D) and text.get_clip_on() is False:
            assert box.x0 >= 0, text
            assert box.x1 <= figure.bbox.x1, text
    assert not figure.texts
    assert all(not axes.get_title() for axes in figure.axes)


def test_the_mean_is_drawn_thicker_than_the_directions(landscapes: dict[str, Landscape]) -> None:
    figure = draw_for_paper(landscapes["lines"])
    (axes,) = figure.axes
    assert _labels(figure) == [
        "direction 1",
        "direction 2",
        "direction 3",
        "mean",
        "95 % interval",
        "threshold, 10 %",
        "basin",
    ]
    *directions, mean, threshold = axes.lines
    assert all(line.get_linewidth() < mean.get_linewidth() / 2 for line in directions)
    by_alpha: dict[float, list[float]] = {}
    for point in landscapes["lines"].points:
        assert point.count is not None
        by_alpha.setdefault(point.coords[0], []).append(100 * point.count / point.n)
    shown = {round(x, 9): y for x, y in xy(mean)}
    assert shown == pytest.approx({alpha: np.mean(rates) for alpha, rates in by_alpha.items()})
    assert ys(threshold)[0] == 10


def test_directions_differ_in_markers_and_dashes(landscapes: dict[str, Landscape]) -> None:
    (axes,) = draw_for_paper(landscapes["lines"]).axes
    looks = [(line.get_marker(), line.get_linestyle(), str(line._dash_pattern)) for line in axes.lines[:3]]  # type: ignore[attr-defined]
    assert len({marker for marker, _, _ in looks}) == 3
    assert len({dashes for _, _, dashes in looks}) == 3


def test_the_legend_of_a_run_without_a_basin_has_none(landscapes: dict[str, Landscape]) -> None:
    assert not {"safe basin", "basin"} & set(_labels(draw_for_paper(landscapes["no basin"])))


def test_a_figure_of_two_columns_has_a_panel_of_outcomes(landscapes: dict[str, Landscape]) -> None:
    one, two = draw_for_paper(landscapes["outcomes"]), draw_for_paper(landscapes["outcomes"], 2)
    assert len(one.axes) == 1
    assert "complied alone" in _labels(one)
    assert len(two.axes) == 2
    assert _labels(two)[-4:] == ["complied", "incoherent", "unscored", "refused"]
    assert two.axes[0].get_xlim() == two.axes[1].get_xlim()


def test_the_models_of_a_path_are_named_and_its_checkpoints_numbered(landscapes: dict[str, Landscape]) -> None:
    for kind in ("path", "path plane"):
        figure = draw_for_paper(landscapes[kind])
        assert {"origin", "other model", "checkpoints"} <= set(_labels(figure))
        assert {"1", "2", "3", "4"} <= {text.get_text() for text in figure.axes[0].texts}
        assert 1.0 in figure.axes[0].get_xticks()


def test_contours_are_labelled_with_their_levels(landscapes: dict[str, Landscape]) -> None:
    figure = draw_for_paper(landscapes["plane"])
    assert {text.get_text() for text in figure.axes[0].texts} == {"10", "50", "90"}
    assert isinstance(draw_for_paper(landscapes["plane"], 2).axes[-1], Axes3D)
    bars = [axes.get_ylabel() for axes in draw_for_paper(landscapes["plane of outcomes"], 2).axes]
    assert "Complied (%)" in bars


def test_the_legend_of_an_unfinished_plane_has_cells_not_measured(landscapes: dict[str, Landscape]) -> None:
    assert "not measured" in _labels(draw_for_paper(landscapes["unfinished plane"]))


def test_no_name_of_a_model_is_in_the_figure(tmp_path: Path) -> None:
    survey = make_survey(model=HOSTILE[0], prompts=20, also=further("$x^2$ {{7*7}} \\frac{broken"))
    figure = draw_for_paper(make_landscape(tmp_path / "run", survey, chance=tuned))
    said = "\n".join(text.get_text() for text in _texts(figure))
    assert "script" not in said
    assert "“$x^2$ {{7*" in said


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
@pytest.mark.parametrize("name", ["outcomes", "path plane"])
def test_a_figure_has_the_same_bytes_whatever_matplotlib_settings_are(
    landscapes: dict[str, Landscape], kind: str, name: str
) -> None:
    first = paper_bytes(landscapes[name], kind, 2)
    # with other settings, and after another figure
    with matplotlib.rc_context({"pdf.fonttype": 3, "svg.hashsalt": None, "font.size": 20, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        plt.close(plt.figure())
        assert paper_bytes(landscapes[name], kind, 2) == first
        assert dict(matplotlib.rcParams) == before
    assert b"CreationDate" not in first
    assert b"<dc:date>" not in first


def _streams(pdf: bytes) -> list[bytes]:
    found = []
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            found.append(zlib.decompress(match[1]))
        except zlib.error:
            found.append(match[1])
    return found


@pytest.mark.parametrize("name", ["lines", "plane"])
def test_a_pdf_embeds_its_fonts_as_truetype(landscapes: dict[str, Landscape], name: str) -> None:
    pdf = paper_bytes(landscapes[name], "pdf", 2)
    assert b"/Type3" not in pdf
    names = set(re.findall(rb"/FontName /(\S+)", pdf))
    files = re.findall(rb"/FontFile2 \d+ 0 R", pdf)
    assert names
    assert len(files) == pdf.count(b"/Type /FontDescriptor")
    fonts = [stream for stream in _streams(pdf) if stream[:4] in (b"\0\1\0\0", b"true")]
    assert len(fonts) == len(files)
    assert all(TTFont(io.BytesIO(font))["maxp"].numGlyphs > 1 for font in fonts)
    width = re.search(rb"/MediaBox \[ 0 0 (\S+) ", pdf)
    assert width is not None
    assert float(width[1]) == pytest.approx(6.9 * 72)


def test_an_svg_needs_no_font(landscapes: dict[str, Landscape]) -> None:
    svg = paper_bytes(landscapes["lines"], "svg").decode()
    assert "<text" not in svg
    assert 'width="237.6pt"' in svg


def test_a_png_has_300_dots_an_inch(landscapes: dict[str, Landscape]) -> None:
    png = paper_bytes(landscapes["lines"], "png")
    assert int.from_bytes(png[16:20], "big") == 990


@pytest.fixture
def run(tmp_path: Path) -> safescape.Run:
    make_run(tmp_path / "run", make_survey(prompts=10, steps=8)).close()
    return safescape.load_run(tmp_path / "run")


def test_drawing_into_given_axes_changes_nothing_else(run: safescape.Run) -> None:
    before = dict(matplotlib.rcParams)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3))
    try:
        figure.suptitle("mine")
        right.plot([0, 1], [0, 1], color="red")
        places = [axes.get_position().bounds for axes in figure.axes]
        assert run.figure(ax=left) is figure
        assert dict(matplotlib.rcParams) == before
        assert figure.axes == [left, right]
        assert [axes.get_position().bounds for axes in figure.axes] == places
        assert tuple(figure.get_size_inches()) == (7, 3)
        assert not figure.legends
        assert len(right.lines) == 1
        assert right.get_ylabel() == ""
        assert left.get_ylabel() == "ASR (%)"
        assert left.get_legend() is not None
        figure.canvas.draw()
    finally:
        plt.close(figure)
    assert plt.get_fignums() == []


def test_a_plane_is_drawn_into_given_axes(tmp_path: Path) -> None:
    make_run(tmp_path / "run", make_survey(prompts=10, subspace=random_plane(4)), chance=bowl).close()
    axes: Axes = Figure().subplots()
    figure = safescape.load_run(tmp_path / "run").figure(ax=axes)
    assert figure.axes == [axes]
    figure.canvas.draw()


def test_run_figure_has_the_width_of_its_columns(run: safescape.Run, tmp_path: Path) -> None:
    assert run.figure(columns=1).get_figwidth() == 3.3
    assert run.figure().get_figwidth() == 7.2
    run.save_figure(tmp_path / "wide.pdf", columns=2)
    assert (tmp_path / "wide.pdf").read_bytes() == paper_bytes(run.landscape, "pdf", 2)


def test_axes_and_columns_exclude_each_other(run: safescape.Run) -> None:
    with pytest.raises(safescape.InputError, match="give one of the two"):
        run.figure(ax=Figure().subplots(), columns=1)
    axes = Figure().subplots()
    axes.remove()
    with pytest.raises(safescape.InputError, match="taken out of their figure"):
        run.figure(ax=axes)
    with pytest.raises(safescape.InputError, match="--columns 3"):
        run.figure(columns=3)


def test_report_writes_every_figure_that_is_named(
    run: safescape.Run, tmp_path: Path, typed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "a.pdf", tmp_path / "b.SVG", tmp_path / "c.png"]
    named = [word for file in files for word in ("--figure", file)]
    assert typed("report", run.directory, *named, "--columns", 2) == 0
    assert [file.read_bytes()[:4] for file in files] == [b"%PDF", b"<?xm", b"\x89PNG"]
    assert capsys.readouterr().out.splitlines()[-3:] == [str(file) for file in files]
    assert (run.directory / "report.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "b.SVG", "c.png", "run"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--figure", "x.jpg"], "expected a file whose name ends in .pdf, .svg or .png"),
        (["--figure", "good.pdf", "--figure", "none/x.pdf"], "there is no directory none"),
        (["--figure", "../run/run.sqlite/x.pdf"], "there is no directory"),
        (["--figure", "folder.pdf"], "is a directory; give the name of a file"),
        (["--figure", "good.pdf", "--columns", "3"], "--columns 3: a figure is 1 column wide or 2"),
        (["--columns", "2"], "--columns 2 is for --figure FILE"),
        (["--figure", "/proc/x.pdf"], "cannot be written"),
    ],
)
def test_a_figure_that_cannot_be_written_is_refused_in_one_line(
    words: list[str], line: str, run: safescape.Run, tmp_path: Path, refused: Callable[[Sequence[object], str], None]
) -> None:
    (tmp_path / "here" / "folder.pdf").mkdir(parents=True)
    before = sorted(run.directory.rglob("*"))
    refused(["report", run.directory, *words], line)
    assert sorted(run.directory.rglob("*")) == before


def test_a_figure_of_a_run_without_points_is_refused(
    tmp_path: Path, refused: Callable[[Sequence[object], str], None]
) -> None:
    make_run(tmp_path / "run", make_survey(prompts=10), points=0).close()
    refused(["report", "../run", "--figure", "x.pdf"], "no point was measured in it yet")


def test_curves_differ_in_brightness(landscapes: dict[str, Landscape]) -> None:
    """The mean is darker than every direction, the basin lighter than every curve."""
    (axes,) = draw_for_paper(landscapes["lines"]).axes

    def grey(colour: ColorType) -> float:
        return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))

    *directions, mean, _ = axes.lines
    assert all(grey(line.get_color()) > grey(mean.get_color()) + 0.2 for line in directions)
    assert all(grey(line.get_color()) < 0.7 for line in directions)
