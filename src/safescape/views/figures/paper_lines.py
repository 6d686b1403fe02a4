"""Lines in a figure for a paper: the ASR over α, and what the answers are, stacked.

What differs in colour differs in dash or marker too.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from safescape.landscape import Landscape
from safescape.survey import InterpolationAxis
from safescape.views.figures.areas import COMPLIED, paint_areas
from safescape.views.figures.frame import FAINT, INK, SOFT, Entry, dress
from safescape.views.figures.marks import MANY, PAPER, STYLES, Style, stand, trajectory
from safescape.views.figures.paper_marks import SMALL, STEPS, name_axes
from safescape.views.series.curves import (
    Reading,
    courses_of,
    curves_of,
    mean_edges,
    mean_of,
    origin_of,
    other_model,
    waypoints_of,
)
from safescape.views.series.outcomes import shares_of, strict_course
from safescape.views.text.words import printable, shortened

__all__ = ["draw_paper_lines", "draw_paper_outcomes"]

_BASIN = "#dcece4"
_DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = (
    "-",
    (0, (4, 1.4)),
    (0, (1.2, 1.2)),
    (0, (5, 1.3, 1.2, 1.3)),
)


def draw_paper_lines(axes: Axes, landscape: Landscape) -> list[Entry]:
    """Draw the ASR over α: every direction thin, their mean thick, the threshold and the basin."""
    dress(axes, SMALL)
    seen = [point.effective[0] for point in landscape.counted]
    ends = [*seen, *(end for axis in landscape.axes for end in (axis.low, axis.high))]
    margin = 0.015 * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.set_ylim(-3, 103)
    axes.yaxis.set_major_locator(MultipleLocator(25))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    name_axes(axes, _alpha(landscape), "ASR (%)")
    found = _probes(axes, landscape) if len(courses_of(landscape)) > 1 else _directions(axes, landscape)
    found += _strict(axes, landscape) + _models(axes, landscape)
    safe = axes.axhline(landscape.safe_below, color=INK, linewidth=0.7, linestyle=(0, (6, 3)), zorder=1.5)
    found.append((safe, f"threshold, {landscape.safe_below:g} %"))
    edges = mean_edges(landscape)
    if edges is not None:
        axes.axvspan(*edges, color=_BASIN, linewidth=0, zorder=0.5)
        found.append((Patch(color=_BASIN, linewidth=0), "safe basin"))
    return found


def draw_paper_outcomes(axes: Axes, beside: Axes, landscape: Landscape) -> list[Entry]:
    """Draw what the answers are over α, stacked, on the scale of the panel beside it."""
    dress(axes, SMALL)
    axes.set_xlim(beside.get_xlim())
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_locator(MultipleLocator(25))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    name_axes(axes, _alpha(landscape), "Answers (%)")
    return paint_areas(axes, shares_of(landscape))


def _alpha(landscape: Landscape) -> str:
    between = isinstance(landscape.axes[0], InterpolationAxis)
    return "α (0: origin, 1: other model)" if between else "α (1: the weights’ own norm)"


def _directions(axes: Axes, landscape: Landscape) -> list[Entry]:
    curves = curves_of(landscape)
    mean, alone, many = mean_of(curves), len(curves) == 1, len(curves) > len(STYLES)
    found: list[Entry] = []
    begun = [curve for curve in curves if len(curve.samples) > 1 or alone]
    for number, curve in enumerate(begun):
        readings = [Reading(s.x, s.asr, s.low, s.high) for s in curve.samples]
        style = MANY if many else STYLES[number]
        label = "each direction" if many else f"direction {curve.line + 1}"
        if alone:
            label = "ASR"
            found += [*_curve(axes, readings, style, 0, label, width=1.3), _band(axes, readings, style.colour)]
        else:
            entries = _curve(axes, readings, style, 0 if many else number, label, width=0.5 if many else 0.8, bare=many)
            found += entries if not many or not number else []
    if mean:
        (line,) = axes.plot(
            [reading.x for reading in mean], [reading.value for reading in mean], color=INK, linewidth=1.8, zorder=4
        )
        found += [(line, "mean"), _band(axes, mean, INK)]
    return found


def _probes(axes: Axes, landscape: Landscape) -> list[Entry]:
    """Several probes of harmful prompts: a curve each, with its interval."""
    found: list[Entry] = []
    for number, course in enumerate(courses_of(landscape)):
        style, label = STYLES[number % len(STYLES)], f"“{shortened(printable(course.probe), 22)}”"
        found += _curve(axes, course.readings, style, number, label, width=1.2)
        band = _band(axes, course.readings, style.colour)
    found.append((Patch(color=SOFT, alpha=0.25, linewidth=0), band[1]))
    return found


def _curve(
    axes: Axes, readings: Sequence[Reading], style: Style, number: int, label: str, *, width: float, bare: bool = False
) -> list[Entry]:
    """A curve that its dash and its markers, each at other places, tell from the others without colour."""
    every = max(1, len(readings) // 6)
    (line,) = axes.plot(
        [reading.x for reading in readings],
        [reading.value for reading in readings],
        color=style.colour,
        linewidth=width,
        linestyle=_DASHES[number % len(_DASHES)],
        marker="" if bare else style.marker,
        markersize=2.8,
        markeredgewidth=0,
        markevery=(number * every // len(_DASHES), every),
        label=label,
        zorder=3,
    )
    return [(line, label)]


def _band(axes: Axes, readings: Sequence[Reading], colour: str) -> Entry:
    low, high = [reading.low for reading in readings], [reading.high for reading in readings]
    band = axes.fill_between([r.x for r in readings], low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
    return band, "95 % interval"


def _strict(axes: Axes, landscape: Landscape) -> list[Entry]:
    """The ASR of which only compliance counts, where the ASR also counts noise."""
    course = strict_course(landscape)
    if course is None or not course.readings:
        return []
    for piece in course.pieces:
        x, y = [reading.x for reading in piece], [reading.value for reading in piece]
        (line,) = axes.plot(x, y, color=COMPLIED, linewidth=1.1, linestyle=(0, (1.5, 1)), zorder=4.5)
    return [(line, "complied alone")]


def _models(axes: Axes, landscape: Landscape) -> list[Entry]:
    """The models that have a name on a line between two: the origin, the other one, the checkpoints."""
    if not isinstance(landscape.axes[0], InterpolationAxis):
        return []
    found: list[Entry] = []
    for sample, marker, label in (
        (origin_of(landscape), "o", "origin"),
        (other_model(landscape), "D", "other model"),
    ):
        if sample is not None:
            found.append(stand(axes, sample.x, sample.asr, marker, label, PAPER))
    if passed := waypoints_of(landscape):
        places = [(s.x, s.asr) for s in passed]
        found.append(trajectory(axes, places, [1 + (s.waypoint or 0) for s in passed], "checkpoints", PAPER))
    return found
