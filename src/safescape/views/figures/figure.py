"""The pictures of a landscape and of a comparison, for papers and read-mes.

Draws without a display and keeps no global state.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from safescape.errors import InputError
from safescape.landscape import Comparison, Landscape
from safescape.store import new_file
from safescape.views.figures.comparison import draw_multiples, draw_overlay
from safescape.views.figures.lines import draw_lines
from safescape.views.figures.paper import Columns, draw_for_paper
from safescape.views.figures.plane import draw_plane

PAPER_FORMATS = ("pdf", "svg", "png")
_DATES: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
# TrueType fonts in a PDF, as publishers ask (matplotlib's default is Type 3). An SVG cannot embed a font, so its text
# is converted to paths, which look the same everywhere but cannot be searched.
_EMBEDDED = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "safescape"}


def draw(landscape: Landscape) -> Figure:
    """Draw a landscape: lines as curves over α, a plane as a heat map and a surface.

    Returns:
        A figure on its own canvas, 7.2 inches wide; about 5 high, and higher where more was measured.

    """
    return draw_plane(landscape) if landscape.subspace == "plane" else draw_lines(landscape)


def draw_comparison(comparison: Comparison) -> Figure:
    """Draw several runs on one scale: lines as one curve per run, planes as one heat map per run.

    Returns:
        A figure on its own canvas, 7.2 inches wide; higher where more was measured and compared.

    """
    plane = comparison.landscapes[0].subspace == "plane"
    return draw_multiples(comparison) if plane else draw_overlay(comparison)


def columns_of(given: int) -> Columns:
    """Return a number of columns that a figure may be wide.

    Raises:
        InputError: it is not 1 or 2.

    """
    if given == 1:
        return 1
    if given == 2:
        return 2
    raise InputError(f"--columns {given}: a figure is 1 column wide or 2; type --columns 1")


def paper_bytes(landscape: Landscape, kind: str, columns: Columns = 1) -> bytes:
    """Return a figure for a paper as the bytes of a file: the same each time, fonts embedded, 300 dots per inch.

    Args:
        landscape: The figures of a run with at least one point.
        kind: One of `PAPER_FORMATS`.
        columns: As for `draw_for_paper`.

    """
    figure, file = draw_for_paper(landscape, columns), io.BytesIO()
    with matplotlib.style.context(["default", _EMBEDDED]):
        figure.savefig(file, format=kind, dpi=300, metadata=_DATES[kind])
    return file.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a picture to a file, atomically; its suffix gives the format: .png, .pdf or .svg.

    Raises:
        RunError: it cannot be written; an earlier version of the file is kept.

    """
    with new_file(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip(".") or "png", dpi=200)
