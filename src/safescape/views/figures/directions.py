"""The picture of one model along several directions: compliance, and the capability that is lost, over the distance."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from safescape.landscape import DirectionFigures, Directions, Landscape, PointFigures
from safescape.survey import ComputedAxis
from safescape.views.figures import sheet
from safescape.views.figures.marks import INK, SOFT, STYLES, Entry
from safescape.views.series.outcomes import seen_by
from safescape.views.series.samples import extent_of, first_probe, sample_of
from safescape.views.text import words
from safescape.views.text.directions import direction_name

_ASR, _LOW, _ABOVE = 2.7, 1.5, 0.3
"""Heights of the panels, and the space between them, in inches."""
_WORST = 1000.0
"""Percent of capability lost at which the lower panel ends."""


def draw_directions(directions: Directions) -> Figure:
    """Draw compliance over the distance on a logarithmic axis, a curve per direction, and below it the capability.

    Of a computed direction the side is drawn to which it leads, α > 0; of random directions the mean over both sides
    and all of them. Compliance is by the judge that tells noise where every run has one, else the ASR is drawn.
    """
    is_strict = all(point.strict_asr is not None for each in directions.landscapes for point in _first(each))
    figure = sheet.new_sheet(sheet.TITLE + _ASR)
    axes, found = figure.add_subplot(), list[Entry]()
    sheet.dress(axes)
    pairs = list(zip(directions.directions, directions.landscapes, strict=True))
    for number, (figures, landscape) in enumerate(pairs):
        line = _draw(axes, number, _asr(figures, landscape, is_strict=is_strict))
        found.append((line, _label(figures)))
    axes.set(xscale="log", ylim=(-3, 103))
    _plain(axes.xaxis)
    axes.set_ylabel(f"% of requests {'complied with' if is_strict else 'not refused'}", fontsize=9, color=INK)
    axes.axhline(directions.safe_below, color=SOFT, linewidth=0.8, linestyle=":")
    panels = [(axes, _ASR, 0.0)]
    losses = [(number, _loss(*pair)) for number, pair in enumerate(pairs) if pair[0].strict is not None]
    if losses:
        low = figure.add_subplot(sharex=axes)
        sheet.dress(low)
        for number, course in losses:
            _draw(low, number, course)
        low.set_yscale("symlog", linthresh=10.0)
        least = min(value for _, course in losses for value in course.values)
        low.set(ylim=(min(-15.0, 1.2 * least), _WORST), yticks=(-10, 0, 10, 100, 1000))
        _plain(low.yaxis)
        allowed = next(figures.strict.max_loss for figures, _ in pairs if figures.strict is not None)
        low.axhline(allowed, color=SOFT, linewidth=0.8, linestyle=":")
        low.set_ylabel("capability lost, %", fontsize=9, color=INK)
        panels.append((low, _LOW, _ABOVE))
    label = "distance: share of the norm of the weights that move"
    sheet.stack(figure, panels, 0.95, 0.66 + 0.18 * len(found), label)
    figure.align_ylabels([panel for panel, *_ in panels])
    sheet.legend(figure, found, 1)
    sheet.heading(figure, words.printable(directions.model), _measured_in(directions, is_strict=is_strict))
    return figure


def _first(landscape: Landscape) -> list[PointFigures]:
    """Return the points of the first probe."""
    name = first_probe(landscape)
    return [point for point in landscape.counted if point.probe == name]


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


def _asr(figures: DirectionFigures, landscape: Landscape, *, is_strict: bool) -> _Course:
    """Return the ASR, or compliance alone."""
    readings = [
        (point.line, point.coords[0], (point.strict_asr or 0.0) if is_strict else sample_of(landscape, point).asr)
        for point in _first(landscape)
    ]
    return _course(figures, landscape, readings)


def _loss(figures: DirectionFigures, landscape: Landscape) -> _Course:
    """Return how much of the capability is lost, in percent of the origin's."""
    measures = [measure for measure in landscape.measures if measure.probe == figures.capability]
    start = next(measure.value for measure in measures if not any(measure.coords))
    worse = 100.0 if measures[0].kind == "perplexity" else -100.0

    def lost(value: float) -> float:
        return min(worse * (value / start - 1.0), _WORST) if start else 0.0

    return _course(figures, landscape, [(each.line, each.coords[0], lost(each.value)) for each in measures])


def _course(
    figures: DirectionFigures, landscape: Landscape, readings: Sequence[tuple[int | None, float, float]]
) -> _Course:
    """Return the mean at each distance, from (line, α, value)."""
    is_computed = isinstance(landscape.axes[0], ComputedAxis)
    by_distance: dict[float, list[float]] = {}
    for line, alpha, value in readings:
        if line is not None and (alpha > 0 or not is_computed):
            by_distance.setdefault(abs(alpha), []).append(value)
    distances = sorted(by_distance)
    means = [fmean(by_distance[distance]) for distance in distances]
    return _Course([distance * figures.length for distance in distances], means)


def _label(figures: DirectionFigures) -> str:
    name = direction_name(figures)
    return f"{name[:1].upper()}{name[1:]}"


def _measured_in(directions: Directions, *, is_strict: bool) -> str:
    landscape = directions.landscapes[0]
    by = f"{seen_by(landscape)[0]} judge, compliance alone" if is_strict else f"{words.judge_of(landscape)} judge"
    prompts, kinds = extent_of(landscape).prompts, words.counted(len(directions.directions), "kind")
    return f"{prompts} harmful prompts · {kinds} of directions · {by}"
