"""The picture of one model along several directions: compliance, and the capability that is lost, over the distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from safescape.landscape import DirectionFigures, Directions, Landscape
from safescape.survey import ComputedAxis
from safescape.views.figures import sheet
from safescape.views.figures.marks import INK, SOFT, STYLES, Entry
from safescape.views.text import words
from safescape.views.text.directions import direction_name

_ASR, _LOW, _ABOVE = 2.7, 1.5, 0.3
"""Heights of the panels, and the space between them, in inches."""
_WORST = 1000.0
"""Percent of capability lost at which the lower panel ends."""


def draw_directions(directions: Directions) -> Figure:
    """Draw compliance over the distance on a logarithmic axis, a curve per direction, and below it the capability.

    Of a computed direction the side is drawn to which it leads, α > 0; of random directions the mean over both sides
    and all of them.
    """
    figure = sheet.new_sheet(sheet.TITLE + _ASR)
    axes, found = figure.add_subplot(), list[Entry]()
    sheet.dress(axes)
    pairs = list(zip(directions.directions, directions.landscapes, strict=True))
    for number, (figures, landscape) in enumerate(pairs):
        line = _draw(axes, number, _asr(figures, landscape))
        found.append((line, _label(figures)))
    axes.set(xscale="log", ylim=(-3, 103))
    _plain(axes.xaxis)
    axes.set_ylabel("% of requests complied with", fontsize=9, color=INK)
    axes.axhline(directions.safe_below, color=SOFT, linewidth=0.8, linestyle=":")
    panels = [(axes, _ASR, 0.0)]
    if any(figures.capability for figures, _ in pairs):
        low = figure.add_subplot(sharex=axes)
        sheet.dress(low)
        for number, (figures, landscape) in enumerate(pairs):
            if figures.capability is not None:
                _draw(low, number, _loss(figures, landscape))
        low.set_yscale("symlog", linthresh=10.0)
        low.set(ylim=(-15, _WORST), yticks=(-10, 0, 10, 100, 1000))
        _plain(low.yaxis)
        low.axhline(10.0, color=SOFT, linewidth=0.8, linestyle=":")
        low.set_ylabel("capability lost, %", fontsize=9, color=INK)
        panels.append((low, _LOW, _ABOVE))
    label = "distance: share of the norm of the weights that move"
    sheet.stack(figure, panels, 0.95, 0.66 + 0.18 * len(found), label)
    figure.align_ylabels([panel for panel, *_ in panels])
    sheet.legend(figure, found, 1)
    sheet.heading(figure, words.printable(directions.model), _measured_in(directions))
    return figure


def _plain(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis as plain numbers, and leave out those between decades."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
    axis.set_minor_formatter(NullFormatter())


class _Course(NamedTuple):
    """A figure over the distance, ascending."""

    distances: Sequence[float]
    values: Sequence[float]


def _draw(axes: Axes, number: int, course: _Course) -> Line2D:
    style = STYLES[number % len(STYLES)]
    dash = "-" if number < len(STYLES) else "--"
    (line,) = axes.plot(*course, color=style.colour, marker=style.marker, markersize=4, linewidth=1.6, linestyle=dash)
    return line


def _asr(figures: DirectionFigures, landscape: Landscape) -> _Course:
    """Return the compliance by the judge that tells noise, if there is one, else the ASR."""
    first = landscape.points[0].probe
    points = [point for point in landscape.counted if point.probe == first and point.waypoint is None]

    def value(place: int) -> float:
        point = points[place]
        strict = point.strict_asr if figures.strict is not None else None
        return strict if strict is not None else 100.0 * (point.count or 0) / point.n

    return _course(figures, landscape, [(point.line, point.coords[0]) for point in points], value)


def _loss(figures: DirectionFigures, landscape: Landscape) -> _Course:
    """Return how much of a capability is lost, in percent of the origin's."""
    measures = [measure for measure in landscape.measures if measure.probe == figures.capability]
    start = next(measure.value for measure in measures if not any(measure.coords))
    rises = measures[0].kind == "perplexity"

    def value(place: int) -> float:
        change = 100.0 * (measures[place].value / start - 1.0) if start else 0.0
        return min(change if rises else -change, _WORST)

    return _course(figures, landscape, [(each.line, each.coords[0]) for each in measures], value)


def _course(
    figures: DirectionFigures,
    landscape: Landscape,
    places: Sequence[tuple[int | None, float]],
    value: Callable[[int], float],
) -> _Course:
    is_computed = isinstance(landscape.axes[0], ComputedAxis)
    by_distance: dict[float, list[float]] = {}
    for number, (line, alpha) in enumerate(places):
        if line is not None and (alpha > 0 or not is_computed):
            by_distance.setdefault(abs(alpha), []).append(value(number))
    distances = sorted(by_distance)
    means = [float(np.mean(by_distance[distance])) for distance in distances]
    return _Course([distance * figures.length for distance in distances], means)


def _label(figures: DirectionFigures) -> str:
    name = direction_name(figures)
    return f"{name[:1].upper()}{name[1:]}"


def _measured_in(directions: Directions) -> str:
    landscape = directions.landscapes[0]
    point = landscape.points[0]
    judge = next((each.strict.judge for each in directions.directions if each.strict is not None), None)
    by = f"{words.printable(judge)} judge, compliance alone" if judge else f"{words.judge_of(landscape)} judge"
    return f"{point.n} harmful prompts · {len(directions.directions)} kinds of directions · {by}"
