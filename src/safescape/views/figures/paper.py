"""The landscape as a figure for a paper, legible in one column or two, in colour and in grey, without a title."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D

from safescape.errors import InputError
from safescape.landscape import Landscape
from safescape.survey import Outcome
from safescape.views.figures.lines import STEPS, asr_axes, draw_asr, paint_areas
from safescape.views.figures.marks import BASINS, FAINT, INK, PAPER, Entry
from safescape.views.figures.plane import draw_map, draw_surface, dress_bar
from safescape.views.figures.sheet import name_axes
from safescape.views.series.curves import is_basin_shown, mean_edges
from safescape.views.series.outcomes import outcome_layers, shares_of
from safescape.views.series.planes import Layer, layers_of
from safescape.views.text.words import limit_value, short_heading_of

COLUMN_WIDTHS = {1: 3.3, 2: 6.9}
"""Inches: the column, and the page, of the field's two-column styles."""
PAPER_FORMATS = ("pdf", "svg", "png")
_DATES: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
# TrueType fonts in a PDF, as publishers ask (matplotlib's default is Type 3). An SVG cannot embed a font, so its text
# is converted to paths, which look the same everywhere but cannot be searched.
_EMBEDDED = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "safescape"}
_LINES, _MAP = 1.95, 2.75  # inches, the height of a panel of lines, and of a map, with ticks and titles
_ROW = 0.145  # inches, a row of the legend
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": PAPER.small, "labelcolor": INK, "borderpad": 0}
_LEGEND |= {"handlelength": 2.4, "handletextpad": 0.5, "columnspacing": 1.2, "labelspacing": 0.3, "borderaxespad": 0.2}


def draw_for_paper(landscape: Landscape, columns: int = 1) -> Figure:
    """Draw a landscape on a sheet of its own, whatever the caller's matplotlib style.

    One column shows the ASR. If a judge tells noise from compliance, two columns show the outcomes beside it: over α
    stacked, on a plane the share of compliance. On a plane without such a judge they show the surface. At least one
    point must be measured.

    Raises:
        InputError: `columns` is not 1 or 2.

    """
    if columns not in COLUMN_WIDTHS:
        raise InputError(f"--columns {columns}: a figure is 1 column wide or 2; type --columns 1")
    landscape = landscape.decided
    plane = landscape.subspace == "plane"
    with matplotlib.style.context("default"):
        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.06)
        figure = Figure(figsize=(COLUMN_WIDTHS[columns], _LINES), facecolor="white", layout=layout)
        FigureCanvasAgg(figure)
        found = (_draw_maps if plane else _draw_lines)(figure, landscape, columns)
        rows = _legend(figure, found, columns * (3 if plane else 2) + (columns == 2 and not plane))
        figure.set_figheight((_MAP if plane else _LINES) + _ROW * rows)
        return figure


def paper_bytes(landscape: Landscape, kind: str, columns: int = 1) -> bytes:
    """Return `draw_for_paper` as a file of one of `PAPER_FORMATS`: always the same bytes, fonts embedded, 300 dpi."""
    figure, file = draw_for_paper(landscape, columns), io.BytesIO()
    with matplotlib.style.context(["default", _EMBEDDED]):
        figure.savefig(file, format=kind, dpi=300, metadata=_DATES[kind])
    return file.getvalue()


def draw_into(axes: Axes, landscape: Landscape) -> None:
    """Draw the ASR of a landscape, with its legend, into the caller's axes; nothing else of their figure changes."""
    landscape = landscape.decided
    if landscape.subspace == "plane":
        found = _draw_map(axes, landscape, layers_of(landscape)[0])
        axes.set_aspect("auto")
    else:
        found = _draw_asr(axes, landscape)
    if found:
        how = {"fontsize": PAPER.small, "labelcolor": INK, "framealpha": 0.85, "edgecolor": FAINT}
        for text in axes.legend(*zip(*found, strict=True), **how).get_texts():
            text.set_parse_math(False)


def _legend(figure: Figure, found: Sequence[Entry], columns: int) -> int:
    """Set the legend beneath the panels; return how many rows it has."""
    if not found:
        return 0
    columns = min(columns, len(found))
    shown = figure.legend(*zip(*found, strict=True), loc="outside lower center", ncols=columns, **_LEGEND)
    for text in shown.get_texts():
        text.set_parse_math(False)
    return -(-len(found) // columns)


def _draw_lines(figure: Figure, landscape: Landscape, columns: int) -> list[Entry]:
    shares = shares_of(landscape) if columns == 2 else []
    axes, *beside = figure.subplots(1, 2 if shares else 1, squeeze=False)[0]
    found = _draw_asr(axes, landscape)
    for panel in beside:
        asr_axes(panel, [landscape], PAPER)
        panel.set_ylim(0, 100)
        panel.grid(visible=False)
        panel.set_ylabel("Answers (%)")
        found += paint_areas(panel, shares)
    return found


def _draw_asr(axes: Axes, landscape: Landscape) -> list[Entry]:
    """Draw the ASR over α; the legend has all of its parts, the threshold and the basin, too."""
    asr_axes(axes, [landscape], PAPER)
    found = draw_asr(axes, landscape, PAPER)
    safe = axes.axhline(landscape.limit.value, color=INK, linewidth=0.7, linestyle=(0, (6, 3)), zorder=1.5)
    found.append((safe, f"threshold, {limit_value(landscape.limit)}"))
    if (edges := mean_edges(landscape)) is not None:
        shown = is_basin_shown(landscape)
        axes.axvspan(*edges, color=BASINS[shown], linewidth=0, zorder=0.5)
        found.append((Patch(color=BASINS[shown], linewidth=0), "safe basin" if shown else "basin"))
    return found


def _draw_maps(figure: Figure, landscape: Landscape, columns: int) -> list[Entry]:
    first, *_ = layers_of(landscape)
    complied = [layer for layer in outcome_layers(landscape) if layer.kind == Outcome.COMPLIED]
    layers = [(first, "ASR (%)")] + [(layer, "Complied (%)") for layer in complied if columns == 2]
    found: list[Entry] = []
    for number, (layer, name) in enumerate(layers, start=1):
        axes = figure.add_subplot(1, columns, number)
        entries = _draw_map(axes, landscape, layer)
        found = found or entries
        bar = figure.colorbar(axes.collections[0], ax=axes, fraction=0.05, pad=0.02, aspect=28)
        dress_bar(bar, PAPER.small, name)
    if columns > len(layers):
        surface = figure.add_subplot(1, 2, 2, projection="3d", computed_zorder=False)
        assert isinstance(surface, Axes3D)
        draw_surface(surface, first, landscape)
        surface.tick_params(labelsize=PAPER.small)
    return found


def _draw_map(axes: Axes, landscape: Landscape, layer: Layer) -> list[Entry]:
    """Draw a share over both coordinates, with labelled contours."""
    _, found = draw_map(axes, landscape, layer, PAPER)
    axes.tick_params(labelsize=PAPER.small)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=STEPS))
    across, up = (short_heading_of(place, landscape.axes) for place in (0, 1))
    name_axes(axes, across, up, PAPER.text)
    return found
