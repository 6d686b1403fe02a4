"""The picture of lines through the origin: ASR over α; beneath it, panels of outcomes, over-refusal and capability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator

from safescape.landscape import Landscape
from safescape.views.figures import marks, sheet
from safescape.views.series import curves, samples
from safescape.views.series.outcomes import Shares, keyword_course, seen_by, shares_of, strict_course
from safescape.views.text.words import basin_of, limit_label, printable, short_heading_of, shortened, signed, title_of

ASR = 2.46  # inches, the height of the panel of the ASR
STEPS = (1, 2, 2.5, 5, 10)  # between ticks on paper, so that a model at α = 1 has one
INTERVAL = Patch(color=marks.SOFT, alpha=0.25, linewidth=0)
_OUTCOMES, _MEASURES = 1.2, 1.3  # inches, the heights of the panels beneath it
_BAR = 0.065 / ASR  # from the bar of one basin above the panel to the next
_MEASURE_STYLES = {
    "over_refusal": marks.Style("#d98200", "s"),
    "accuracy": marks.Style("#009e73", "^"),
    "perplexity": marks.Style("#6a4fa3", "v"),
    "margin": marks.Style("#0072b2", "D"),
}


def draw_lines(landscape: Landscape) -> Figure:
    """Draw ASR over α, line by line or probe by probe, with the basin, the threshold and the figures.

    If a judge tells noise from compliance, a panel beneath shows the outcomes of the first probe. An unfinished run is
    drawn as far as it was measured. Without a basin the picture has no radius, which means nothing there.
    """
    figure = sheet.new_sheet(sheet.TITLE + ASR)
    axes = figure.add_subplot()
    asr_axes(axes, [landscape])
    if (edges := curves.mean_edges(landscape)) is not None:
        is_shown = curves.is_basin_shown(landscape)
        axes.axvspan(*edges, color=marks.BASINS[is_shown], linewidth=0, zorder=0.5)
        said = f"{'safe ' if is_shown else ''}basin, {signed(edges[0])} to {signed(edges[1])}"
        tone = marks.TONES["safe" if is_shown else "open"]
        draw_basins(axes, [(edges, tone, "-")], said, tone)
    found = draw_asr(axes, landscape)
    if found:
        found.append((INTERVAL, "95 % interval at a point"))
    panels = [(axes, ASR, 0.0)]
    if shares := shares_of(landscape):
        panel = figure.add_subplot(sharex=axes)
        _rate_scale(panel, "Answers (%)", 50)
        panel.set_ylim(0, 100)
        panel.grid(visible=False)
        entries = paint_areas(panel, shares)
        sheet.strip(panel, entries, len(entries))
        name = panel.set_title("", fontsize=8.5, color=marks.INK, loc="left", pad=18, parse_math=False)
        judge, shown = seen_by(landscape)
        sheet.fit(figure, name, f"What the answers are, as the “{judge}", sheet.PANELS, f"” judge sees them{shown}")
        panels.append((panel, _OUTCOMES, 0.18 + 0.2 + 0.18))
    measures = curves.measure_courses(landscape)
    for drawn, draw_beneath in (
        ([course for course in measures if course.kind != "margin"], _draw_measures),
        ([course for course in measures if course.kind == "margin"], _draw_margins),
    ):
        if drawn:
            panel = figure.add_subplot(sharex=axes)
            panels.append((panel, _MEASURES, 0.18 + 0.18 * draw_beneath(panel, drawn)))
    columns = 2 if len(curves.courses_of(landscape)) > 1 else 3
    foot = 0.66 + 0.18 * max(2, -(-len(found) // columns))
    sheet.stack(figure, panels, sheet.TITLE, foot, alpha_label([landscape]))
    sheet.legend(figure, found, columns)
    sheet.title(figure, landscape)
    return figure


def asr_axes(axes: Axes, landscapes: Sequence[Landscape], look: marks.Look = marks.PICTURE) -> None:
    """Give a panel axes on which all of these landscapes fit; in a picture with the threshold of the first one."""
    _rate_scale(axes, "Attack success rate (%)", 25, look)
    axes.set_xlim(*curves.limits_of(landscapes))
    if look.paper:
        sheet.name_axes(axes, short_heading_of(0, landscapes[0].axes), "ASR (%)", look.text)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
        return
    # all runs of a comparison that have a basin are held against one threshold
    limit = next((landscape.limit for landscape in landscapes if landscape.has_basin), landscapes[0].limit)
    axes.axhline(limit.value, color=marks.SOFT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
    place: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
    font: dict[str, Any] = {"fontsize": 7, "color": marks.SOFT, "linespacing": 1.15}
    axes.annotate(limit_label(limit), (1, limit.value), xycoords=("axes fraction", "data"), **place, **font)


def alpha_label(landscapes: Sequence[Landscape]) -> str:
    """Return the title of the lowest panel's α axis."""
    rounded = {printable(found.survey.dtype) for found in landscapes} - {"float32"}
    return title_of(landscapes[0].axes[0]) + (f"; as rounded to {' or '.join(sorted(rounded))}" if rounded else "")


