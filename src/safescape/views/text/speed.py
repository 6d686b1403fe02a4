"""The table and the picture of a comparison of speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from safescape.views.figures.frame import INK, SOFT

__all__ = ["SPEED_COLUMNS", "draw_speed", "speed_rows", "speed_table"]

SPEED_COLUMNS = ("side", "s", "times as fast", "peak GB", "s a move", "share at 0", "share outside", "verdicts alike")


def speed_rows(bench: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row a side for a bench.json: shares are of the machine's own rate of matrix products."""
    return [
        (
            side["side"],
            f"{side['seconds']:.1f}",
            "" if side["ratio"] is None else f"{side['ratio']:.1f}",
            f"{side['peak_bytes'] / 1e9:.2f}",
            f"{side['move']:.2f}",
            f"{100 * side['share_at_origin']:.0f} %",
            f"{100 * side['share_outside']:.0f} %",
            "" if side["agreeing"] is None else f"{side['agreeing']} of {side['verdicts']}",
        )
        for side in bench["sides"]
    ]


def speed_table(bench: Mapping[str, Any]) -> str:
    """Return the table in Markdown, with what was measured and where."""
    task = bench["task"]
    lines = [" | ".join(SPEED_COLUMNS), "|".join("---" for _ in SPEED_COLUMNS)]
    lines += [" | ".join(row) for row in speed_rows(bench)]
    measured = (
        f"{len(task['alphas'])} points x {task['limit']} prompts x {task['max_new_tokens']} tokens; {bench['machine']}"
    )
    return measured + "\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n"


def draw_speed(bench: Mapping[str, Any]) -> Figure:
    """Draw how long each side took: what moving took, and what answering did at each point."""
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
    figure.suptitle(
        f"{len(task['alphas'])} points of {task['model']}, {task['limit']} prompts, {task['max_new_tokens']} tokens",
        fontsize=9,
        x=0.01,
        ha="left",
        color=INK,
        parse_math=False,
    )
    return figure
