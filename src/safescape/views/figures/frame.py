"""What every picture has: its panels, the title block and the legend. Lengths are in inches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from safescape.landscape import Landscape, Metric
from safescape.survey import InterpolationAxis
from safescape.views.series.curves import Sample, extent_of, is_adaptive, other_model
from safescape.views.text.words import (
    counted,
    interval_text,
    judge_of,
    printable,
    shortened,
    subject_of,
    value_text,
)

__all__ = [
    "CAPTION",
    "FAINT",
    "INK",
    "LEFT",
    "RIGHT",
    "ROW",
    "SOFT",
    "TITLE",
    "WIDTH",
    "Entry",
    "dress",
    "fit",
    "heading",
    "key_figures",
    "legend",
    "place",
    "sheet",
    "strip",
    "title",
]

WIDTH = 7.2  # of a two-column page
LEFT, RIGHT, TITLE = 0.68, 0.76, 1.52  # around the panels
ROW, CAPTION = 0.46, 0.22  # of key figures, and of what stands above them
_FIGURES, _EVERY = 0.72, 2.05  # where the first of them stands, and from one to the next

INK, SOFT, FAINT = "#1a1d21", "#5b6470", "#d9dde2"
_UNSAFE = "#b3400a"

Entry = tuple[Artist, str]
"""A line of the legend."""


def sheet(height: float) -> Figure:
    """Return an empty figure on its own canvas: no display is needed and no global state kept."""
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, axes: Axes, left: float, bottom: float, width: float, height: float) -> None:
    """Put a panel at its place on the sheet; a twin goes with it."""
    tall = figure.get_figheight()
    axes.set_position((left / WIDTH, bottom / tall, width / WIDTH, height / tall))


def dress(axes: Axes, size: float = 8.5) -> None:
    """Give axes their spines, ticks and minus signs."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(SOFT)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(colors=SOFT, labelcolor=INK, labelsize=size, length=3, width=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
    axes.set_axisbelow(True)


def legend(figure: Figure, entries: Sequence[Entry], columns: int) -> None:
    """Set the legend at the foot of the sheet."""
    if not entries:
        return
    found = figure.legend(
        *zip(*entries, strict=True),
        loc="lower left",
        bbox_to_anchor=((LEFT - 0.06) / WIDTH, 0.08 / figure.get_figheight()),
        ncols=columns,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handlelength=1.6,
        columnspacing=1.6,
        borderpad=0,
        borderaxespad=0,
    )
    for text in found.get_texts():
        text.set_parse_math(False)
        # where it is too long, a probe's name gives way; its figures stay
        name, quote, figures = text.get_text().rpartition("”: ")
        fit(figure, text, name or figures, (WIDTH - LEFT - 0.1) / columns - 0.4, quote + figures if name else "")


def strip(axes: Axes, entries: Sequence[Entry], columns: int) -> None:
    """Set a legend above a low panel."""
    axes.legend(
        *zip(*entries, strict=True),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        borderpad=0,
        borderaxespad=0.3,
        handlelength=1.6,
        columnspacing=1.6,
    )


def title(figure: Figure, landscape: Landscape) -> None:
    """Set the model, what was measured, and the figures with their intervals; without a basin, that there is none."""
    heading(figure, printable(landscape.survey.model), _measured(landscape))
    if landscape.has_basin is False:
        asr = landscape.metrics["origin_asr"]
        unsafe = f"No basin: the origin itself is unsafe (ASR {value_text(asr)} %)"
        _put(figure, 0, _FIGURES, unsafe, fontsize=11.5, fontweight="bold", color=_UNSAFE)
        safe = f"95 % interval {interval_text(asr)} %; safe would be up to {landscape.safe_below:g} %"
        _put(figure, 0, _FIGURES + 0.235, safe, fontsize=8, color=SOFT)
    else:
        key_figures(figure, _shown(landscape))