def draw_basins(
    axes: Axes, bars: Sequence[tuple[tuple[float, float], str, str]], label: str, colour: str = marks.SOFT
) -> float:
    """Draw above a panel how far basins reach, and a label over the middle.

    `bars` has (edges, colour, line style) of each basin, from the lowest bar. Returns the height in inches by which the
    bars need more room than two.
    """
    across = axes.get_xaxis_transform()
    for row, (edges, bar, style) in enumerate(bars):
        axes.plot(edges, (1.015 + row * _BAR,) * 2, transform=across, color=bar, lw=2.2, linestyle=style, clip_on=False)
    if bars:
        low, high = axes.get_xlim()
        inset = 0.18 * (high - low)
        middle = min(max(sum(sum(edges) for edges, *_ in bars) / (2 * len(bars)), low + inset), high - inset)
        top = 1.035 + (len(bars) - 1) * _BAR
        axes.text(middle, top, label, transform=across, ha="center", va="bottom", fontsize=7.5, color=colour)
    return _BAR * ASR * max(0, len(bars) - 2)


def draw_asr(axes: Axes, landscape: Landscape, look: marks.Look = marks.PICTURE) -> list[marks.Entry]:
    """Draw the ASR over α: every direction and their mean, or a curve per probe; the strict ASR; the named models."""
    several = len(curves.courses_of(landscape)) > 1
    found = _draw_probes(axes, landscape, look) if several else _draw_directions(axes, landscape, look)
    if look.paper and found:
        found.append((INTERVAL, "95 % interval"))
    if strict := strict_course(landscape):
        name = f"“{shortened(printable(strict.probe), 20)}”: " if landscape.by_probe else ""
        label = "complied alone" if look.paper else f"{name}strict ASR, complied alone"
        found.append((_draw_dashed(axes, strict, marks.COMPLIED, label, look), label))
    if beside := keyword_course(landscape):
        label = "keyword judge" if look.paper else "ASR by the keyword judge"
        found.append((_draw_dashed(axes, beside, marks.SOFT, label, look), label))
    if not look.paper and (other := samples.other_model(landscape)):
        axes.axvline(other.x, color=marks.SOFT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1.5)
    return found + marks.draw_models(axes, landscape, lambda sample: (sample.x, sample.asr), look)


def _draw_dashed(axes: Axes, course: curves.Course, colour: str, label: str, look: marks.Look) -> Line2D:
    """Draw a second ASR beside the curves, without its intervals."""
    for number, piece in enumerate(course.pieces):
        (line,) = axes.plot(
            [reading.x for reading in piece],
            [reading.value for reading in piece],
            color=colour,
            linewidth=1.1 if look.paper else 1.4,
            linestyle=(0, (1.5, 1)) if look.paper else (0, (4, 2)),
            label="_" if number else label,
            zorder=4.5,
            clip_on=False,
        )
    return line


def _draw_directions(axes: Axes, landscape: Landscape, look: marks.Look) -> list[marks.Entry]:
    """One probe: a curve per line, and their mean. Beyond four lines they look alike."""
    lines = curves.curves_of(landscape)
    alone, many = len(lines) == 1, len(lines) > len(marks.STYLES)
    begun = [curve for curve in lines if len(curve.samples) > 1 or alone]
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
    if mean := curves.mean_of(lines):
        label, band = ("mean", 0.16) if look.paper else ("mean of the directions", 0.0)
        style = marks.Style(marks.INK, "")
        found.append(marks.draw_curve(axes, mean, style, label, look=look, band=band, width=look.mean))
    return found


