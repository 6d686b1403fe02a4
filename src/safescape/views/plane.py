"""The picture of a plane: the ASR as a heat map and as a surface, and beneath them what else was measured."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]
from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]

from safescape.landscape import Landscape
from safescape.views.curves import (
    WORST,
    Sample,
    origin_of,
    other_model,
    third_model,
    waypoints_of,
)
from safescape.views.frame import FAINT, INK, LEFT, SOFT, TITLE, WIDTH, Entry, dress, fit, legend, place, sheet, title
from safescape.views.layers import Array, Layer, layers_of, mesh_of
from safescape.views.marks import TRAJECTORY, stand, trajectory
from safescape.views.words import heading_of, measure_labels, printable

__all__ = ["draw_plane"]

_MAP = 2.42  # inches, the sides of the heat map
_SMALL, _EVERY = 1.32, 2.14  # inches, the side of a small map, and from one to the next
_ROW = 1.86  # inches, a row of small maps with what stands around them
_LEVELS = (50.0, 90.0)  # percent, beside the threshold


def draw_plane(landscape: Landscape) -> Figure:
    """Draw the ASR of the first probe over both coordinates; further probes and measures as small maps below it.

    An unfinished run is drawn as far as it was measured. Where weights are rounded, a cell lies where the rounded
    weights are.
    """
    first, *others = layers_of(landscape)
    x, y = mesh_of(landscape)
    figure = sheet(TITLE + _MAP)
    axes = figure.add_subplot()
    mesh = _heat(axes, x, y, first)
    found = _models(axes, landscape) + _contours(axes, x, y, first, landscape.safe_below)
    if np.isnan(first.values).any():
        found.append((Patch(color=FAINT, linewidth=0), "not measured"))
    foot = 0.24 + 0.18 * -(-len(found) // 3)
    bottom = foot + _ROW * -(-len(others) // 3) + 0.5
    figure.set_figheight(bottom + _MAP + TITLE - 0.22)
    place(figure, axes, LEFT, bottom, _MAP, _MAP)
    axes.set_xlabel(heading_of(0, landscape.axes), fontsize=8.5, color=INK, labelpad=4)
    axes.set_ylabel(heading_of(1, landscape.axes), fontsize=8.5, color=INK, labelpad=3)
    _bar(figure, mesh, LEFT + _MAP + 0.1, bottom, _MAP, "Attack success rate (%)")
    surface = figure.add_subplot(projection="3d", computed_zorder=False)
    assert isinstance(surface, Axes3D)
    place(figure, surface, LEFT + _MAP + 0.75, bottom - 0.45, WIDTH - LEFT - _MAP - 0.85, _MAP + 0.6)
    _surface(surface, x, y, first, landscape)
    labels = measure_labels((layer.probe, layer.kind) for layer in others if layer.kind != "asr")
    for number, layer in enumerate(others):
        row, column = divmod(number, 3)
        left, down = LEFT + column * _EVERY, bottom - 0.5 - (row + 1) * _ROW + 0.28
        small = figure.add_subplot()
        shown = _heat(small, x, y, layer)
        _contours(small, x, y, layer, landscape.safe_below)
        place(figure, small, left, down, _SMALL, _SMALL)
        _bar(figure, shown, left + _SMALL + 0.06, down, _SMALL)
        small.tick_params(labelsize=6.5)
        name = small.set_title("", fontsize=8, color=INK, loc="left", pad=4, parse_math=False)
        said = labels.get(layer.probe) or f"ASR, “{printable(layer.probe)}”"
        fit(figure, name, said[:1].upper() + said[1:], _EVERY - 0.3)
    legend(figure, found, 3)
    title(figure, landscape)
    return figure


def corners(centres: Array) -> Array:
    """Return the corners of the cells around a mesh of centres: shape (n + 1, m + 1) for (n, m), at least (2, 2)."""
    for _ in range(2):
        middle = (centres[1:] + centres[:-1]) / 2
        centres = np.concatenate([2 * centres[:1] - middle[:1], middle, 2 * centres[-1:] - middle[-1:]]).T
    return centres


def _scale(layer: Layer) -> tuple[str, Normalize]:
    """Bright is worse. cividis (Nuñez, Anderton and Renslow 2018): everyone tells its colours apart, also in grey."""
    if layer.kind == "asr":
        return "cividis", Normalize(0.0, 100.0)
    known = np.minimum(layer.values[np.isfinite(layer.values)], WORST)
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 10.0)
    if layer.kind == "perplexity":
        return "cividis", LogNorm(low, max(high, 2 * low))
    wide = max(0.0, 20.0 - (high - low)) / 2
    norm = Normalize(max(0.0, low - wide), min(100.0, high + wide))
    return ("cividis_r" if layer.kind == "accuracy" else "cividis"), norm


def _heat(axes: Axes, x: Array, y: Array, layer: Layer) -> QuadMesh:
    dress(axes)
    colours, norm = _scale(layer)
    known = np.ma.masked_invalid(layer.values)
    axes.set_facecolor(FAINT if known.count() < known.size else "white")
    mesh = axes.pcolormesh(corners(x), corners(y), known, cmap=colours, norm=norm, rasterized=True)
    axes.margins(0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    return mesh


def _contours(axes: Axes, x: Array, y: Array, layer: Layer, safe_below: float) -> list[Entry]:
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


def _named(landscape: Landscape) -> list[tuple[Sample, str, str]]:
    """(where, marker, what) of the models that have a name."""
    marks = (
        (origin_of(landscape), "o", "origin: the model under test"),
        (other_model(landscape), "D", "other model"),
        (third_model(landscape), "s", "third model"),
    )
    return [(sample, marker, label) for sample, marker, label in marks if sample is not None]


def _models(axes: Axes, landscape: Landscape) -> list[Entry]:
    found = [stand(axes, sample.x, sample.y, marker, label) for sample, marker, label in _named(landscape)]
    if passed := waypoints_of(landscape):
        places = [(sample.x, sample.y) for sample in passed]
        found.append(trajectory(axes, places, [1 + (sample.waypoint or 0) for sample in passed]))
    return found


def _bar(figure: Figure, mesh: QuadMesh, left: float, bottom: float, height: float, label: str = "") -> None:
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


def _surface(axes: Axes3D, x: Array, y: Array, layer: Layer, landscape: Landscape) -> None:
    """The same in three dimensions: a tile between every four points that are measured."""
    points = np.stack([x, y, layer.values], axis=-1)
    tiles = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], axis=-2).reshape(-1, 4, 3)
    tiles = tiles[np.isfinite(tiles).all(axis=(-2, -1))]
    colours, norm = _scale(layer)
    faces = colormaps[colours](norm(tiles[..., 2].mean(axis=-1)))
    axes.add_collection3d(Poly3DCollection(tiles, facecolors=faces, edgecolors=(1, 1, 1, 0.25), linewidths=0.3))
    axes.set_xlim(x.min(), x.max())
    axes.set_ylim(y.min(), y.max())
    axes.set_zlim(0, 100)
    for sample, marker, _ in _named(landscape):
        axes.plot(
            *([value] for value in (sample.x, sample.y, sample.asr + 2)),
            marker=marker,
            markersize=6,
            markerfacecolor="white",
            markeredgecolor=INK,
            markeredgewidth=1.4,
            zorder=5,
        )
    if passed := waypoints_of(landscape):
        axes.plot(
            *zip(*((sample.x, sample.y, sample.asr + 2) for sample in passed), strict=True),
            color=TRAJECTORY,
            linewidth=1.2,
            marker="o",
            markersize=4.5,
            markeredgecolor="white",
            zorder=4,
        )
    axes.view_init(elev=32, azim=-58)
    axes.set_box_aspect((1, 1, 0.7), zoom=0.95)
    for axis, label in ((axes.xaxis, "α"), (axes.yaxis, "β"), (axes.zaxis, "ASR (%)")):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set_color(SOFT)
        axis._axinfo["grid"].update(color=FAINT, linewidth=0.5)
        axis.set_major_locator(MaxNLocator(4, prune="lower" if label == "β" else None))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
        axis.set_label_text(label, fontsize=8, color=INK)
    axes.tick_params(labelsize=6.5, labelcolor=INK, pad=-2)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.labelpad = -6
