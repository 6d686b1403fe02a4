"""The marks of pictures: colours, curves with their intervals, named models, the checkpoints of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from safescape.landscape import Landscape
from safescape.survey import Outcome
from safescape.views.series.curves import Reading, Sample, origin_of, other_model, third_model, waypoints_of

INK, SOFT, FAINT = "#1a1d21", "#5b6470", "#d9dde2"
TRAJECTORY, COMPLIED = "#b5338a", "#c2500d"
TONES = {"safe": "#00664b", "open": "#3b4252", "unsafe": "#b84a0a"}
"""The three states of a verdict; their lightness differs too, and a word stands beside the colour."""
BASINS = {True: "#dcece4", False: "#e4e7ea"}
"""The shade of a basin that is shown to be safe, and of one that is not."""

# distinct for people with red or green blindness; in grey by lightness, hatching and order
OUTCOME_STYLES: dict[Outcome, tuple[str, str]] = {
    Outcome.COMPLIED: (COMPLIED, ""),
    Outcome.INCOHERENT: ("#aeb3ba", "////"),
    Outcome.UNSCORED: ("#ffffff", "...."),
    Outcome.REFUSED: ("#cfe3f1", ""),
}
"""The colour and the hatching of each outcome."""

Entry = tuple[Artist, str]
"""A line of the legend."""


class Style(NamedTuple):
    """How one curve of several is told apart, in colour and in grey."""

    colour: str
    marker: str


# Okabe and Ito's colours, distinct for people with red or green blindness; the markers are distinct in grey.
STYLES = (
    Style("#0072b2", "o"),
    Style("#d98200", "s"),
    Style("#009e73", "^"),
    Style("#b5508c", "D"),
)
MANY = Style("#4a7fa5", "o")

_Dash = str | tuple[float, tuple[float, ...]]


class Look(NamedTuple):
    """The sizes of a kind of picture, in points."""

    paper: bool
    """A figure for a paper: short labels, and curves that differ in dash, too."""
    text: float
    """Titles of axes."""
    small: float
    """Ticks."""
    alone: float
    """The width of a curve that stands alone, or is one of a few probes."""
    one_of: float
    """The width of a direction's curve beside others."""
    mean: float
    marker: float
    model: float
    model_edge: float
    checkpoint: float
    checkpoint_edge: float
    trajectory: float
    number: float
    contours: tuple[float, float]
    """The widths of the threshold's contour, and of further ones."""
    dashes: tuple[_Dash, ...]
    """By the number of a curve."""


PICTURE = Look(
    paper=False,
    text=9.0,
    small=8.5,
    alone=1.9,
    one_of=1.0,
    mean=2.3,
    marker=4.2,
    model=9.0,
    model_edge=1.9,
    checkpoint=9.0,
    checkpoint_edge=0.9,
    trajectory=1.3,
    number=6.0,
    contours=(1.6, 0.8),
    dashes=("-",) * len(STYLES) + ("--",) * len(STYLES),
)
PAPER = Look(
    paper=True,
    text=8.0,
    small=7.0,
    alone=1.3,
    one_of=0.8,
    mean=1.8,
    marker=2.8,
    model=5.5,
    model_edge=1.1,
    checkpoint=6.6,
    checkpoint_edge=0.6,
    trajectory=0.9,
    number=5.0,
    contours=(1.3, 0.7),
    dashes=("-", (0, (4, 1.4)), (0, (1.2, 1.2)), (0, (5, 1.3, 1.2, 1.3))),
)


def draw_curve(
    axes: Axes,
    readings: Sequence[Reading],
    style: Style,
    label: str,
    *,
    look: Look = PICTURE,
    band: float = 0.0,
    width: float | None = None,
    number: int = 0,
) -> Entry:
    """Draw a curve with its interval.

    Args:
        axes: Where.
        readings: Its points.
        style: Its colour and its marker; an empty marker for none.
        label: Its line of the legend; `_` for none.
        look: The kind of picture.
        band: The opacity of the interval; 0 for none.
        width: Of the line, in points; by default that of a curve that stands alone.
        number: Of the curve among several: its dash and, on paper, the places of its markers.

    """
    x, width = [reading.x for reading in readings], look.alone if width is None else width
    if band:
        low, high = [reading.low for reading in readings], [reading.high for reading in readings]
        axes.fill_between(x, low, high, color=style.colour, alpha=band, linewidth=0, zorder=2)
    every = max(1, len(readings) // 6) if look.paper else 1
    (line,) = axes.plot(
        x,
        [reading.value for reading in readings],
        color=style.colour,
        marker=style.marker,
        markersize=look.marker if width > 1 or look.paper else look.marker - 0.8,
        markevery=(number * every // len(look.dashes), every) if look.paper else None,
        markeredgecolor="white",
        markeredgewidth=0.0 if look.paper else 0.5,
        linewidth=width,
        linestyle=look.dashes[number % len(look.dashes)],
        label=label,
        zorder=3 if style.marker else 4,
        clip_on=False,
    )
    return line, label


def mark_model(axes: Axes, x: float, y: float, marker: str, label: str, look: Look = PICTURE) -> Entry:
    """Mark a model that has a name: the origin, the other model."""
    label = label.partition(":")[0] if look.paper else label
    (mark,) = axes.plot(
        [x],
        [y],
        linestyle="none",
        marker=marker,
        markersize=look.model,
        markerfacecolor="white",
        markeredgecolor=INK,
        markeredgewidth=look.model_edge,
        label=label,
        zorder=5,
        clip_on=False,
    )
    return mark, label


def named_models(landscape: Landscape) -> list[tuple[Sample, str, str]]:
    """Return (point, marker, label) of the models that have a name and are measured."""
    marks = (
        (origin_of(landscape), "o", "origin: the model under test"),
        (other_model(landscape), "D", "other model"),
        (third_model(landscape), "s", "third model"),
    )
    return [(sample, marker, label) for sample, marker, label in marks if sample is not None]


def draw_trajectory(axes: Axes, landscape: Landscape, look: Look = PICTURE) -> list[Entry]:
    """Draw the measured checkpoints in their order, numbered from 1: over α by their ASR, on a plane by α and β."""
    passed = waypoints_of(landscape)
    if not passed:
        return []
    plane = landscape.subspace == "plane"
    places = [(sample.x, sample.y if plane else sample.asr) for sample in passed]
    label = "checkpoints" if look.paper else "checkpoints of the trajectory"
    (line,) = axes.plot(
        *zip(*places, strict=True),
        color=TRAJECTORY,
        linewidth=look.trajectory,
        marker="o",
        markersize=look.checkpoint,
        markeredgecolor="white",
        markeredgewidth=look.checkpoint_edge,
        label=label,
        zorder=6,
        clip_on=False,
    )
    for place, sample in zip(places, passed, strict=True):
        axes.annotate(
            str(1 + (sample.waypoint or 0)),
            place,
            ha="center",
            va="center_baseline",
            fontsize=look.number,
            fontweight="bold",
            color="white",
            zorder=7,
            annotation_clip=False,
        )
    return [(line, label)]
