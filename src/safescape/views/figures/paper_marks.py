"""What the figures for papers share: sizes of letters, ticks and names of axes, all legible in one column."""

from __future__ import annotations

from matplotlib.axes import Axes

from safescape.views.figures.frame import INK

__all__ = ["SMALL", "STEPS", "TEXT", "name_axes"]

TEXT, SMALL = 8.0, 7.0
"""Points: names of axes; ticks, legend and labels of contours."""

STEPS = (1, 2, 2.5, 5, 10)
"""Of ticks, so that a model at α = 1 has one."""


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Write beside both axes what they are."""
    axes.set_xlabel(x, fontsize=TEXT, color=INK, labelpad=2, parse_math=False)
    axes.set_ylabel(y, fontsize=TEXT, color=INK, labelpad=2, parse_math=False)
