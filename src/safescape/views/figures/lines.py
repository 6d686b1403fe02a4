"""The picture of lines through the origin: ASR over α; beneath it, panels of outcomes, over-refusal and capability."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator

from safescape.landscape import Landscape
from safescape.survey import InterpolationAxis
from safescape.views.figures import marks, sheet
from safescape.views.series.curves import (
    WORST,
    Course,
    courses_of,
    curves_of,
    is_basin_shown,
    limits_of,
    mean_edges,
    mean_of,
    measure_courses,
)
from safescape.views.series.outcomes import Shares, seen_by, shares_of, strict_course
from safescape.views.text.words import basin_of, measure_labels, printable, shortened, signed, title_of

ASR = 2.46  # inches, the height of the panel of the ASR
_OUTCOMES, _MEASURES = 1.2, 1.3  # inches, the heights of the panels beneath it
_STEPS = (1, 2, 2.5, 5, 10)  # between ticks on paper, so that a model at α = 1 has one

INTERVAL = Patch(color=marks.SOFT, alpha=0.25, linewidth=0)

_MEASURE_STYLES = {
    "over_refusal": marks.Style("#d98200", "s"),
    "accuracy": marks.Style("#009e73", "^"),
    "perplexity": marks.Style("#6a4fa3", "v"),
}


def draw_lines(landscape: Landscape) -> Figure:
    """Draw ASR over α, line by line or probe by probe, with the basin, the threshold and the figures.

    If a judge tells noise from compliance, a panel beneath shows the outcomes of the first probe. An unfinished run is
    drawn as far as it was measured. Without a basin the picture has no VISAGE and no radius, which mean nothing there.
    """
    measures, several, shares = measure_courses(landscape), len(courses_of(landscape)) > 1, shares_of(landscape)
    figure = sheet.new_sheet(sheet.TITLE + ASR)
    axes = figure.add_subplot()
    asr_axes(axes, [landscape])
    _basin(axes, landscape)
    found = draw_asr(axes, landscape)
    if found:
        found.append((INTERVAL, "95 % interval at a point"))
    # the panels beneath, from the uppermost: (panel, its height, the height of its legend and title)
    beneath: list[tuple[Axes, float, float]] = []
    if shares:
        panel = figure.add_subplot(sharex=axes)
        _rate_scale(panel, "Answers (%)", 50)
        panel.set_ylim(0, 100)
        panel.grid(visible=False)
        entries = paint_areas(panel, shares)
        sheet.strip(panel, entries, len(entries))
        beneath.append((panel, _OUTCOMES, 0.18 + 0.2 + 0.18))
    if measures:
        panel = figure.add_subplot(sharex=axes)
        beneath.append((panel, _MEASURES, 0.18 + 0.18 * _draw_measures(panel, measures)))
    columns = 2 if several else 3
    below = 0.66 + 0.18 * max(2, -(-len(found) // columns))
    bottom = below + sum(height + head for _, height, head in beneath)
    figure.set_figheight(sheet.TITLE + ASR + bottom)
    sheet.place(figure, axes, sheet.LEFT, bottom, sheet.PANELS, ASR)
    lowest = axes
    for panel, height, head in beneath:
        lowest.tick_params(labelbottom=False)
        lowest, bottom = panel, bottom - height - head
        sheet.place(figure, panel, sheet.LEFT, bottom, sheet.PANELS, height)
    if shares:
        name = beneath[0][0].set_title("", fontsize=8.5, color=marks.INK, loc="left", pad=18, parse_math=False)
        judge, shown = seen_by(landscape)
        sheet.fit(figure, name, f"What the answers are, as the “{judge}", sheet.PANELS, f"” judge sees them{shown}")
    lowest.set_xlabel(alpha_label([landscape]), fontsize=9, color=marks.INK, labelpad=5, parse_math=False)
    sheet.legend(figure, found, columns)
    sheet.title(figure, landscape)
    return figure


def asr_axes(axes: Axes, landscapes: Sequence[Landscape], look: marks.Look = marks.PICTURE) -> None:
    """Give a panel axes on which all of these landscapes fit; in a picture with the threshold of the first one."""
    _rate_scale(axes, "Attack success rate (%)", 25, look)
    axes.set_xlim(*limits_of(landscapes))
    if look.paper:
        between = isinstance(landscapes[0].axes[0], InterpolationAxis)
        alpha = "α (0: origin, 1: other model)" if between else "α (1: the weights’ own norm)"
        sheet.name_axes(axes, alpha, "ASR (%)", look.text)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        return
    safe_below = landscapes[0].safe_below
    axes.axhline(safe_below, color=marks.SOFT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
    axes.annotate(
        f"unsafe\nabove {safe_below:g} %",
        (1, safe_below),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        color=marks.SOFT,
        linespacing=1.15,
    )


def alpha_label(landscapes: Sequence[Landscape]) -> str:
    """Return the title of the lowest panel's α axis."""
    rounded = {printable(found.survey.dtype) for found in landscapes} - {"float32"}
    return title_of(landscapes[0].axes[0]) + (f"; as rounded to {' or '.join(sorted(rounded))}" if rounded else "")


