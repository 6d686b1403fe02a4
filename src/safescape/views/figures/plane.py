"""The picture of a plane: the ASR as a heat map and as a surface, and beneath them small maps of further figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from safescape.landscape import Landscape
from safescape.survey import Outcome
from safescape.views.figures import marks
from safescape.views.figures.sheet import LEFT, TITLE, WIDTH, dress, fit, legend, new_sheet, place, title
from safescape.views.series.curves import Array
from safescape.views.series.outcomes import keyword_layers, outcome_layers, seen_by
from safescape.views.series.planes import Layer, layers_of, mesh_of
from safescape.views.text.words import heading_of, limit_value

_MAP = 2.42  # inches, the sides of the heat map
_SMALL, _EVERY = 1.32, 2.14  # inches, the side of a small map, and from one to the next
_CAPTION = 0.24  # inches, the line above the maps of the outcomes
_ROW = 1.86  # inches, a row of small maps with their titles and ticks
_LEVELS = (50.0, 90.0)  # percent, contours beside that of the threshold
_ANGLES = (-90.0, 30.0, 150.0)  # degrees, the places of the labels of the threshold and of the levels


def draw_plane(landscape: Landscape) -> Figure:
    """Draw the ASR of the first probe over both coordinates; further probes and measures as small maps below it.

    If a judge tells noise from compliance, the outcomes are the first of the small maps. An unfinished run is drawn as
    far as it was measured. Cells lie at the weights as rounded.
    """
    first, *others = layers_of(landscape)
    # the share left unscored is on the page alone
    outcomes = [layer for layer in outcome_layers(landscape) if layer.kind != Outcome.UNSCORED]
    others = [*keyword_layers(landscape), *others]
    figure = new_sheet(TITLE + _MAP)
    axes = figure.add_subplot()
    mesh, found = draw_map(axes, landscape, first)
    foot = 0.24 + 0.18 * -(-len(found) // 3)
    bottom = foot + _ROW * -(-len(others) // 3) + (_ROW + _CAPTION if outcomes else 0.0) + 0.5
    figure.set_figheight(bottom + _MAP + TITLE - 0.22)
    place(figure, axes, LEFT, bottom, _MAP, _MAP)
    axes.set_xlabel(heading_of(0, landscape.axes), fontsize=8.5, color=marks.INK, labelpad=4)
    axes.set_ylabel(heading_of(1, landscape.axes), fontsize=8.5, color=marks.INK, labelpad=3)
    draw_bar(figure, mesh, LEFT + _MAP + 0.1, bottom, _MAP, "Attack success rate (%)")
    surface = figure.add_subplot(projection="3d", computed_zorder=False)
    assert isinstance(surface, Axes3D)
    place(figure, surface, LEFT + _MAP + 0.75, bottom - 0.45, WIDTH - LEFT - _MAP - 0.85, _MAP + 0.6)
    draw_surface(surface, first, landscape)
    down = bottom - 0.5
    if outcomes:
        down -= _CAPTION
        height = down / figure.get_figheight()
        caption = figure.text(LEFT / WIDTH, height, "", fontsize=8.5, color=marks.INK, parse_math=False)
        judge, shown = seen_by(landscape)
        fit(figure, caption, f"Answers in percent, as the “{judge}", WIDTH - LEFT - 0.2, f"” judge sees them{shown}")
        _small_maps(figure, landscape, outcomes, down)
        down -= _ROW
    _small_maps(figure, landscape, others, down)
    legend(figure, found, 3)
    title(figure, landscape)
    return figure


def _small_maps(figure: Figure, landscape: Landscape, layers: Sequence[Layer], top: float) -> None:
    """Draw layers with their labels, three per row, downwards from `top` inches."""
    for number, layer in enumerate(layers):
        row, column = divmod(number, 3)
        left, down = LEFT + column * _EVERY, top - (row + 1) * _ROW + 0.28
        small = figure.add_subplot()
        shown = _draw_cells(small, landscape, layer)
        _draw_contours(small, landscape, layer, marks.PICTURE)
        place(figure, small, left, down, _SMALL, _SMALL)
        draw_bar(figure, shown, left + _SMALL + 0.06, down, _SMALL)
        small.tick_params(labelsize=6.5)
        title = small.set_title("", fontsize=8, color=marks.INK, loc="left", pad=4, parse_math=False)
        fit(figure, title, layer.label[:1].upper() + layer.label[1:], _EVERY - 0.3)


def draw_map(
    axes: Axes, landscape: Landscape, layer: Layer, look: marks.Look = marks.PICTURE
) -> tuple[QuadMesh, list[marks.Entry]]:
    """Draw a layer as a heat map with its contours, the models that have a name and the trajectory."""
    mesh = _draw_cells(axes, landscape, layer)
    found = marks.draw_models(axes, landscape, lambda sample: (sample.x, sample.y), look)
    found += _draw_contours(axes, landscape, layer, look)
    if np.isnan(layer.values).any():
        found.append((Patch(color=marks.FAINT, linewidth=0), "not measured"))
    return mesh, found


def _draw_cells(axes: Axes, landscape: Landscape, layer: Layer) -> QuadMesh:
    """Draw the cells of a layer; those that are not measured are grey."""
    dress(axes)
    colours, norm = _scale(layer)
    known = np.ma.masked_invalid(layer.values)
    axes.set_facecolor(marks.FAINT if known.count() < known.size else "white")
    x, y = (_corners(centres) for centres in mesh_of(landscape))
    mesh = axes.pcolormesh(x, y, known, cmap=colours, norm=norm, rasterized=True)
    axes.margins(0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    return mesh


def _corners(centres: Array) -> Array:
    """Return the corners of the cells around a mesh of centres: shape (n + 1, m + 1) for (n, m), at least (2, 2)."""
    for _ in range(2):
        middle = (centres[1:] + centres[:-1]) / 2
        centres = np.concatenate([2 * centres[:1] - middle[:1], middle, 2 * centres[-1:] - middle[-1:]]).T
    return centres


def _scale(layer: Layer) -> tuple[str, Normalize]:
    """Return the colour map and its range; bright is worse, or of the share of an outcome, more.

    cividis (Nuñez, Anderton and Renslow 2018) is legible with colour vision deficiency, and in grey.
    """
    if layer.kind == "asr" or layer.kind in tuple(Outcome):
        return "cividis", Normalize(0.0, 100.0)
    known = layer.values[np.isfinite(layer.values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 10.0)
    if layer.kind == "perplexity":
        return "cividis", LogNorm(low, max(high, 2 * low))
    if layer.kind == "margin":
        wide = max(0.0, 1.0 - (high - low)) / 2
        return "cividis_r", Normalize(low - wide, high + wide)
    wide = max(0.0, 20.0 - (high - low)) / 2
    norm = Normalize(max(0.0, low - wide), min(100.0, high + wide))
    return ("cividis_r" if layer.kind == "accuracy" else "cividis"), norm


def _draw_contours(axes: Axes, landscape: Landscape, layer: Layer, look: marks.Look) -> list[marks.Entry]:
    """Draw where a rate passes the threshold, and two more levels; on paper with their labels instead of a legend."""
    known, limit = np.ma.masked_invalid(layer.values), landscape.limit.value
    if not known.count() or (layer.kind != "asr" and not look.paper):
        return []
    wide, thin = look.contours
    outline: list[AbstractPathEffect] = [withStroke(linewidth=wide + 1.3, foreground=marks.INK)]
    found: list[marks.Entry] = []
    further = []
    for number, level in enumerate((limit, *(level for level in _LEVELS if level > limit))):
        if not known.min() <= level < known.max():
            continue
        colour, width = (marks.INK, thin) if number else ("white", wide)
        lines = axes.contour(*mesh_of(landscape), known, levels=[level], colors=colour, linewidths=width)
        if look.paper:
            _label(axes, lines, level, _ANGLES[number], look.small)
        if number:
            further.append(f"{level:g} %")
            continue
        lines.set_path_effects(outline)
        edge = Line2D([], [], color=colour, linewidth=width, path_effects=outline)
        what = "safety" if landscape.limit.kind == "absolute" else "the basin"
        found.append((edge, f"edge of {what}: ASR {limit_value(landscape.limit)}"))
    if further:
        found.append((Line2D([], [], color=marks.INK, linewidth=thin), f"ASR {' and '.join(further)}"))
    return [] if look.paper else found


def _label(axes: Axes, lines: QuadContourSet, level: float, angle: float, size: float) -> None:
    """Write its level on a contour, where it passes at an angle (degrees) as seen from the origin."""
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    vertices = np.concatenate([path.vertices for path in lines.get_paths()])
    inner = vertices[((vertices - low > 0.07 * (high - low)) & (high - vertices > 0.07 * (high - low))).all(axis=1)]
    if not inner.size:
        return
    across, up = (inner / (high - low)).T
    towards = across * np.cos(np.radians(angle)) + up * np.sin(np.radians(angle))
    nearest = inner[np.argmax(towards / np.hypot(across, up).clip(1e-9))]
    for text in axes.clabel(lines, fmt=f"{level:g}", fontsize=size, colors=marks.INK, manual=[tuple(nearest)]):
        text.set_path_effects([withStroke(linewidth=1.6, foreground="white")])
        text.set_rotation(0)


def draw_bar(figure: Figure, mesh: QuadMesh, left: float, bottom: float, height: float, label: str = "") -> None:
    """Draw the scale of a map beside it; `left`, `bottom` and `height` in inches."""
    axes = figure.add_subplot()
    place(figure, axes, left, bottom, 0.11 if label else 0.07, height)
    bar = figure.colorbar(mesh, cax=axes)
    dress_bar(bar, 8 if label else 6.5, label)
    if isinstance(mesh.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(numticks=4))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009")))


def dress_bar(bar: Colorbar, size: float, label: str = "") -> None:
    """Give a colour bar its ticks and its label; one with a label is in percent."""
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(MultipleLocator(25) if label else MaxNLocator(4))
    bar.ax.tick_params(colors=marks.SOFT, labelcolor=marks.INK, labelsize=size, length=2, width=0.8)
    bar.set_label(label, fontsize=size + 0.5, color=marks.INK, labelpad=3)


def draw_surface(axes: Axes3D, layer: Layer, landscape: Landscape) -> None:
    """Draw a layer in three dimensions: a tile between every four points that are measured."""
    x, y = mesh_of(landscape)
    points = np.stack([x, y, layer.values], axis=-1)
    tiles = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], axis=-2).reshape(-1, 4, 3)
    tiles = tiles[np.isfinite(tiles).all(axis=(-2, -1))]
    colours, norm = _scale(layer)
    faces = colormaps[colours](norm(tiles[..., 2].mean(axis=-1)))
    axes.add_collection3d(Poly3DCollection(tiles, facecolors=faces, edgecolors=(1, 1, 1, 0.25), linewidths=0.3))
    axes.set_xlim(x.min(), x.max())
    axes.set_ylim(y.min(), y.max())
    axes.set_zlim(0, 100)
    # above the tiles, which would hide half of a mark
    marks.draw_models(axes, landscape, lambda s: (s.x, s.y, s.asr + 2), marks.PICTURE._replace(marks=0.65))
    axes.view_init(elev=32, azim=-58)
    axes.set_box_aspect((1, 1, 0.7), zoom=0.95)
    for axis, label in ((axes.xaxis, "α"), (axes.yaxis, "β"), (axes.zaxis, "ASR (%)")):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set_color(marks.SOFT)
        axis._axinfo["grid"].update(color=marks.FAINT, linewidth=0.5)
        axis.set_major_locator(MaxNLocator(4, prune="lower" if label == "β" else None))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
        axis.set_label_text(label, fontsize=8, color=marks.INK)
        axis.labelpad = -6
    axes.tick_params(labelsize=6.5, labelcolor=marks.INK, pad=-2)