def _draw_probes(axes: Axes, landscape: Landscape, look: marks.Look) -> list[marks.Entry]:
    """Several probes of harmful prompts: a curve each, in a picture with its VISAGE in the legend."""
    found = []
    for number, course in enumerate(curves.courses_of(landscape)):
        label = f"“{shortened(printable(course.probe), 22 if look.paper else 30)}”"
        if not look.paper:
            metrics = landscape.by_probe.get(course.probe, landscape.metrics)
            limit = landscape.limit_of(course.probe) if course.probe in landscape.by_probe else landscape.limit
            label += f": {', '.join(basin_of(metrics, limit, 'visage'))}"
        style = marks.STYLES[number % len(marks.STYLES)]
        found.append(marks.draw_curve(axes, course.readings, style, label, look=look, band=0.15, number=number))
    return found


def paint_areas(axes: Axes, pieces: Sequence[Shares]) -> list[marks.Entry]:
    """Paint the shares of the outcomes over α, stacked, compliance lowest; return the lines of their legend."""
    found: dict[str, marks.Entry] = {}
    for piece in pieces:
        stack = axes.stackplot(piece.x, *piece.percent.values(), labels=[outcome.value for outcome in piece.percent])
        for area, outcome in zip(stack, piece.percent, strict=True):
            colour, hatch = marks.OUTCOME_STYLES[outcome]
            how: dict[str, Any] = {"facecolor": colour, "hatch": hatch, "edgecolor": marks.SOFT, "linewidth": 0.4}
            area.set(**how)
            found[outcome] = Patch(**how), outcome.value
    return list(found.values())


def _draw_measures(axes: Axes, courses: Sequence[curves.Course]) -> int:
    """Draw over-refusal and accuracy in percent on the left, perplexity on the right; return the legend's rows."""
    texts = [course for course in courses if course.kind == "perplexity"]
    _rate_scale(axes, "Rate (%)", 50)
    if len(texts) == len(courses):
        axes.yaxis.set_visible(False)
    right = axes.twinx() if texts else axes
    if texts:
        measure_scale(right, "perplexity", "Perplexity", texts)
        right.spines["right"].set(visible=True, color=marks.SOFT)
    rates = [course for course in courses if course.kind != "perplexity"]
    return _legend(axes, [*_draw_courses(axes, rates), *_draw_courses(right, texts, " (right axis)")])


def _draw_margins(axes: Axes, courses: Sequence[curves.Course]) -> int:
    """Draw refusal margins, with a line where refusing and complying are equally likely; return the legend's rows."""
    measure_scale(axes, "margin", "Margin", courses)
    return _legend(axes, _draw_courses(axes, courses))


def _draw_courses(axes: Axes, courses: Sequence[curves.Course], where: str = "") -> list[marks.Entry]:
    """Draw measures with their intervals; `where` stands behind their labels. The first of a kind has a solid line."""
    entries = []
    for course in courses:
        first = next(other for other in courses if other.kind == course.kind)
        number = 0 if course is first else len(marks.STYLES)
        style, label = _MEASURE_STYLES[course.kind], course.label + where
        entries.append(marks.draw_curve(axes, course.readings, style, label, band=0.15, width=1.5, number=number))
    return entries


def _legend(axes: Axes, entries: Sequence[marks.Entry]) -> int:
    """Set the legend of a low panel above it, and return its number of rows."""
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


def measure_scale(axes: Axes, kind: str, label: str, courses: Sequence[curves.Course]) -> None:
    """Give a low panel the scale of a measure.

    That is percent, for a perplexity a logarithmic axis of at least a decade, and for a margin nats on both sides of 0.
    """
    if kind == "margin":
        sheet.dress(axes)
        ends = [end for course in courses for reading in course.readings for end in (reading.low, reading.high)]
        low, high = min(*ends, -0.5), max(*ends, 0.5)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.yaxis.set_major_locator(MaxNLocator(3, steps=STEPS))
        axes.grid(axis="y", color=marks.FAINT, linewidth=0.6)
        axes.axhline(0.0, color=marks.SOFT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
        axes.set_ylabel(f"{label} (nats)", fontsize=9, color=marks.INK, labelpad=6)
        return
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
    if value >= curves.WORST:
        return f"≥ {value / 1e6:g}M"
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
