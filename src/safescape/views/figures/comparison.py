"""The pictures of several runs on one scale: over lines a curve per run, over planes a heat map per run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from safescape.landscape import Comparison
from safescape.survey import InterpolationAxis
from safescape.views.figures import sheet
from safescape.views.figures.lines import ASR, INTERVAL, alpha_label, asr_axes, measure_scale
from safescape.views.figures.marks import INK, SOFT, STYLES, Entry, draw_curve
from safescape.views.figures.plane import draw_bar, draw_map
from safescape.views.series.contrast import (
    headline_differences,
    listed,
    measured_in,
    names_of,
    panels_of,
    standing_of,
)
from safescape.views.series.curves import Course, courses_of, is_basin_shown, mean_edges
from safescape.views.series.layers import layers_of
from safescape.views.text.words import heading_of

_LOW, _ABOVE = 0.92, 0.16  # inches, a panel of a measure and the space above it
_BASIN = 0.065  # inches, from the basin of one run to the next
_LARGEST, _GAP = 2.42, 0.24  # inches, the side of a map at most, and the space between two
_NAMES, _BETWEEN = 0.46, 0.28  # inches, the lines above a map, and from there to the row above
_BAR = 0.78  # inches, the colour bar with its numbers


def draw_overlay(comparison: Comparison) -> Figure:
    """Draw ASR over α, a curve per run: the mean over its finished lines, or its only one, with its interval.

    An unfinished run is drawn as far as it was measured; a run without a basin has no VISAGE and no radius.
    """
    landscapes, panels, names = comparison.landscapes, panels_of(comparison), names_of(comparison)
    figure = sheet.new_sheet(sheet.TITLE + ASR)
    axes = figure.add_subplot()
    asr_axes(axes, landscapes)
    band = min(0.15, 0.45 / len(names))  # the bands of many runs overlap
    found: list[Entry] = []
    for number, landscape in enumerate(landscapes):
        label = f"“{names[number]}”: {', '.join(standing_of(landscape))}"
        found.append(_curve(axes, number, courses_of(landscape)[0], label, band))
    if any(isinstance(landscape.axes[0], InterpolationAxis) for landscape in landscapes):
        other = axes.axvline(1.0, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1.5)
        found.append((other, "the model that a run's line leads to"))
    mean = "mean over the directions, with its " if len(landscapes[0].axes) > 1 else ""
    found.append((INTERVAL, f"{mean}95 % interval at a point"))
    basins = _basins(axes, comparison)

    lower, below = len(panels) * (_LOW + _ABOVE), 0.66 + 0.18 * len(found)
    head = sheet.head_height(len(names) - 1) + _BASIN * max(0, basins - 2)
    figure.set_figheight(head + ASR + lower + below)
    sheet.place(figure, axes, sheet.LEFT, below + lower, sheet.PANELS, ASR)
    shown = [axes]
    for row, panel in enumerate(panels, start=1):
        shown[-1].tick_params(labelbottom=False)
        low = figure.add_subplot(sharex=axes)
        label = panel.label[:1].upper() + panel.label[1:]
        measure_scale(low, panel.kind, label, [course for _, course in panel.courses])
        if panel.kind == "perplexity":
            low.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=5))
        low.yaxis.label.set_fontsize(8)
        for number, course in panel.courses:
            _curve(low, number, course, "_", band)
        sheet.place(figure, low, sheet.LEFT, below + lower - row * (_LOW + _ABOVE), sheet.PANELS, _LOW)
        shown.append(low)
    shown[-1].set_xlabel(alpha_label(landscapes), fontsize=9, color=INK, labelpad=5, parse_math=False)
    figure.align_ylabels(shown)
    _finish(figure, comparison, found, 1)
    return figure


def _finish(figure: Figure, comparison: Comparison, entries: Sequence[Entry], columns: int) -> None:
    """Set the legend and the title block."""
    caption, differences = headline_differences(comparison)
    sheet.legend(figure, entries, columns)
    sheet.heading(figure, listed(names_of(comparison), 60), measured_in(comparison))
    sheet.key_figures(figure, differences, caption)


def _curve(axes: Axes, number: int, course: Course, label: str, band: float) -> Entry:
    style = STYLES[number % len(STYLES)]
    entry, *_ = (
        draw_curve(axes, piece, style, "_" if place else label, band=band, number=number)
        for place, piece in enumerate(course.pieces)
    )
    return entry


def _basins(axes: Axes, comparison: Comparison) -> int:
    """Draw above the panel how far the basin of each run reaches, and return how many have one."""
    reaches = [(number, mean_edges(landscape)) for number, landscape in enumerate(comparison.landscapes)]
    shown = [(number, edges) for number, edges in reaches if edges is not None]
    across = axes.get_xaxis_transform()
    safe = "safe " if all(is_basin_shown(comparison.landscapes[number]) for number, _ in shown) else ""
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
        axes.text(
            sum(sum(edges) for _, edges in shown) / (2 * len(shown)),
            1.035 + (len(shown) - 1) * _BASIN / ASR,
            f"{safe}basin of each run" if len(shown) > 1 else f"{safe}basin",
            transform=across,
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=SOFT,
        )
    return len(shown)


def draw_multiples(comparison: Comparison) -> Figure:
    """Draw the ASR of the first probe over both coordinates, run beside run.

    An unfinished run is drawn as far as it was measured. Cells lie at the weights as rounded.
    """
    landscapes, names = comparison.landscapes, names_of(comparison)
    columns = 2 if len(names) in (2, 4) else 3
    rows = -(-len(names) // columns)
    side = min(_LARGEST, (sheet.WIDTH - sheet.LEFT - _BAR - 0.1 - (columns - 1) * _GAP) / columns)
    figure = sheet.new_sheet(sheet.TITLE + side)
    maps = [figure.add_subplot() for _ in names]
    found: dict[str, Entry] = {}
    for axes, landscape in zip(maps, landscapes, strict=True):
        mesh, entries = draw_map(axes, landscape, layers_of(landscape)[0])
        found |= {label: (mark, label) for mark, label in entries if label not in found}
    for name in ("x", "y"):
        # rounded weights, and interpolations that end elsewhere, leave the maps with limits of their own
        limits = [getattr(axes, f"get_{name}lim")() for axes in maps]
        for axes in maps:
            getattr(axes, f"set_{name}lim")(min(low for low, _ in limits), max(high for _, high in limits))

    foot, every = 0.24 + 0.18 * -(-len(found) // 3) + 0.46, side + _NAMES + _BETWEEN
    tall, wide = rows * every - _NAMES - _BETWEEN, columns * (side + _GAP) - _GAP
    figure.set_figheight(foot + tall + _NAMES + sheet.head_height(len(names) - 1) - 0.22)
    for number, axes in enumerate(maps):
        row, column = divmod(number, columns)
        sheet.place(figure, axes, sheet.LEFT + column * (side + _GAP), foot + (rows - 1 - row) * every, side, side)
        axes.tick_params(labelbottom=number + columns >= len(names), labelleft=column == 0, labelsize=7.5, pad=2)
        _titled(figure, axes, side, names[number], standing_of(landscapes[number]))
    draw_bar(figure, mesh, sheet.LEFT + wide + 0.12, foot, tall, "Attack success rate (%)")
    how: dict[str, Any] = {"fontsize": 8.5, "color": INK, "parse_math": False}
    height = figure.get_figheight()
    figure.text(
        (sheet.LEFT + wide / 2) / sheet.WIDTH, (foot - 0.42) / height, _axis_name(comparison, 0), ha="center", **how
    )
    how |= {"rotation": 90, "va": "center"}
    figure.text(0.05 / sheet.WIDTH, (foot + tall / 2) / height, _axis_name(comparison, 1), **how)
    _finish(figure, comparison, list(found.values()), 3)
    return figure


def _titled(figure: Figure, axes: Axes, side: float, name: str, said: Sequence[str]) -> None:
    """Set the name of a run above its map and, beneath it, its figures, one per line."""
    lines = [(name, 8.5, "bold", INK), *((line, 7.0, "normal", SOFT) for line in said)]
    for number, (line, size, weight, colour) in enumerate(lines):
        text = axes.annotate(
            "",
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 27 - 10.5 * number),
            textcoords="offset points",
            fontsize=size,
            fontweight=weight,
            color=colour,
            parse_math=False,
        )
        sheet.fit(figure, text, line, side)


def _axis_name(comparison: Comparison, place: int) -> str:
    """The title of an axis; its sign alone if the directions of the runs differ."""
    said = {heading_of(place, landscape.axes) for landscape in comparison.landscapes}
    return said.pop() if len(said) == 1 else "αβ"[place]
