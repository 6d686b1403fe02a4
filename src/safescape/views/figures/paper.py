"""The landscape as a figure for a paper: legible at the width of one column, or of two, in colour and in grey.

It has no title and names no model: a caption does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MultipleLocator
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]

from safescape.landscape import Landscape
from safescape.survey import Outcome
from safescape.views.figures.frame import FAINT, INK, SOFT, Entry
from safescape.views.figures.paper_lines import draw_paper_lines, draw_paper_outcomes
from safescape.views.figures.paper_map import draw_paper_map
from safescape.views.figures.paper_marks import SMALL, TEXT
from safescape.views.figures.plane import draw_surface
from safescape.views.series.layers import layers_of, mesh_of
from safescape.views.series.outcomes import outcome_layers, shares_of

__all__ = ["COLUMN_WIDTHS", "Columns", "draw_panel", "draw_paper"]

Columns = Literal[1, 2]

COLUMN_WIDTHS: dict[Columns, float] = {1: 3.3, 2: 6.9}
"""Inches: the column, and the page, of the field's two-column styles."""

_LINES, _MAP = 1.95, 2.75  # inches, the height of a panel of lines, and of a map, with ticks and names
_ROW = 0.145  # inches, of the legend


def draw_paper(landscape: Landscape, columns: Columns = 1) -> Figure:
    """Draw a landscape on a sheet of its own.

    One column shows the ASR. Two show beside it what the answers are, where a judge tells noise from compliance: over α
    the stacked outcomes, on a plane the share of compliance. On a plane without such a judge they show the surface.

    Args:
        landscape: Of a run with at least one point.
        columns: 1 for 3.3 inches, 2 for 6.9.

    """
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.06)
    figure = Figure(figsize=(COLUMN_WIDTHS[columns], _LINES), facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    if landscape.subspace == "plane":
        return _sheet_of_maps(figure, landscape, columns)
    shares = shares_of(landscape) if columns == 2 else []
    axes, *beside = figure.subplots(1, 2 if shares else 1, squeeze=False)[0]
    found = draw_paper_lines(axes, landscape)
    for panel in beside:
        found += draw_paper_outcomes(panel, axes, landscape)
    rows = _legend(figure, found, 2 if columns == 1 else 5)
    figure.set_figheight(_LINES + _ROW * rows)
    return figure


def draw_panel(axes: Axes, landscape: Landscape) -> None:
    """Draw the ASR of a landscape into axes that somebody else made; nothing but these axes changes.

    The legend stands within them.
    """
    if landscape.subspace == "plane":
        (first, *_) = layers_of(landscape)
        found = draw_paper_map(axes, landscape, first)
        axes.set_aspect("auto")
    else:
        found = draw_paper_lines(axes, landscape)
    if found:
        shown = axes.legend(*zip(*found, strict=True), fontsize=SMALL, labelcolor=INK, framealpha=0.85, edgecolor=FAINT)
        for text in shown.get_texts():
            text.set_parse_math(False)


def _legend(figure: Figure, found: Sequence[Entry], columns: int) -> int:
    """Set the legend beneath the panels; return how many rows it has."""
    if not found:
        return 0
    columns = min(columns, len(found))
    shown = figure.legend(
        *zip(*found, strict=True),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=2.4,
        handletextpad=0.5,
        columnspacing=1.2,
        labelspacing=0.3,
        borderpad=0,
        borderaxespad=0.2,
    )
    for text in shown.get_texts():
        text.set_parse_math(False)
    return -(-len(found) // columns)


def _sheet_of_maps(figure: Figure, landscape: Landscape, columns: Columns) -> Figure:
    first, *_ = layers_of(landscape)
    complied = [layer for layer in outcome_layers(landscape) if layer.kind == Outcome.COMPLIED]
    layers = [(first, "ASR (%)")] + [(layer, "Complied (%)") for layer in complied if columns == 2]
    found: list[Entry] = []
    for number, (layer, name) in enumerate(layers, start=1):
        axes = figure.add_subplot(1, columns, number)
        entries = draw_paper_map(axes, landscape, layer)
        found = found or entries
        bar = figure.colorbar(axes.collections[0], ax=axes, fraction=0.05, pad=0.02, aspect=28)
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_locator(MultipleLocator(25))
        bar.ax.tick_params(colors=SOFT, labelcolor=INK, labelsize=SMALL, length=2, width=0.6)
        bar.set_label(name, fontsize=TEXT, color=INK, labelpad=2)
    if columns > len(layers):
        surface = figure.add_subplot(1, 2, 2, projection="3d", computed_zorder=False)
        assert isinstance(surface, Axes3D)
        draw_surface(surface, *mesh_of(landscape), first, landscape)
        surface.tick_params(labelsize=SMALL)
    rows = _legend(figure, found, 3 if columns == 1 else 6)
    figure.set_figheight(_MAP + _ROW * rows)
    return figure