def draw_asr(axes: Axes, landscape: Landscape, look: marks.Look = marks.PICTURE) -> list[marks.Entry]:
    """Draw the ASR over α: every direction and their mean, or a curve per probe; the strict ASR; the named models."""
    several = len(courses_of(landscape)) > 1
    found = _draw_probes(axes, landscape, look) if several else _draw_directions(axes, landscape, look)
    if look.paper and found:
        found.append((INTERVAL, "95 % interval"))
    if strict := strict_course(landscape):
        name = f"“{shortened(printable(strict.probe), 20)}”: " if landscape.by_probe else ""
        label = "complied alone" if look.paper else f"{name}strict ASR, complied alone"
        for number, piece in enumerate(strict.pieces):
            (line,) = axes.plot(
                [reading.x for reading in piece],
                [reading.value for reading in piece],
                color=marks.COMPLIED,
                linewidth=1.1 if look.paper else 1.4,
                linestyle=(0, (1.5, 1)) if look.paper else (0, (4, 2)),
                label="_" if number else label,
                zorder=4.5,
                clip_on=False,
            )
        found.append((line, label))
    for sample, marker, label in marks.named_models(landscape):
        if look.paper and not isinstance(landscape.axes[0], InterpolationAxis):
            continue
        if sample.alpha and not look.paper:
            axes.axvline(sample.x, color=marks.SOFT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1.5)
        found.append(marks.mark_model(axes, sample.x, sample.asr, marker, label, look))
    return found + marks.draw_trajectory(axes, landscape, look)


def _draw_directions(axes: Axes, landscape: Landscape, look: marks.Look) -> list[marks.Entry]:
    """One probe: a curve per line, and their mean. Beyond four lines they look alike."""
    curves = curves_of(landscape)
    alone, many = len(curves) == 1, len(curves) > len(marks.STYLES)
    begun = [curve for curve in curves if len(curve.samples) > 1 or alone]
    found = []
    for curve in begun:
        label = f"direction {curve.line + 1}" if look.paper else curve.label
        label = "each direction" if many else "ASR" if look.paper and alone else label
        shown = not many or curve is begun[0]
        entry = marks.draw_curve(
            axes,
            list(curve.readings.values()),
            marks.MANY._replace(marker="" if look.paper else marks.MANY.marker) if many else marks.STYLES[curve.line],
            label if shown else "_",
            look=look,
            band=0.2 if alone else 0.0 if look.paper else 0.05 if many else 0.13,
            width=look.alone if alone else 0.5 * look.mean if look.paper and many else look.one_of,
            number=0 if many or not look.paper else curve.line,
        )
        found += [entry] * shown
    if mean := mean_of(curves):
        label, band = ("mean", 0.16) if look.paper else ("mean of the directions", 0.0)
        found.append(
            marks.draw_curve(axes, mean, marks.Style(marks.INK, ""), label, look=look, band=band, width=look.mean)
        )
    return found


def _draw_probes(axes: Axes, landscape: Landscape, look: marks.Look) -> list[marks.Entry]:
    """Several probes of harmful prompts: a curve each, in a picture with its VISAGE in the legend."""
    found = []
    for number, course in enumerate(courses_of(landscape)):
        label = f"“{shortened(printable(course.probe), 22 if look.paper else 30)}”"
        if not look.paper:
            metrics = landscape.by_probe.get(course.probe, landscape.metrics)
            label += f": {', '.join(basin_of(metrics, landscape.safe_below, 'visage'))}"
        style = marks.STYLES[number % len(marks.STYLES)]
        found.append(marks.draw_curve(axes, course.readings, style, label, look=look, band=0.15, number=number))
    return found


