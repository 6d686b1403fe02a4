"""The pictures of a landscape, of a comparison and of a benchmark, and their files. Draws without a display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from safescape.landscape import Comparison, Landscape
from safescape.store import new_file
from safescape.views.figures import sheet
from safescape.views.figures.comparison import draw_multiples, draw_overlay
from safescape.views.figures.lines import draw_lines
from safescape.views.figures.marks import INK, SOFT
from safescape.views.figures.plane import draw_plane


def draw(landscape: Landscape) -> Figure:
    """Draw a landscape, 7.2 inches wide: lines as curves over α, a plane as a heat map and a surface."""
    landscape = landscape.decided
    return draw_plane(landscape) if landscape.subspace == "plane" else draw_lines(landscape)


def draw_comparison(comparison: Comparison) -> Figure:
    """Draw several runs on one scale, 7.2 inches wide: lines as one curve per run, planes as one heat map per run."""
    comparison = comparison.decided
    plane = comparison.landscapes[0].subspace == "plane"
    return draw_multiples(comparison) if plane else draw_overlay(comparison)


def draw_speed(bench: Mapping[str, Any]) -> Figure:
    """Draw how long each side took, split into moving the weights and answering, from the contents of bench.json."""
    sides = [side["side"] for side in bench["sides"]]
    figure = sheet.new_sheet(1.1 + 0.38 * len(sides))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    sheet.dress(axes, 8)
    for row, side in enumerate(bench["sides"]):
        points = [point for point in bench["points"] if point["side"] == side["side"]]
        parts = (
            ("moving", sum(point["moving"] for point in points), "#9aa3ad"),
            ("answering at the origin", sum(p["answering"] for p in points if not p["alpha"]), "#2a6f97"),
            ("answering elsewhere", sum(p["answering"] for p in points if p["alpha"]), "#e07b39"),
        )
        left = 0.0
        for name, seconds, colour in parts:
            axes.barh(row, seconds, left=left, color=colour, label=None if row else name, height=0.66)
            left += seconds
        is_other = side["ratio"] is not None and side["side"] != "reference"
        ratio = f", {side['ratio']:.1f} times as fast" if is_other else ""
        axes.text(left, row, f" {side['seconds']:.1f} s{ratio}", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(sides)), sides, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.28 * max(side["seconds"] for side in bench["sides"]))
    axes.set_xlabel("seconds, from the loaded model to the last verdict", fontsize=8, color=SOFT)
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    task = bench["task"]
    asked = f"{task['limit']} prompts, {task['max_new_tokens']} tokens"
    text = f"{len(task['alphas'])} points of {task['model']}, {asked}"
    figure.suptitle(text, fontsize=9, x=0.01, ha="left", color=INK, parse_math=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture to a file, atomically; its suffix gives the format: .png, .pdf or .svg.

    Raises:
        RunError: it cannot be written; an earlier version of the file is kept.

    """
    with new_file(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip(".") or "png", dpi=200)
