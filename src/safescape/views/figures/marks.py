"""The marks of the pictures: curves with their intervals, models that have a name, the checkpoints of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from safescape.views.figures.frame import INK, Entry
from safescape.views.series.curves import Reading

__all__ = ["MANY", "PAPER", "PICTURE", "STYLES", "TRAJECTORY", "MarkSize", "Style", "draw_curve", "stand", "trajectory"]

TRAJECTORY = "#b5338a"


class MarkSize(NamedTuple):
    """How large marks are, in points."""

    model: float
    edge: float
    checkpoint: float
    rim: float
    line: float
    letter: float


PICTURE = MarkSize(model=9, edge=1.9, checkpoint=9, rim=0.9, line=1.3, letter=6)
PAPER = MarkSize(model=5.5, edge=1.1, checkpoint=6.6, rim=0.6, line=0.9, letter=5)


class Style(NamedTuple):
    """How one curve of several is told apart, in colour and in grey."""

    colour: str
    marker: str


# Okabe and Ito's colours, told apart by people who see no red or no green; the markers tell them apart in grey.
STYLES = (
    Style("#0072b2", "o"),
    Style("#d98200", "s"),
    Style("#009e73", "^"),
    Style("#b5508c", "D"),
)
MANY = Style("#4a7fa5", "o")


def draw_curve(
    axes: Axes,
    readings: Sequence[Reading],
    style: Style,
    label: str,
    *,
    band: float,
    width: float,
    dashed: bool = False,
) -> Entry:
    """A curve with its interval, `band` opaque."""
    x = [reading.x for reading in readings]
    axes.fill_between(
        x,
        [reading.low for reading in readings],
        [reading.high for reading in readings],
        color=style.colour,
        alpha=band,
        linewidth=0,
        zorder=2,
    )
    (line,) = axes.plot(
        x,
        [reading.value for reading in readings],
        color=style.colour,
        marker=style.marker,
        markersize=4.2 if width > 1 else 3.4,
        markeredgecolor="white",
        markeredgewidth=0.5,
        linewidth=width,
        linestyle="--" if dashed else "-",
        label=label,
        zorder=3,
        clip_on=False,
    )
    return line, label


def stand(axes: Axes, x: float, y: float, marker: str, label: str, size: MarkSize = PICTURE) -> Entry:
    """Mark where a model stands: the origin, the other model."""
    (mark,) = axes.plot(
        [x],
        [y],
        linestyle="none",
        marker=marker,
        markersize=size.model,
        markerfacecolor="white",
        markeredgecolor=INK,
        markeredgewidth=size.edge,
        label=label,
        zorder=5,
        clip_on=False,
    )
    return mark, label


def trajectory(
    axes: Axes,
    places: Sequence[tuple[float, float]],
    numbers: Sequence[int],
    label: str = "checkpoints of the trajectory",
    size: MarkSize = PICTURE,
) -> Entry:
    """Draw the checkpoints of a trajectory in their order, numbered from 1."""
    (line,) = axes.plot(
        *zip(*places, strict=True),
        color=TRAJECTORY,
        linewidth=size.line,
        marker="o",
        markersize=size.checkpoint,
        markeredgecolor="white",
        markeredgewidth=size.rim,
        label=label,
        zorder=6,
        clip_on=False,
    )
    for place, number in zip(places, numbers, strict=True):
        axes.annotate(
            str(number),
            place,
            ha="center",
            va="center_baseline",
            fontsize=size.letter,
            fontweight="bold",
            color="white",
            zorder=7,
            annotation_clip=False,
        )
    return line, label