def _basin(axes: Axes, landscape: Landscape) -> None:
    """Shade the basin, and name it above the panel."""
    edges = mean_edges(landscape)
    if edges is None:
        return
    shown, across = is_basin_shown(landscape), axes.get_xaxis_transform()
    axes.axvspan(*edges, color=marks.BASINS[shown], linewidth=0, zorder=0.5)
    colour = marks.STYLES[2].colour if shown else marks.SOFT
    axes.plot(edges, (1.015, 1.015), transform=across, color=colour, linewidth=2.2, clip_on=False)
    low, high = axes.get_xlim()
    middle = min(max(sum(edges) / 2, low + 0.18 * (high - low)), high - 0.18 * (high - low))
    axes.text(
        middle,
        1.035,
        f"{'safe ' if shown else ''}basin, {signed(edges[0])} to {signed(edges[1])}",
        transform=across,
        ha="center",
        va="bottom",
        fontsize=7.5,
        color=marks.TONES["safe" if shown else "open"],
    )


def paint_areas(axes: Axes, pieces: Sequence[Shares]) -> list[marks.Entry]:
    """Paint the shares of the outcomes over α, stacked, compliance lowest; return the lines of their legend."""
    for piece in pieces:
        stack = axes.stackplot(
            piece.x,
            *piece.percent.values(),
            colors=[marks.OUTCOME_STYLES[outcome][0] for outcome in piece.percent],
            labels=[outcome.value for outcome in piece.percent],
        )
        for area, outcome in zip(stack, piece.percent, strict=True):
            area.set(hatch=marks.OUTCOME_STYLES[outcome][1], edgecolor=marks.SOFT, linewidth=0.4)
    found: list[marks.Entry] = []
    for outcome in pieces[0].percent:
        colour, hatch = marks.OUTCOME_STYLES[outcome]
        found.append((Patch(facecolor=colour, hatch=hatch, edgecolor=marks.SOFT, linewidth=0.4), outcome.value))
    return found


def _draw_measures(axes: Axes, courses: Sequence[Course]) -> int:
    """Draw over-refusal and accuracy in percent on the left, perplexity on the right; return the legend's rows."""
    labels = measure_labels((course.probe, course.kind) for course in courses)
    texts = [course for course in courses if course.kind == "perplexity"]
    _rate_scale(axes, "Rate (%)", 50)
    if len(texts) == len(courses):
        axes.yaxis.set_visible(False)
    right = axes.twinx() if texts else axes
    if texts:
        measure_scale(right, "perplexity", "Perplexity", texts)
        right.spines["right"].set_visible(True)
        right.spines["right"].set_color(marks.SOFT)
    entries = []
    for course in sorted(courses, key=lambda course: course.kind == "perplexity"):
        on_right = course.kind == "perplexity"
        label = labels[course.probe] + (" (right axis)" if on_right else "")
        first = next(other for other in courses if other.kind == course.kind)
        entries.append(
            marks.draw_curve(
                right if on_right else axes,
                course.readings,
                _MEASURE_STYLES[course.kind],
                label,
                band=0.15,
                width=1.5,
                number=0 if course is first else len(marks.STYLES),
            )
        )
    columns = min(3, len(entries))
    sheet.strip(axes, entries, columns)
    return -(-len(entries) // columns)


def _rate_scale(axes: Axes, label: str, ticks: float, look: marks.Look = marks.PICTURE) -> None:
    """Give a panel an axis from 0 to 100 percent."""
    sheet.dress(axes, look.small)
    axes.set_ylim(-3, 103)
    axes.yaxis.set_major_locator(MultipleLocator(ticks))
    axes.grid(axis="y", color=marks.FAINT, linewidth=0.6)
    axes.set_ylabel(label, fontsize=9, color=marks.INK, labelpad=6)


def measure_scale(axes: Axes, kind: str, label: str, courses: Sequence[Course]) -> None:
    """Give a low panel the scale of a measure: percent, or for a perplexity a logarithmic axis of at least a decade."""
    if kind != "perplexity":
        _rate_scale(axes, f"{label} (%)", 50)
        return
    sheet.dress(axes)
    axes.set_yscale("log")
    values = [reading.value for course in courses for reading in course.readings]
    axes.set_ylim(0.7 * min(values), 1.5 * max(*values, 10 * min(values)))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_ylabel(label, fontsize=9, color=marks.INK, labelpad=6)


def _short(value: float) -> str:
    """A perplexity as a tick label; at the end of the scale it may be more."""
    if value >= WORST:
        return f"≥ {value / 1e6:g}M"
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
