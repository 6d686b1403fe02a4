"""The pictures of several runs on one scale: over lines a curve per run, over planes a heat map per run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from safescape.landscape import Comparison
from safescape.survey import InterpolationAxis
from safescape.views.figures import lines, sheet
from safescape.views.figures.marks import INK, SOFT, STYLES, Entry, draw_curve
from safescape.views.figures.plane import draw_bar, draw_map
from safescape.views.series import curves, planes
from safescape.views.text import comparison as words

_LOW, _ABOVE = 0.92, 0.16  # inches, a panel of a measure and the space above it
_LARGEST, _GAP = 2.42, 0.24  # inches, the side of a map at most, and the space between two
_NAMES, _BETWEEN = 0.46, 0.28  # inches, the lines above a map, and from there to the row above
_BAR = 0.78  # inches, the colour bar with its numbers


def draw_overlay(comparison: Comparison) -> Figure:
    """Draw ASR over α, a curve per run: the mean over its finished lines, or its only one, with its interval.

    An unfinished run is drawn as far as it was measured; a run without a basin has no VISAGE and no radius.
    """
    landscapes, names = comparison.landscapes, words.names_of(comparison)
    figure = sheet.new_sheet(sheet.TITLE + lines.ASR)
    axes = figure.add_subplot()
    lines.asr_axes(axes, landscapes)
    band = min(0.15, 0.45 / len(names))  # the bands of many runs overlap
    found: list[Entry] = []
    for number, landscape in enumerate(landscapes):
        label = f"“{names[number]}”: {', '.join(words.standing_of(landscape))}"
        found.append(_curve(axes, number, curves.courses_of(landscape)[0], label, band))
    if any(isinstance(landscape.axes[0], InterpolationAxis) for landscape in landscapes):
        other = axes.axvline(1.0, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1.5)
        found.append((other, "the model that a run's line leads to"))
    mean = "mean over the directions, with its " if len(landscapes[0].axes) > 1 else ""
    found.append((lines.INTERVAL, f"{mean}95 % interval at a point"))

    panels = [(axes, lines.ASR, 0.0)]
    for panel in curves.panels_of(landscapes):
        low = figure.add_subplot(sharex=axes)
        label = panel.label[:1].upper() + panel.label[1:]
        lines.measure_scale(low, panel.kind, label, panel.runs)
        if panel.kind == "perplexity":
            low.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=5))
        low.yaxis.label.set_fontsize(8)
        for course in panel.runs:
            _curve(low, course.run, course, "_", band)
        panels.append((low, _LOW, _ABOVE))
    head = sheet.head_height(len(names) - 1) + _draw_basins(axes, comparison)
    sheet.stack(figure, panels, head, 0.66 + 0.18 * len(found), lines.alpha_label(landscapes))
    figure.align_ylabels([panel for panel, *_ in panels])
    _finish(figure, comparison, found, 1)
    return figure


def _finish(figure: Figure, comparison: Comparison, entries: Sequence[Entry], columns: int) -> None:
    """Set the legend and the title block."""
    caption, differences = words.headline_differences(comparison)
    sheet.legend(figure, entries, columns)
    sheet.heading(figure, words.listed(words.names_of(comparison), 60), words.measured_in(comparison))
    sheet.key_figures(figure, differences, caption)


def _curve(axes: Axes, number: int, course: curves.Course, label: str, band: float) -> Entry:
    style = STYLES[number % len(STYLES)]
    entry, *_ = (
        draw_curve(axes, piece, style, "_" if place else label, band=band, number=number)
        for place, piece in enumerate(course.pieces)
    )
    return entry


def _draw_basins(axes: Axes, comparison: Comparison) -> float:
    """Draw how far the basin of each run reaches, the first run on top."""
    bars, are_shown = [], True
    for number, landscape in enumerate(comparison.landscapes):
        if (edges := curves.mean_edges(landscape)) is not None:
            bars.append((edges, STYLES[number % len(STYLES)].colour, "--" if number >= len(STYLES) else "-"))
            are_shown = are_shown and curves.is_basin_shown(landscape)
    label = ("safe " if are_shown else "") + ("basin of each run" if len(bars) > 1 else "basin")
    return lines.draw_basins(axes, bars[::-1], label)


def draw_multiples(comparison: Comparison) -> Figure:
    """Draw the ASR of the first probe over both coordinates, run beside run.

    An unfinished run is drawn as far as it was measured. Cells lie at the weights as rounded.
    """
    landscapes, names = comparison.landscapes, words.names_of(comparison)
    columns = 2 if len(names) in (2, 4) else 3
    rows = -(-len(names) // columns)
    side = min(_LARGEST, (sheet.WIDTH - sheet.LEFT - _BAR - 0.1 - (columns - 1) * _GAP) / columns)
    figure = sheet.new_sheet(sheet.TITLE + side)
    maps = [figure.add_subplot() for _ in names]
    found: dict[str, Entry] = {}
    for axes, landscape in zip(maps, landscapes, strict=True):
        mesh, entries = draw_map(axes, landscape, planes.layers_of(landscape)[0])
        found |= {label: (mark, label) for mark, label in entries if label not in found}
    for name in ("x", "y"):
        # rounded weights, and interpolations that end elsewhere, leave the maps with limits of their own
        limits = [getattr(axes, f"get_{name}lim")() for axes in maps]
        for axes in maps:
            getattr(axes, f"set_{name}lim")(min(low for low, _ in limits), max(high for _, high in limits))

    foot, every = 0.24 + 0.18 * -(-len(found) // 3) + 0.46, side + _NAMES + _BETWEEN
    tall, wide = rows * every - _NAMES - _BETWEEN, columns * (side + _GAP) - _GAP
    height = foot + tall + _NAMES + sheet.head_height(len(names) - 1) - 0.22
    figure.set_figheight(height)
    for number, axes in enumerate(maps):
        row, column = divmod(number, columns)
        sheet.place(figure, axes, sheet.LEFT + column * (side + _GAP), foot + (rows - 1 - row) * every, side, side)
        axes.tick_params(labelbottom=number + columns >= len(names), labelleft=column == 0, labelsize=7.5, pad=2)
        _titled(figure, axes, side, names[number], words.standing_of(landscapes[number]))
    draw_bar(figure, mesh, sheet.LEFT + wide + 0.12, foot, tall, "Attack success rate (%)")
    how: dict[str, Any] = {"fontsize": 8.5, "color": INK, "parse_math": False}
    across, up = words.headings_of(landscapes)
    figure.text((sheet.LEFT + wide / 2) / sheet.WIDTH, (foot - 0.42) / height, across, ha="center", **how)
    figure.text(0.05 / sheet.WIDTH, (foot + tall / 2) / height, up, rotation=90, va="center", **how)
    _finish(figure, comparison, list(found.values()), 3)
    return figure


def _titled(figure: Figure, axes: Axes, side: float, name: str, said: Sequence[str]) -> None:
    """Set the name of a run above its map and, beneath it, its figures, one per line."""
    texts = [(name, 8.5, "bold", INK), *((line, 7.0, "normal", SOFT) for line in said)]
    for number, (content, size, weight, colour) in enumerate(texts):
        place: dict[str, Any] = {"xytext": (0, 27 - 10.5 * number), "textcoords": "offset points"}
        look: dict[str, Any] = {"fontsize": size, "fontweight": weight, "color": colour, "parse_math": False}
        text = axes.annotate("", (0, 1), xycoords="axes fraction", **place, **look)
        sheet.fit(figure, text, content, side)
