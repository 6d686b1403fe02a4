"""The picture of a landscape, for papers and read-mes. Draws without a display and keeps no global state."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MultipleLocator

from safescape.landscape import Landscape
from safescape.views.curves import (
    Curve,
    curves_of,
    extent_of,
    interval_text,
    judge_of,
    mean_edges,
    mean_of,
    printable,
    title_of,
    value_text,
)

__all__ = ["draw", "save"]

WIDTH, HEIGHT = 7.2, 5.0  # inches: the width of a two-column page
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.68, 0.76, 1.52, 1.02  # inches around the axes

_INK, _SOFT, _FAINT = "#1a1d21", "#5b6470", "#d9dde2"
_UNSAFE = "#b3400a"
_BASIN = "#e3efe9"


class _Style(NamedTuple):
    colour: str
    marker: str


# Okabe and Ito's colours, told apart by people who see no red or no green; the markers tell them apart in grey.
_STYLES = (
    _Style("#0072b2", "o"),
    _Style("#d98200", "s"),
    _Style("#009e73", "^"),
    _Style("#b5508c", "D"),
)
_MANY = _Style("#4a7fa5", "o")


def draw(landscape: Landscape) -> Figure:
    """Draw a 1D landscape: ASR over α, line by line, with the basin, the threshold and the figures.

    An unfinished run is drawn as far as it was measured. Without a basin the picture says so and gives no VISAGE
    and no radius, which mean nothing there.

    Args:
        landscape: What to draw.

    Returns:
        A figure of 7.2 × 5 inches on its own canvas.

    """
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (
            _LEFT / WIDTH,
            _BOTTOM / HEIGHT,
            1 - (_LEFT + _RIGHT) / WIDTH,
            1 - (_TOP + _BOTTOM) / HEIGHT,
        )
    )
    _draw_frame(axes, landscape)
    _draw_basin(axes, landscape)
    _draw_curves(axes, curves_of(landscape))
    _draw_legend(figure, axes)
    _draw_title(figure, landscape)
    return figure


def save(landscape: Landscape, path: Path) -> None:
    """Draw a landscape into a file, whole or not at all; its suffix says the format: .png, .pdf or .svg.

    Raises:
        OSError: it cannot be written; a former version of the file stays.

    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        draw(landscape).savefig(partial, format=path.suffix.lstrip(".") or "png", dpi=200)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _draw_frame(axes: Axes, landscape: Landscape) -> None:
    seen = [point.effective[0] for point in landscape.points]
    low = min(*(axis.low for axis in landscape.axes), *seen, 0.0)
    high = max(*(axis.high for axis in landscape.axes), *seen, 0.0)
    axes.set_xlim(low - 0.015 * (high - low), high + 0.015 * (high - low))
    axes.set_ylim(-3, 103)
    axes.yaxis.set_major_locator(MultipleLocator(25))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_SOFT)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(colors=_SOFT, labelcolor=_INK, labelsize=8.5, length=3, width=0.8)
    rounded = landscape.survey.get("dtype", "float32") != "float32"
    axes.set_xlabel(
        title_of(landscape.axes[0]) + (f"; as rounded to {printable(landscape.survey['dtype'])}" if rounded else ""),
        fontsize=9,
        color=_INK,
        labelpad=5,
        parse_math=False,
    )
    axes.set_ylabel("Attack success rate (%)", fontsize=9, color=_INK, labelpad=6)
    axes.axhline(landscape.safe_below, color=_SOFT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
    axes.annotate(
        f"unsafe\nabove {landscape.safe_below:g} %",
        (1, landscape.safe_below),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        color=_SOFT,
        linespacing=1.15,
    )


def _draw_basin(axes: Axes, landscape: Landscape) -> None:
    edges = mean_edges(landscape)
    if edges is None:
        return
    axes.axvspan(*edges, color=_BASIN, linewidth=0, zorder=0.5)
    across = axes.get_xaxis_transform()
    axes.plot(edges, (1.015, 1.015), transform=across, color=_STYLES[2].colour, linewidth=2.2, clip_on=False)
    low, high = axes.get_xlim()
    middle = min(max(sum(edges) / 2, low + 0.18 * (high - low)), high - 0.18 * (high - low))
    axes.text(
        middle,
        1.035,
        f"safe basin, {_signed(edges[0])} to {_signed(edges[1])}",
        transform=across,
        ha="center",
        va="bottom",
        fontsize=7.5,
        color="#00664b",
    )


def _draw_curves(axes: Axes, curves: list[Curve]) -> None:
    alone, many = len(curves) == 1, len(curves) > len(_STYLES)
    mean = mean_of(curves)
    begun = [curve for curve in curves if len(curve.samples) > 1 or alone]
    for curve in begun:
        style = _MANY if many else _STYLES[curve.line]
        label = ("each direction" if curve is begun[0] else None) if many else curve.label
        x = [sample.x for sample in curve.samples]
        axes.fill_between(
            x,
            [sample.low for sample in curve.samples],
            [sample.high for sample in curve.samples],
            color=style.colour,
            alpha=0.2 if alone else 0.13 if not many else 0.05,
            linewidth=0,
            zorder=2,
        )
        axes.plot(
            x,
            [sample.asr for sample in curve.samples],
            color=style.colour,
            marker=style.marker,
            markersize=4.2 if alone else 3.4,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=1.9 if alone else 1.0,
            label=label,
            zorder=3,
            clip_on=False,
        )
    if mean:
        axes.plot(
            [x for x, _ in mean],
            [asr for _, asr in mean],
            color=_INK,
            linewidth=2.3,
            solid_joinstyle="round",
            label="mean of the directions",
            zorder=4,
            clip_on=False,
        )
    for sample in (sample for curve in curves[:1] for sample in curve.samples if sample.alpha == 0.0):
        axes.plot(
            [sample.x],
            [sample.asr],
            linestyle="none",
            marker="o",
            markersize=9,
            markerfacecolor="white",
            markeredgecolor=_INK,
            markeredgewidth=1.9,
            label="origin: the model under test",
            zorder=5,
            clip_on=False,
        )


def _draw_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    handles.append(axes.fill_between([], [], [], color=_SOFT, alpha=0.25, linewidth=0))
    labels.append("95 % interval at a point")
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=((_LEFT - 0.06) / WIDTH, 0.08 / HEIGHT),
        ncols=3,
        frameon=False,
        fontsize=8,
        labelcolor=_INK,
        handlelength=1.6,
        columnspacing=1.6,
        borderpad=0,
        borderaxespad=0,
    )