def heading(figure: Figure, name: str, measured: str) -> None:
    """Set what the picture is of and, beneath it, what was measured."""
    wide = WIDTH - LEFT - 0.2
    fit(figure, _put(figure, 0, 0.16, "", fontsize=13, fontweight="bold", color=INK), name, wide)
    fit(figure, _put(figure, 0, 0.45, "", fontsize=8.5, color=SOFT), measured, wide)


def key_figures(figure: Figure, shown: Sequence[tuple[str, str, str]], caption: str = "") -> None:
    """Set figures as (label, value, interval), three a row, under a caption.

    Every row after the first takes another `ROW` of height, the caption another `CAPTION`.
    """
    fit(figure, _put(figure, 0, _FIGURES, "", fontsize=8.5, color=SOFT), caption, WIDTH - LEFT - 0.2)
    for number, (label, value, interval) in enumerate(shown):
        row, column = divmod(number, 3)
        x, y = column * _EVERY, _FIGURES + (CAPTION if caption else 0) + row * ROW
        fit(figure, _put(figure, x, y, "", fontsize=8, color=SOFT), label, _EVERY - 0.1)
        text = _put(figure, x, y + 0.15, value, fontsize=13, fontweight="bold", color=INK)
        if interval:
            end = text.get_window_extent().x1 / figure.dpi - LEFT
            _put(figure, end + 0.07, y + 0.205, f"95 %: {interval}", fontsize=7.5, color=SOFT)


def _put(figure: Figure, x: float, y: float, content: str, **how: Any) -> Text:
    """A text whose upper left corner is so many inches right of the panels' edge and below the top of the sheet."""
    tall = figure.get_figheight()
    return figure.text((LEFT + x) / WIDTH, 1 - y / tall, content, va="top", parse_math=False, **how)


def _measured(landscape: Landscape) -> str:
    extent, subject = extent_of(landscape), subject_of(landscape)
    if not landscape.complete:
        random = landscape.subspace == "lines" and not any(isinstance(a, InterpolationAxis) for a in landscape.axes)
        finished = sum(value is not None for value in landscape.metrics["visage"].per_line)
        some = f"({extent.points})"
        subject = f"{finished} of {subject} finished {some}" if random else f"{subject} {some}"
    if through := landscape.survey.through:
        subject += f" · {counted(len(through), 'checkpoint')}"
    if is_adaptive(landscape):
        subject += ", at points chosen by results"
    at_most = "up to " if is_adaptive(landscape) else ""
    return f"{at_most}{counted(extent.prompts, 'prompt')} · {subject} · {judge_of(landscape)} judge"


def _shown(landscape: Landscape) -> list[tuple[str, str, str]]:
    """(label, value, interval) of the figures of the title block."""

    def metric(label: str, key: str, decimals: int = 1, unit: str = "") -> tuple[str, str, str]:
        found: Metric = landscape.metrics[key]
        return label, value_text(found, decimals, unit), interval_text(found, decimals)

    def rate(label: str, sample: Sample) -> tuple[str, str, str]:
        return label, f"{sample.asr:.1f} %", f"{sample.low:.1f} to {sample.high:.1f}"

    other = other_model(landscape)
    plane = landscape.subspace == "plane"
    found = [metric("VISAGE", "visage")]
    if not plane or landscape.metrics["basin_radius"].value is not None:
        found.append(metric("Basin radius" + ("" if plane else " |α|"), "basin_radius", 3))
    found.append(metric("ASR at the origin", "origin_asr", unit=" %"))
    return [*found, rate("ASR of the other model", other)] if other and len(found) < 3 else found


def fit(figure: Figure, text: Text, content: str, inches: float, after: str = "") -> None:
    """Set a text, shortened in its middle until it is, with what comes `after` it, no wider than so many inches."""
    text.set_usetex(False)
    for kept in range(min(len(content), 200), 0, -1):
        text.set_text(shortened(content, kept) + after)
        if text.get_window_extent().width <= inches * figure.dpi:
            return
