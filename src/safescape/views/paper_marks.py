"""What the figures for papers share: sizes of letters, names of axes, marks of models, all legible in one column."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from safescape.views.frame import INK, Entry
from safescape.views.marks import TRAJECTORY

__all__ = ["SMALL", "STEPS", "TEXT", "mark_model", "mark_way", "name_axes"]

TEXT, SMALL = 8.0, 7.0
"""Points: names of axes; ticks, legend and labels of contours."""

STEPS = (1, 2, 2.5, 5, 10)
"""Of ticks, so that a model at α = 1 has one."""


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Write beside both axes what they are."""
    axes.set_xlabel(x, fontsize=TEXT, color=INK, labelpad=2, parse_math=False)
    axes.set_ylabel(y, fontsize=TEXT, color=INK, labelpad=2, parse_math=False)


def mark_model(axes: Axes, x: float, y: float, marker: str, label: str) -> Entry:
    """Mark where a model stands."""
    (mark,) = axes.plot(
        [x],
        [y],
        linestyle="none",
        marker=marker,
        markersize=5.5,
        markerfacecolor="white",
        markeredgecolor=INK,
        markeredgewidth=1.1,
        zorder=5,
        clip_on=False,
    )
    return mark, label


def mark_way(axes: Axes, places: Sequence[tuple[float, float]], numbers: Sequence[int]) -> Entry:
    """The checkpoints of a trajectory in their order, numbered from 1."""
    (line,) = axes.plot(
        *zip(*places, strict=True),
        color=TRAJECTORY,
        linewidth=0.9,
        marker="o",
        markersize=6.6,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=6,
        clip_on=False,
    )
    for place, number in zip(places, numbers, strict=True):
        axes.annotate(
            str(number),
            place,
            ha="center",
            va="center_baseline",
            fontsize=5,
            fontweight="bold",
            color="white",
            zorder=7,
        )
    return line, "checkpoints"
