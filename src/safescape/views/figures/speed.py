"""The picture of a benchmark: how long each way of measuring took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from safescape.views.figures.marks import INK, SOFT


def draw_speed(bench: Mapping[str, Any]) -> Figure:
    """Draw how long each side took, split into moving the weights and answering, from the contents of bench.json."""
    sides = [side["side"] for side in bench["sides"]]
    figure = Figure(figsize=(7.2, 1.1 + 0.38 * len(sides)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
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
    axes.tick_params(labelsize=8)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    task = bench["task"]
    asked = f"{task['limit']} prompts, {task['max_new_tokens']} tokens"
    text = f"{len(task['alphas'])} points of {task['model']}, {asked}"
    figure.suptitle(text, fontsize=9, x=0.01, ha="left", color=INK, parse_math=False)
    return figure