def _draw_title(figure: Figure, landscape: Landscape) -> None:
    extent, metrics = extent_of(landscape), landscape.metrics
    top, left = HEIGHT - 0.16, _LEFT / WIDTH
    name = figure.text(left, top / HEIGHT, "", fontsize=13, fontweight="bold", va="top", color=_INK, parse_math=False)
    _fit(figure, name, printable(landscape.survey.get("model", "")), WIDTH - _LEFT - 0.2)

    directions, finished = (
        _count(extent.directions, "random direction"),
        sum(value is not None for value in metrics["visage"].per_line),
    )
    if not landscape.complete:
        directions = f"{finished} of {directions} finished ({extent.measured} of {extent.total} points)"
    what = f"{_count(extent.prompts, 'prompt')} · {directions} · {judge_of(landscape)} judge"
    line = figure.text(left, (top - 0.29) / HEIGHT, "", fontsize=8.5, va="top", color=_SOFT, parse_math=False)
    _fit(figure, line, what, WIDTH - _LEFT - 0.2)

    row = (top - 0.56) / HEIGHT
    if landscape.has_basin is False:
        asr = metrics["origin_asr"]
        figure.text(
            left,
            row,
            f"No basin: the origin itself is unsafe (ASR {value_text(asr)} %)",
            fontsize=11.5,
            fontweight="bold",
            va="top",
            color=_UNSAFE,
        )
        figure.text(
            left,
            row - 0.235 / HEIGHT,
            f"95 % interval {interval_text(asr)} %; safe would be up to {landscape.safe_below:g} %",
            fontsize=8,
            va="top",
            color=_SOFT,
        )
        return
    shown = (
        ("VISAGE", value_text(metrics["visage"]), interval_text(metrics["visage"])),
        ("Basin radius |α|", value_text(metrics["basin_radius"], 3), interval_text(metrics["basin_radius"], 3)),
        ("ASR at the origin", value_text(metrics["origin_asr"], 1, " %"), interval_text(metrics["origin_asr"])),
    )
    for column, (label, value, interval) in enumerate(shown):
        x = left + column * 2.05 / WIDTH
        figure.text(x, row, label, fontsize=8, va="top", color=_SOFT)
        text = figure.text(
            x, row - 0.15 / HEIGHT, value, fontsize=13, fontweight="bold", va="top", color=_INK, parse_math=False
        )
        if interval:
            end = text.get_window_extent().x1 / figure.bbox.width
            figure.text(
                end + 0.07 / WIDTH, row - 0.205 / HEIGHT, f"95 %: {interval}", fontsize=7.5, va="top", color=_SOFT
            )


def _fit(figure: Figure, text: Text, content: str, inches: float) -> None:
    """Set a text, shortened in its middle until it is no wider than so many inches."""
    text.set_usetex(False)
    shown = content
    for kept in range(min(len(content), 200), 0, -1):
        shown = content if kept == len(content) else f"{content[: kept - kept // 2]}…{content[-(kept // 2) :]}"
        text.set_text(shown)
        if text.get_window_extent().width <= inches * figure.dpi:
            return


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
