"""The marks of pictures: colours, curves with their intervals, named models, the checkpoints of a trajectory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D

from safescape.landscape import Landscape
from safescape.survey import Outcome
from safescape.views.series.curves import Reading
from safescape.views.series.samples import Sample, named_models, waypoints_of

INK, SOFT, FAINT = "#1a1d21", "#5b6470", "#d9dde2"
TRAJECTORY, COMPLIED = "#b5338a", "#c2500d"
TONES = {"safe": "#00664b", "open": "#6f5200", "unsafe": "#a53a08"}
"""The three states of a verdict, in the colours of the report page; a word always stands beside the colour."""
BASINS = {True: "#dcece4", False: "#f5edcf"}
"""The shade of a basin that is shown to be safe, and of one that is not; grey is the colour of intervals."""

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
    """The colour and the marker of one curve of several."""

    colour: str
    marker: str


# Okabe and Ito's colours, distinct for people with red or green blindness; the markers are distinct in grey.
STYLES = (Style("#0072b2", "o"), Style("#d98200", "s"), Style("#009e73", "^"), Style("#b5508c", "D"))
MANY = Style("#4a7fa5", "o")
_MARKERS = {"origin": "o", "other model": "D", "third model": "s"}


class Look(NamedTuple):
    """The sizes of a kind of picture, in points. The defaults are those of a picture on a sheet."""

    paper: bool = False
    """A figure for a paper: short labels, and curves that differ in dash, too."""
    text: float = 9.0
    """Titles of axes."""
    small: float = 8.5
    """Ticks."""
    alone: float = 1.9
    """The width of a curve that stands alone, or is one of a few probes."""
    one_of: float = 1.0
    """The width of a direction's curve beside others."""
    mean: float = 2.3
    marks: float = 1.0
    """The size of markers, relative to a picture."""
    number: float = 6.0
    """The number of a checkpoint."""
    contours: tuple[float, float] = (1.6, 0.8)
    """The widths of the threshold's contour, and of further ones."""
    dashes: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-",) * len(STYLES) + ("--",) * len(STYLES)
    """By the number of a curve."""


PICTURE = Look()
PAPER = Look(
    paper=True,
    text=8.0,
    small=7.0,
    alone=1.3,
    one_of=0.8,
    mean=1.8,
    marks=0.68,
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
        axes: The panel.
        readings: The points of the curve.
        style: Its colour and its marker; an empty marker for none.
        label: Its line of the legend; `_` for none.
        look: The kind of picture.
        band: The opacity of the interval; 0 for none.
        width: The width of the line in points; by default that of a curve that stands alone.
        number: The number of the curve among several: its dash and, on paper, the places of its markers.

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
        markersize=4.2 * look.marks if width > 1 or look.paper else 3.4,
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


def draw_models(
    axes: Axes, landscape: Landscape, place: Callable[[Sample], tuple[float, ...]], look: Look = PICTURE
) -> list[Entry]:
    """Mark the models that have a name, then the checkpoints in their order, numbered from 1.

    `place` returns where a point is drawn: two coordinates, or three on a surface, which has no numbers.
    """
    is_surface = isinstance(axes, Axes3D)  # its layout counts marks that are not clipped
    named = named_models(landscape)
    if look.paper and landscape.subspace == "lines" and "other model" not in named:
        named = {}  # all lines of a paper's random directions meet at the origin
    found: list[Entry] = []
    for name, sample in named.items():
        label = "origin: the model under test" if name == "origin" and not look.paper else name
        (mark,) = axes.plot(
            *([part] for part in place(sample)),
            linestyle="none",
            marker=_MARKERS[name],
            markersize=9 * look.marks,
            markerfacecolor="white",
            markeredgecolor=INK,
            markeredgewidth=1.9 * look.marks,
            label=label,
            zorder=5,
            clip_on=is_surface,
        )
        found.append((mark, label))
    passed = waypoints_of(landscape)
    if not passed:
        return found
    label = "checkpoints" if look.paper else "checkpoints of the trajectory"
    (line,) = axes.plot(
        *zip(*map(place, passed), strict=True),
        color=TRAJECTORY,
        linewidth=1.3 * look.marks,
        marker="o",
        markersize=9 * look.marks,
        markeredgecolor="white",
        markeredgewidth=0.9 * look.marks,
        label=label,
        zorder=6,
        clip_on=is_surface,
    )
    how: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontweight": "bold", "color": "white"}
    for sample in [] if is_surface else passed:
        x, y = place(sample)
        number = str(1 + (sample.waypoint or 0))
        axes.annotate(number, (x, y), fontsize=look.number, zorder=7, annotation_clip=False, **how)
    return [*found, (line, label)]
