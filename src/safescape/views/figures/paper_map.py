"""A plane in a figure for a paper: a map with labelled contours, the models that have a name, and the trajectory."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from safescape.landscape import Landscape
from safescape.survey import InterpolationAxis
from safescape.views.figures.frame import FAINT, INK, Entry
from safescape.views.figures.heat import draw_heat, named_models
from safescape.views.figures.marks import PAPER, stand, trajectory
from safescape.views.figures.paper_marks import SMALL, STEPS, name_axes
from safescape.views.series.curves import waypoints_of
from safescape.views.series.layers import Layer, mesh_of

__all__ = ["draw_paper_map"]

_LEVELS = (50.0, 90.0)  # percent, beside the threshold
_ANGLES = (-90.0, 30.0, 150.0)  # degrees, where the threshold's label stands and those of the levels


def draw_paper_map(axes: Axes, landscape: Landscape, layer: Layer) -> list[Entry]:
    """Draw a share over both coordinates: cells, labelled contours, the models that have a name and the trajectory."""
    x, y = mesh_of(landscape)
    draw_heat(axes, x, y, layer)
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=STEPS))
    name_axes(axes, *(_coordinate(place, landscape) for place in (0, 1)))
    found: list[Entry] = []
    known = np.ma.masked_invalid(layer.values)
    for turn, level in enumerate((landscape.safe_below, *_LEVELS)):
        if not known.count() or not known.min() <= level < known.max() or (turn and level <= landscape.safe_below):
            continue
        colour, width = (INK, 0.7) if turn else ("white", 1.3)
        lines = axes.contour(x, y, known, levels=[level], colors=colour, linewidths=width)
        if not turn:
            lines.set_path_effects([withStroke(linewidth=width + 1.2, foreground=INK)])
        _label(axes, lines, level, turn)
    for sample, marker, label in named_models(landscape):
        found.append(stand(axes, sample.x, sample.y, marker, label.partition(":")[0], PAPER))
    if passed := waypoints_of(landscape):
        places = [(s.x, s.y) for s in passed]
        found.append(trajectory(axes, places, [1 + (s.waypoint or 0) for s in passed], "checkpoints", PAPER))
    if np.isnan(layer.values).any():
        found.append((Patch(color=FAINT, linewidth=0), "not measured"))
    return found


def _label(axes: Axes, lines: QuadContourSet, level: float, turn: int) -> None:
    """Write its level on a contour, where it passes at the contour's own angle as seen from the origin."""
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    vertices = np.concatenate([path.vertices for path in lines.get_paths()])
    inner = vertices[((vertices - low > 0.07 * (high - low)) & (high - vertices > 0.07 * (high - low))).all(axis=1)]
    if not inner.size:
        return
    angle = np.radians(_ANGLES[turn])
    across, up = (inner / (high - low)).T
    nearest = inner[np.argmax((across * np.cos(angle) + up * np.sin(angle)) / np.hypot(across, up).clip(1e-9))]
    for text in axes.clabel(lines, fmt=f"{level:g}", fontsize=SMALL, colors=INK, manual=[tuple(nearest)]):
        text.set_path_effects([withStroke(linewidth=1.6, foreground="white")])
        text.set_rotation(0)


def _coordinate(place: int, landscape: Landscape) -> str:
    axis, sign = landscape.axes[place], "αβ"[place]
    if isinstance(axis, InterpolationAxis):
        return f"{sign} (0: origin, 1: {'other' if place == 0 else 'third'} model)"
    return f"{sign} (1: the weights’ own norm)"
