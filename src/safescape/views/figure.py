"""The pictures of a landscape and of a comparison, for papers and read-mes.

Draws without a display and keeps no global state.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from safescape.landscape import Comparison, Landscape
from safescape.views.lines import draw_lines
from safescape.views.multiples import draw_multiples
from safescape.views.overlay import draw_overlay
from safescape.views.plane import draw_plane

__all__ = ["draw", "draw_comparison", "save"]


def draw(landscape: Landscape) -> Figure:
    """Draw a landscape: lines as curves over α, a plane as a heat map and a surface.

    Returns:
        A figure on its own canvas, 7.2 inches wide; about 5 high, and higher where more was measured.

    """
    return draw_plane(landscape) if landscape.subspace == "plane" else draw_lines(landscape)


def draw_comparison(comparison: Comparison) -> Figure:
    """Draw several runs on one scale: lines as one curve a run, planes as one heat map a run.

    Returns:
        A figure on its own canvas, 7.2 inches wide; higher where more was measured and compared.

    """
    plane = comparison.landscapes[0].subspace == "plane"
    return draw_multiples(comparison) if plane else draw_overlay(comparison)


def save(figure: Figure, path: Path) -> None:
    """Write a picture into a file, whole or not at all; its suffix says the format: .png, .pdf or .svg.

    Raises:
        OSError: it cannot be written; a former version of the file stays.

    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        figure.savefig(partial, format=path.suffix.lstrip(".") or "png", dpi=200)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
