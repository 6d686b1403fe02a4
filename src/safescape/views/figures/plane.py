"""The picture of a plane: the ASR as a heat map and as a surface, and beneath them what else was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]
from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]

from safescape.landscape import Landscape
from safescape.survey import Outcome
from safescape.views.figures.frame import FAINT, INK, LEFT, SOFT, TITLE, WIDTH, fit, legend, place, sheet, title
from safescape.views.figures.heat import draw_bar, draw_contours, draw_heat, draw_models, named_models, scale
from safescape.views.figures.marks import TRAJECTORY
from safescape.views.series.curves import waypoints_of
from safescape.views.series.layers import Array, Layer, layers_of, mesh_of
from safescape.views.series.outcomes import outcome_layers, seen_by
from safescape.views.text.words import heading_of, measure_labels, printable

__all__ = ["draw_plane", "draw_surface"]

_MAP = 2.42  # inches, the sides of the heat map
_SMALL, _EVERY = 1.32, 2.14  # inches, the side of a small map, and from one to the next
_CAPTION = 0.24  # inches, what stands above the maps of the outcomes
_ROW = 1.86  # inches, a row of small maps with what stands around them


def draw_plane(landscape: Landscape) -> Figure:
    """Draw the ASR of the first probe over both coordinates; further probes and measures as small maps below it.

    Where a judge tells noise from compliance, the outcomes are the first of the small maps.

    An unfinished run is drawn as far as it was measured. Where weights are rounded, a cell lies where the rounded
    weights are.
    """
    first, *others = layers_of(landscape)
    # who wants to know what was left unscored finds it on the page
    outcomes = [layer for layer in outcome_layers(landscape) if layer.kind != Outcome.UNSCORED]
    x, y = mesh_of(landscape)
    figure = sheet(TITLE + _MAP)
    axes = figure.add_subplot()
    mesh = draw_heat(axes, x, y, first)
    found = draw_models(axes, landscape) + draw_contours(axes, x, y, first, landscape.safe_below)
    if np.isnan(first.values).any():
        found.append((Patch(color=FAINT, linewidth=0), "not measured"))
    foot = 0.24 + 0.18 * -(-len(found) // 3)
    bottom = foot + _ROW * -(-len(others) // 3) + (_ROW + _CAPTION if outcomes else 0.0) + 0.5
    figure.set_figheight(bottom + _MAP + TITLE - 0.22)
    place(figure, axes, LEFT, bottom, _MAP, _MAP)
    axes.set_xlabel(heading_of(0, landscape.axes), fontsize=8.5, color=INK, labelpad=4)
    axes.set_ylabel(heading_of(1, landscape.axes), fontsize=8.5, color=INK, labelpad=3)
    draw_bar(figure, mesh, LEFT + _MAP + 0.1, bottom, _MAP, "Attack success rate (%)")
    surface = figure.add_subplot(projection="3d", computed_zorder=False)
    assert isinstance(surface, Axes3D)
    place(figure, surface, LEFT + _MAP + 0.75, bottom - 0.45, WIDTH - LEFT - _MAP - 0.85, _MAP + 0.6)
    draw_surface(surface, x, y, first, landscape)
    down = bottom - 0.5
    if outcomes:
        down -= _CAPTION
        caption = figure.text(
            LEFT / WIDTH, down / figure.get_figheight(), "", fontsize=8.5, color=INK, parse_math=False
        )
        judge, shown = seen_by(landscape)
        fit(figure, caption, f"Answers in percent, as the “{judge}", WIDTH - LEFT - 0.2, f"” judge sees them{shown}")
        _small_maps(figure, (x, y), [(layer, layer.kind) for layer in outcomes], down, landscape.safe_below)
        down -= _ROW
    labels = measure_labels((layer.probe, layer.kind) for layer in others if layer.kind != "asr")
    named = [(layer, labels.get(layer.probe) or f"ASR, “{printable(layer.probe)}”") for layer in others]
    _small_maps(figure, (x, y), named, down, landscape.safe_below)
    legend(figure, found, 3)
    title(figure, landscape)
    return figure


def _small_maps(
    figure: Figure, mesh: tuple[Array, Array], named: Sequence[tuple[Layer, str]], top: float, safe_below: float
) -> None:
    """Draw layers with their names, three a row, downwards from `top` inches."""
    for number, (layer, name) in enumerate(named):
        row, column = divmod(number, 3)
        left, down = LEFT + column * _EVERY, top - (row + 1) * _ROW + 0.28
        small = figure.add_subplot()
        shown = draw_heat(small, *mesh, layer)
        draw_contours(small, *mesh, layer, safe_below)
        place(figure, small, left, down, _SMALL, _SMALL)
        draw_bar(figure, shown, left + _SMALL + 0.06, down, _SMALL)
        small.tick_params(labelsize=6.5)
        title = small.set_title("", fontsize=8, color=INK, loc="left", pad=4, parse_math=False)
        fit(figure, title, name[:1].upper() + name[1:], _EVERY - 0.3)


def draw_surface(axes: Axes3D, x: Array, y: Array, layer: Layer, landscape: Landscape) -> None:
    """Draw a layer in three dimensions: a tile between every four points that are measured."""
    points = np.stack([x, y, layer.values], axis=-1)
    tiles = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], axis=-2).reshape(-1, 4, 3)
    tiles = tiles[np.isfinite(tiles).all(axis=(-2, -1))]
    colours, norm = scale(layer)
    faces = colormaps[colours](norm(tiles[..., 2].mean(axis=-1)))
    axes.add_collection3d(Poly3DCollection(tiles, facecolors=faces, edgecolors=(1, 1, 1, 0.25), linewidths=0.3))
    axes.set_xlim(x.min(), x.max())
    axes.set_ylim(y.min(), y.max())
    axes.set_zlim(0, 100)
    for sample, marker, _ in named_models(landscape):
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
