"""A heat map of a plane: its cells, its contours, its colour bar, and the models that stand on it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator

from safescape.landscape import Landscape
from safescape.survey import Outcome
from safescape.views.figures.frame import FAINT, INK, SOFT, Entry, dress, place
from safescape.views.figures.marks import stand, trajectory
from safescape.views.series.curves import WORST, Sample, origin_of, other_model, third_model, waypoints_of
from safescape.views.series.layers import Array, Layer

__all__ = ["draw_bar", "draw_contours", "draw_heat", "draw_models", "named_models", "scale"]

_LEVELS = (50.0, 90.0)  # percent, beside the threshold


def corners(centres: Array) -> Array:
    """Return the corners of the cells around a mesh of centres: shape (n + 1, m + 1) for (n, m), at least (2, 2)."""
    for _ in range(2):
        middle = (centres[1:] + centres[:-1]) / 2
        centres = np.concatenate([2 * centres[:1] - middle[:1], middle, 2 * centres[-1:] - middle[-1:]]).T
    return centres


def scale(layer: Layer) -> tuple[str, Normalize]:
    """Return the colours and their range; bright is worse, and where it is the share of an outcome, more.

    cividis (Nuñez, Anderton and Renslow 2018): everyone tells its colours apart, also in grey.
    """
    if layer.kind == "asr" or layer.kind in tuple(Outcome):
        return "cividis", Normalize(0.0, 100.0)
    known = np.minimum(layer.values[np.isfinite(layer.values)], WORST)
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 10.0)
    if layer.kind == "perplexity":
        return "cividis", LogNorm(low, max(high, 2 * low))
    wide = max(0.0, 20.0 - (high - low)) / 2
    norm = Normalize(max(0.0, low - wide), min(100.0, high + wide))
    return ("cividis_r" if layer.kind == "accuracy" else "cividis"), norm


def draw_heat(axes: Axes, x: Array, y: Array, layer: Layer) -> QuadMesh:
    """Draw the cells; those that are not measured are grey."""
    dress(axes)
    colours, norm = scale(layer)
    known = np.ma.masked_invalid(layer.values)
    axes.set_facecolor(FAINT if known.count() < known.size else "white")
    mesh = axes.pcolormesh(corners(x), corners(y), known, cmap=colours, norm=norm, rasterized=True)
    axes.margins(0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    return mesh


def draw_contours(axes: Axes, x: Array, y: Array, layer: Layer, safe_below: float) -> list[Entry]:
    """Draw where the ASR passes the threshold, and two more levels."""
    known = np.ma.masked_invalid(layer.values)
    found: list[Entry] = []
    if layer.kind != "asr" or not known.count():
        return found
    further = [level for level in _LEVELS if level > safe_below]
    edge = f"edge of safety: ASR {safe_below:g} %"
    for levels, colour, width, label in (
        ([safe_below], "white", 1.6, edge),
        (further, INK, 0.8, "ASR " + " and ".join(f"{level:g} %" for level in further)),
    ):
        if not any(known.min() <= level < known.max() for level in levels):
            continue
        outline: list[AbstractPathEffect] = []
        if colour == "white":
            outline.append(withStroke(linewidth=width + 1.4, foreground=INK))
        axes.contour(x, y, known, levels=levels, colors=colour, linewidths=width).set_path_effects(outline)
        found.append((Line2D([], [], color=colour, linewidth=width, path_effects=outline), label))
    return found


def named_models(landscape: Landscape) -> list[tuple[Sample, str, str]]:
    """(where, marker, what) of the models that have a name."""
    marks = (
        (origin_of(landscape), "o", "origin: the model under test"),
        (other_model(landscape), "D", "other model"),
        (third_model(landscape), "s", "third model"),
    )
    return [(sample, marker, label) for sample, marker, label in marks if sample is not None]


def draw_models(axes: Axes, landscape: Landscape) -> list[Entry]:
    """Mark where the models that have a name stand, and the trajectory."""
    found = [stand(axes, sample.x, sample.y, marker, label) for sample, marker, label in named_models(landscape)]
    if passed := waypoints_of(landscape):
        places = [(sample.x, sample.y) for sample in passed]
        found.append(trajectory(axes, places, [1 + (sample.waypoint or 0) for sample in passed]))
    return found


def draw_bar(figure: Figure, mesh: QuadMesh, left: float, bottom: float, height: float, label: str = "") -> None:
    """Draw the scale of a map beside it; `left`, `bottom` and `height` in inches."""
    axes = figure.add_subplot()
    place(figure, axes, left, bottom, 0.11 if label else 0.07, height)
    bar = figure.colorbar(mesh, cax=axes)
    bar.outline.set_visible(False)
    if isinstance(mesh.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(numticks=4))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009")))
    else:
        bar.ax.yaxis.set_major_locator(MultipleLocator(25) if label else MaxNLocator(4))
    bar.ax.tick_params(colors=SOFT, labelcolor=INK, labelsize=8 if label else 6.5, length=2, width=0.8)
    bar.set_label(label, fontsize=8.5, color=INK, labelpad=3)
