"""The picture of lines through the origin: ASR over α, and beneath it what the weights lose beside their safety."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MultipleLocator

from safescape.landscape import Landscape
from safescape.survey import InterpolationAxis
from safescape.views.figures.areas import COMPLIED, draw_areas, name_areas
from safescape.views.figures.capability import draw_capability
from safescape.views.figures.frame import (
    FAINT,
    INK,
    LEFT,
    RIGHT,
    SOFT,
    TITLE,
    WIDTH,
    Entry,
    dress,
    legend,
    place,
    sheet,
    title,
)
from safescape.views.figures.marks import MANY, STYLES, draw_curve, stand, trajectory
from safescape.views.series.curves import (
    Curve,
    Reading,
    courses_of,
    curves_of,
    mean_edges,
    mean_of,
    measure_courses,
    waypoints_of,
)
from safescape.views.series.outcomes import shares_of, strict_course
from safescape.views.text.words import basin_of, printable, shortened, signed, title_of

__all__ = ["ASR", "alpha_label", "asr_panel", "draw_lines"]

ASR, _OUTCOMES, _MEASURES = 2.46, 1.2, 1.3  # inches, the height of the panels
_BASIN = "#e3efe9"


def draw_lines(landscape: Landscape) -> Figure:
    """Draw ASR over α, line by line or probe by probe, with the basin, the threshold and the figures.

    Where a judge tells noise from compliance, a panel beneath shows what the answers to the first probe are.

    An unfinished run is drawn as far as it was measured. Without a basin the picture says so and gives no VISAGE
    and no radius, which mean nothing there.
    """
    measures, several, shares = measure_courses(landscape), len(courses_of(landscape)) > 1, shares_of(landscape)
    figure = sheet(TITLE + ASR)
    axes = figure.add_subplot()
    asr_panel(axes, [landscape])
    _basin(axes, landscape)
    found = _probes(axes, landscape) if several else _directions(axes, curves_of(landscape))
    found += _strict(axes, landscape) + _models(axes, landscape)
    if found:
        found.append((Patch(color=SOFT, alpha=0.25, linewidth=0), "95 % interval at a point"))
    # the panels beneath, from the uppermost: (panel, its height, what stands above it)
    beneath: list[tuple[Axes, float, float]] = []
    if shares:
        panel = figure.add_subplot(sharex=axes)
        draw_areas(panel, shares)
        beneath.append((panel, _OUTCOMES, 0.18 + 0.2 + 0.18))
    if measures:
        panel = figure.add_subplot(sharex=axes)
        beneath.append((panel, _MEASURES, 0.18 + 0.18 * draw_capability(panel, measures)))
    columns = 2 if several else 3
    below = 0.66 + 0.18 * max(2, -(-len(found) // columns))
    bottom = below + sum(height + head for _, height, head in beneath)
    figure.set_figheight(TITLE + ASR + bottom)
    place(figure, axes, LEFT, bottom, WIDTH - LEFT - RIGHT, ASR)
    lowest = axes
    for panel, height, head in beneath:
        lowest.tick_params(labelbottom=False)
        lowest, bottom = panel, bottom - height - head
        place(figure, panel, LEFT, bottom, WIDTH - LEFT - RIGHT, height)
    if shares:
        name_areas(figure, beneath[0][0], landscape, WIDTH - LEFT - RIGHT)
    lowest.set_xlabel(alpha_label([landscape]), fontsize=9, color=INK, labelpad=5, parse_math=False)
    legend(figure, found, columns)
    title(figure, landscape)
    return figure


def asr_panel(axes: Axes, landscapes: Sequence[Landscape]) -> None:
    """Give a panel the axes on which all of these lie, and the threshold, which is the first one's."""
    dress(axes)
    ends = [end for landscape in landscapes for axis in landscape.axes for end in (axis.low, axis.high)]
    seen = [point.effective[0] for landscape in landscapes for point in landscape.counted]
    low, high = min(*ends, *seen), max(*ends, *seen)
    axes.set_xlim(low - 0.015 * (high - low), high + 0.015 * (high - low))
    axes.set_ylim(-3, 103)
    axes.yaxis.set_major_locator(MultipleLocator(25))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_ylabel("Attack success rate (%)", fontsize=9, color=INK, labelpad=6)
    safe_below = landscapes[0].safe_below
    axes.axhline(safe_below, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
    axes.annotate(
        f"unsafe\nabove {safe_below:g} %",
        (1, safe_below),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        color=SOFT,
        linespacing=1.15,
    )


def alpha_label(landscapes: Sequence[Landscape]) -> str:
    """Return what stands beneath the lowest panel."""
    rounded = {printable(found.survey.dtype) for found in landscapes} - {"float32"}
    return title_of(landscapes[0].axes[0]) + (f"; as rounded to {' or '.join(sorted(rounded))}" if rounded else "")


def _basin(axes: Axes, landscape: Landscape) -> None:
    edges = mean_edges(landscape)
    if edges is None:
        return
    axes.axvspan(*edges, color=_BASIN, linewidth=0, zorder=0.5)
    across = axes.get_xaxis_transform()
    axes.plot(edges, (1.015, 1.015), transform=across, color=STYLES[2].colour, linewidth=2.2, clip_on=False)
    low, high = axes.get_xlim()
    middle = min(max(sum(edges) / 2, low + 0.18 * (high - low)), high - 0.18 * (high - low))
    axes.text(
        middle,
        1.035,
        f"safe basin, {signed(edges[0])} to {signed(edges[1])}",
        transform=across,
        ha="center",
        va="bottom",
        fontsize=7.5,
        color="#00664b",
    )


def _directions(axes: Axes, curves: Sequence[Curve]) -> list[Entry]:
    """One probe: a curve a line, and their mean."""
    alone, many = len(curves) == 1, len(curves) > len(STYLES)
    mean = mean_of(curves)
    begun = [curve for curve in curves if len(curve.samples) > 1 or alone]
    found = []
    for curve in begun:
        style = MANY if many else STYLES[curve.line]
        readings = [Reading(s.x, s.asr, s.low, s.high) for s in curve.samples]
        shown = not many or curve is begun[0]
        label = "each direction" if many else curve.label
        entry = draw_curve(
            axes,
            readings,
            style,
            label if shown else "_",
            band=0.2 if alone else 0.13 if not many else 0.05,
            width=1.9 if alone else 1.0,
        )
        found += [entry] * shown
    if mean:
        (line,) = axes.plot(
            [reading.x for reading in mean],
            [reading.value for reading in mean],
            color=INK,
            linewidth=2.3,
            solid_joinstyle="round",
            label="mean of the directions",
            zorder=4,
            clip_on=False,
        )
        found.append((line, "mean of the directions"))
    return found


def _probes(axes: Axes, landscape: Landscape) -> list[Entry]:
    """Several probes of harmful prompts: a curve each, with its VISAGE in the legend."""
    found = []
    for number, course in enumerate(courses_of(landscape)):
        style = STYLES[number % len(STYLES)]
        metrics = landscape.by_probe.get(course.probe, landscape.metrics)
        said = ", ".join(basin_of(metrics, landscape.safe_below, "visage"))
        label = f"“{shortened(printable(course.probe), 30)}”: {said}"
        found.append(
            draw_curve(axes, course.readings, style, label, band=0.15, width=1.9, dashed=number >= len(STYLES))
        )
    return found


def _strict(axes: Axes, landscape: Landscape) -> list[Entry]:
    """The ASR of which only compliance counts, where the ASR also counts noise."""
    course = strict_course(landscape)
    if course is None or not course.readings:
        return []
    name = f"“{shortened(printable(course.probe), 20)}”: " if landscape.by_probe else ""
    label = f"{name}strict ASR, complied alone"
    for number, piece in enumerate(course.pieces):
        (line,) = axes.plot(
            [reading.x for reading in piece],
            [reading.value for reading in piece],
            color=COMPLIED,
            linewidth=1.4,
            linestyle=(0, (4, 2)),
            label="_" if number else label,
            zorder=4.5,
            clip_on=False,
        )
    return [(line, label)]


def _models(axes: Axes, landscape: Landscape) -> list[Entry]:
    """The models that have a name: the origin, the other one, the checkpoints between."""
    found = []
    samples = [(axis, s) for axis, c in zip(landscape.axes, curves_of(landscape), strict=True) for s in c.samples]
    origins = [sample for _, sample in samples if sample.alpha == 0.0]
    others = [sample for axis, sample in samples if sample.alpha == 1.0 and isinstance(axis, InterpolationAxis)]
    for sample in origins[:1]:
        found.append(stand(axes, sample.x, sample.asr, "o", "origin: the model under test"))
    for sample in others[:1]:
        axes.axvline(sample.x, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1.5)
        found.append(stand(axes, sample.x, sample.asr, "D", "other model"))
    if passed := waypoints_of(landscape):
        places = [(sample.x, sample.asr) for sample in passed]
        found.append(trajectory(axes, places, [1 + (sample.waypoint or 0) for sample in passed]))
    return found
