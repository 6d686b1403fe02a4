"""The picture of several runs over lines: one curve a run on one scale, and beneath it what else was measured."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from safescape.landscape import Comparison
from safescape.survey import InterpolationAxis
from safescape.views.figures.capability import perplexity_scale, rate_scale
from safescape.views.figures.frame import (
    CAPTION,
    INK,
    LEFT,
    RIGHT,
    ROW,
    SOFT,
    TITLE,
    WIDTH,
    Entry,
    dress,
    heading,
    key_figures,
    legend,
    place,
    sheet,
)
from safescape.views.figures.lines import ASR, alpha_label, asr_panel
from safescape.views.figures.marks import STYLES, draw_curve
from safescape.views.series.contrast import (
    Panel,
    headline_differences,
    listed,
    measured_in,
    names_of,
    panels_of,
    standing_of,
)
from safescape.views.series.curves import Course, courses_of, mean_edges

__all__ = ["draw_overlay"]

_LOW, _GAP = 0.92, 0.16  # inches, a panel of a measure and the space above it
_BASIN = 0.065  # inches, from one run's basin to the next


def draw_overlay(comparison: Comparison) -> Figure:
    """Draw ASR over α, a curve a run: the mean over its finished lines, or its only one, with its interval.

    An unfinished run is drawn as far as it was measured; a run without a basin has no VISAGE and no radius.
    """
    landscapes, panels, names = comparison.landscapes, panels_of(comparison), names_of(comparison)
    figure = sheet(TITLE + ASR)
    axes = figure.add_subplot()
    asr_panel(axes, landscapes)
    band = min(0.15, 0.45 / len(names))  # of many runs the bands lie on each other
    found: list[Entry] = []
    for number, landscape in enumerate(landscapes):
        label = f"“{names[number]}”: {', '.join(standing_of(landscape))}"
        found.append(_curve(axes, number, courses_of(landscape)[0], label, band))
    if any(isinstance(landscape.axes[0], InterpolationAxis) for landscape in landscapes):
        other = axes.axvline(1.0, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1.5)
        found.append((other, "the model that a run's line leads to"))
    mean = "mean over the directions, with its " if len(landscapes[0].axes) > 1 else ""
    found.append((Patch(color=SOFT, alpha=0.25, linewidth=0), f"{mean}95 % interval at a point"))
    basins = _basins(axes, comparison)

    lower = len(panels) * (_LOW + _GAP)
    below = 0.66 + 0.18 * len(found)
    caption, differences = headline_differences(comparison)
    head = TITLE + CAPTION + ROW * ((len(differences) - 1) // 3) + _BASIN * max(0, basins - 2)
    figure.set_figheight(head + ASR + lower + below)
    bottom, shown = axes, [axes]
    place(figure, axes, LEFT, below + lower, WIDTH - LEFT - RIGHT, ASR)
    for row, panel in enumerate(panels, start=1):
        bottom.tick_params(labelbottom=False)
        bottom = _measure(figure.add_subplot(sharex=axes), panel, band)
        place(figure, bottom, LEFT, below + lower - row * (_LOW + _GAP), WIDTH - LEFT - RIGHT, _LOW)
        shown.append(bottom)
    bottom.set_xlabel(alpha_label(landscapes), fontsize=9, color=INK, labelpad=5, parse_math=False)
    figure.align_ylabels(shown)
    legend(figure, found, 1)
    heading(figure, listed(names, 60), measured_in(comparison))
    key_figures(figure, differences, caption)
    return figure


def _measure(axes: Axes, panel: Panel, band: float) -> Axes:
    dress(axes)
    label = panel.label[:1].upper() + panel.label[1:]
    if panel.kind == "perplexity":
        perplexity_scale(axes, label, [course for _, course in panel.courses])
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=5))
    else:
        rate_scale(axes, f"{label} (%)")
    axes.yaxis.label.set_fontsize(8)
    for number, course in panel.courses:
        _curve(axes, number, course, "_", band)
    return axes


def _curve(axes: Axes, number: int, course: Course, label: str, band: float) -> Entry:
    style, dashed = STYLES[number % len(STYLES)], number >= len(STYLES)
    entry, *_ = (
        draw_curve(axes, piece, style, "_" if place else label, band=band, width=1.9, dashed=dashed)
        for place, piece in enumerate(course.pieces)
    )
    return entry


def _basins(axes: Axes, comparison: Comparison) -> int:
    """Draw above the panel how far each run's basin reaches, and return how many have one."""
    reaches = [(number, mean_edges(landscape)) for number, landscape in enumerate(comparison.landscapes)]
    shown = [(number, edges) for number, edges in reaches if edges is not None]
    across = axes.get_xaxis_transform()
    for row, (number, edges) in enumerate(reversed(shown)):
        axes.plot(
            edges,
            (1.015 + row * _BASIN / ASR,) * 2,
            transform=across,
            color=STYLES[number % len(STYLES)].colour,
            linewidth=2.2,
            linestyle="--" if number >= len(STYLES) else "-",
            clip_on=False,
        )
    if shown:
        middle = sum(sum(edges) for _, edges in shown) / (2 * len(shown))
        axes.text(
            middle,
            1.035 + (len(shown) - 1) * _BASIN / ASR,
            "safe basin of each run" if len(shown) > 1 else "safe basin",
            transform=across,
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=SOFT,
        )
    return len(shown)
