"""The sheet of a picture: its panels, the title block and the legend. Lengths are in inches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from safescape.landscape import Landscape, unscored_in
from safescape.survey import InterpolationAxis
from safescape.views.figures.marks import INK, SOFT, TONES, Entry
from safescape.views.series.samples import extent_of
from safescape.views.text.key_figures import figures_of
from safescape.views.text.verdict import SHOWN, tone_of
from safescape.views.text.words import (
    cell,
    contradiction_text,
    counted,
    interval_text,
    judge_of,
    printable,
    shortened,
    subject_of,
    value_text,
)

WIDTH = 7.2  # a page of two columns
LEFT, RIGHT, TITLE = 0.68, 0.76, 1.52  # around the panels
PANELS = WIDTH - LEFT - RIGHT  # the width of the panels
ROW, CAPTION = 0.46, 0.22  # a row of key figures, and their caption
_FIGURES, _EVERY = 0.72, 2.05  # the top of the first key figure, and from one to the next
_CLASH = 1.13  # the top of the sentence on a clash of judges, between the key figures and the panel
_LEGEND: dict[str, Any] = {"loc": "lower left", "frameon": False, "fontsize": 8, "labelcolor": INK}
_LEGEND |= {"handlelength": 1.6, "columnspacing": 1.6, "borderpad": 0}
_SIGNS = {"safe": "\N{CHECK MARK}", "open": "?", "unsafe": "\N{BALLOT X}"}


def new_sheet(height: float) -> Figure:
    """Return an empty figure on its own canvas: no display is needed and no global state kept."""
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, axes: Axes, left: float, bottom: float, width: float, height: float) -> None:
    """Put a panel at its place on the sheet; a twin goes with it."""
    tall = figure.get_figheight()
    axes.set_position((left / WIDTH, bottom / tall, width / WIDTH, height / tall))


def stack(figure: Figure, panels: Sequence[tuple[Axes, float, float]], head: float, foot: float, label: str) -> None:
    """Put panels beneath each other, between a head and a foot, and set the height of the sheet.

    `panels` has (panel, its height, the space above it) from the uppermost; `label` is the title of their α axis.
    """
    bottom = foot + sum(height + above for _, height, above in panels)
    figure.set_figheight(head + bottom)
    lowest = panels[-1][0]
    for axes, height, above in panels:
        bottom -= above + height
        place(figure, axes, LEFT, bottom, PANELS, height)
        axes.tick_params(labelbottom=axes is lowest)
    lowest.set_xlabel(label, fontsize=9, color=INK, labelpad=5, parse_math=False)


def dress(axes: Axes, size: float = 8.5) -> None:
    """Give axes their spines, ticks and minus signs."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=SOFT, linewidth=0.8)
    axes.tick_params(colors=SOFT, labelcolor=INK, labelsize=size, length=3, width=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
    axes.set_axisbelow(True)


def name_axes(axes: Axes, x: str, y: str, size: float) -> None:
    """Set the titles of both axes, close to their ticks."""
    for set_label, name in ((axes.set_xlabel, x), (axes.set_ylabel, y)):
        set_label(name, fontsize=size, color=INK, labelpad=2, parse_math=False)


def legend(figure: Figure, entries: Sequence[Entry], columns: int) -> None:
    """Set the legend at the foot of the sheet."""
    if not entries:
        return
    corner = (LEFT - 0.06) / WIDTH, 0.08 / figure.get_figheight()
    found = figure.legend(*zip(*entries, strict=True), bbox_to_anchor=corner, ncols=columns, borderaxespad=0, **_LEGEND)
    for text in found.get_texts():
        text.set_parse_math(False)
        # a probe's name is shortened, its figures are not
        name, quote, figures = text.get_text().rpartition("”: ")
        fit(figure, text, name or figures, (WIDTH - LEFT - 0.1) / columns - 0.4, quote + figures if name else "")


def strip(axes: Axes, entries: Sequence[Entry], columns: int) -> None:
    """Set a legend above a low panel."""
    axes.legend(*zip(*entries, strict=True), bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.3, **_LEGEND)


def title(figure: Figure, landscape: Landscape) -> None:
    """Set the model, the state of its verdict, what was measured, and the figures; or that there is no basin."""
    tone, asr = tone_of(landscape), landscape.metrics["origin_asr"]
    heading(figure, printable(landscape.survey.model), _measured(landscape), tone)
    if clashes := landscape.clashes[:1]:
        line = _put(figure, 0, _CLASH, "", fontsize=7.5, color=SOFT)
        fit(figure, line, contradiction_text(clashes), WIDTH - LEFT - 0.5)
    if landscape.has_basin is not False:
        key_figures(figure, _shown(landscape))
        return
    said = "No basin: the origin itself is unsafe" if tone == "unsafe" else "No basin: the origin may be unsafe"
    how = {"fontsize": 11.5, "fontweight": "bold", "color": TONES[tone]}
    _put(figure, 0, _FIGURES, f"{said} (ASR {value_text(asr)} %)", **how)
    visage = landscape.metrics["visage"]
    beside = "" if visage.value is None else f"; VISAGE {cell(visage)}"
    safe = f"95 % interval {interval_text(asr, 1, ' %')}; safe would be up to {landscape.safe_below:g} %{beside}"
    _put(figure, 0, _FIGURES + 0.235, safe, fontsize=8, color=SOFT)


def heading(figure: Figure, name: str, measured: str, tone: str = "") -> None:
    """Set the name of the subject with the state of its verdict on its right and, beneath it, what was measured."""
    wide = free = WIDTH - LEFT - 0.2
    if tone:
        how = {"fontsize": 8.5, "fontweight": "bold", "color": TONES[tone], "ha": "right"}
        state = _put(figure, wide, 0.2, f"{_SIGNS[tone]} {SHOWN[tone]}", **how)
        free -= state.get_window_extent().width / figure.dpi + 0.2
    fit(figure, _put(figure, 0, 0.16, "", fontsize=13, fontweight="bold", color=INK), name, free)
    fit(figure, _put(figure, 0, 0.45, "", fontsize=8.5, color=SOFT), measured, wide)


def key_figures(figure: Figure, shown: Sequence[tuple[str, str, str]], caption: str = "") -> None:
    """Set figures as (label, value, interval), three per row, under a caption; `head_height` is their height."""
    fit(figure, _put(figure, 0, _FIGURES, "", fontsize=8.5, color=SOFT), caption, WIDTH - LEFT - 0.2)
    for number, (label, value, interval) in enumerate(shown):
        row, column = divmod(number, 3)
        x, y = column * _EVERY, _FIGURES + (CAPTION if caption else 0) + row * ROW
        fit(figure, _put(figure, x, y, "", fontsize=8, color=SOFT), label, _EVERY - 0.1)
        text = _put(figure, x, y + 0.15, value, fontsize=13, fontweight="bold", color=INK)
        if interval:
            end = text.get_window_extent().x1 / figure.dpi - LEFT
            _put(figure, end + 0.07, y + 0.205, f"95 %: {interval}", fontsize=7.5, color=SOFT)


def head_height(figures: int) -> float:
    """Return the height of a title block with a caption and so many key figures."""
    return TITLE + CAPTION + ROW * ((figures - 1) // 3)


def _put(figure: Figure, x: float, y: float, content: str, **how: Any) -> Text:
    """Set a text whose upper corner is `x` inches right of the panels' edge and `y` inches below the top."""
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
    at_most = ""
    if landscape.survey.adaptive is not None:
        at_most, subject = "up to ", f"{subject}, at points chosen by results"
    unscored, asked = unscored_in(landscape)
    left = f" · {unscored} of {asked} answers unscored" if unscored else ""
    return f"{at_most}{counted(extent.prompts, 'prompt')} · {subject} · {judge_of(landscape)} judge{left}"


def _shown(landscape: Landscape) -> list[tuple[str, str, str]]:
    """(label, value, interval) of the figures of the title block."""
    found = {figure.key: figure for figure in figures_of(landscape)}
    if landscape.subspace == "plane" and landscape.metrics["basin_radius"].value is None:
        found.pop("basin_radius", None)
    shown = [found[key] for key in ("visage", "basin_radius", "origin_asr", "other_asr") if key in found]
    line = landscape.subspace != "plane"
    return [
        (
            # what several directions say is about random directions, as the subject says; one speaks for itself
            (f.label.replace("radius", "radius |α|") if line and f.key == "basin_radius" else f.label)
            + (f", {f.about}" if f.about.startswith("this") else ""),
            f.value,
            f.interval,
        )
        for f in shown[:3]
    ]


def fit(figure: Figure, text: Text, content: str, inches: float, after: str = "") -> None:
    """Set a text with `after` behind it, shortened in its middle until both are no wider than `inches`."""
    text.set_usetex(False)
    for kept in range(min(len(content), 200), 0, -1):
        text.set_text(shortened(content, kept) + after)
        if text.get_window_extent().width <= inches * figure.dpi:
            return
