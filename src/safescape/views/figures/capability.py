"""The panel beneath the lines: what the weights lose, or refuse, beside their safety."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MultipleLocator, NullLocator

from safescape.views.figures.frame import FAINT, INK, SOFT, Entry, dress, strip
from safescape.views.figures.marks import Style, draw_curve
from safescape.views.series.curves import WORST, Course
from safescape.views.text.words import measure_labels

__all__ = ["draw_capability", "perplexity_scale", "rate_scale"]

_STYLES = {
    "over_refusal": Style("#d98200", "s"),
    "accuracy": Style("#009e73", "^"),
    "perplexity": Style("#6a4fa3", "v"),
}


def draw_capability(axes: Axes, courses: Sequence[Course]) -> int:
    """Draw over-refusal and accuracy in percent on the left, perplexity on the right; return the legend's rows."""
    dress(axes)
    labels = measure_labels((course.probe, course.kind) for course in courses)
    rates = [course for course in courses if course.kind != "perplexity"]
    texts = [course for course in courses if course.kind == "perplexity"]
    rate_scale(axes, "Rate (%)")
    entries = [_measure(axes, courses, course, labels[course.probe]) for course in rates]
    if not rates:
        axes.yaxis.set_visible(False)
    if texts:
        right = axes.twinx()
        dress(right)
        right.spines["right"].set_visible(True)
        right.spines["right"].set_color(SOFT)
        entries += [_measure(right, courses, course, f"{labels[course.probe]} (right axis)") for course in texts]
        perplexity_scale(right, "Perplexity", texts)
    columns = min(3, len(entries))
    strip(axes, entries, columns)
    return -(-len(entries) // columns)


def rate_scale(axes: Axes, label: str) -> None:
    """Give a low panel an axis from 0 to 100 percent."""
    axes.set_ylim(-3, 103)
    axes.yaxis.set_major_locator(MultipleLocator(50))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_ylabel(label, fontsize=9, color=INK, labelpad=6)


def perplexity_scale(axes: Axes, label: str, courses: Sequence[Course]) -> None:
    """Give a low panel a logarithmic axis of at least a decade, which ends where a model is worse than guessing."""
    axes.set_yscale("log")
    values = [reading.value for course in courses for reading in course.readings]
    axes.set_ylim(0.7 * min(values), 1.5 * max(*values, 10 * min(values)))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_ylabel(label, fontsize=9, color=INK, labelpad=6)


def _short(value: float) -> str:
    """A perplexity as a tick says it; where the scale ends, it may be more."""
    if value >= WORST:
        return f"≥ {value / 1e6:g}M"
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"


def _measure(axes: Axes, courses: Sequence[Course], course: Course, label: str) -> Entry:
    style = _STYLES[course.kind]
    first = next(other for other in courses if other.kind == course.kind)
    return draw_curve(axes, course.readings, style, label, band=0.15, width=1.5, dashed=course is not first)
