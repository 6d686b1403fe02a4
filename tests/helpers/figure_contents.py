"""The texts, curves and cells of a matplotlib figure, for assertions."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from mpl_toolkits.mplot3d import Axes3D


def words(figure: Figure) -> str:
    """Return all texts of a figure, one per line."""
    return "\n".join(text.get_text() for text in texts(figure))


def texts(figure: Figure) -> list[Text]:
    """Return the texts of a figure that are not empty, without tick labels and the numbers of checkpoints."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        if not isinstance(axes, Axes3D):
            own = axes.get_legend()
            left_titles = [text for text in axes.findobj(Text) if isinstance(text, Text) and _is_left_title(text)]
            found += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title, *left_titles]
            found += own.get_texts() if own else []
    return [text for text in found if text.get_text() and not text.get_text().isdigit()]


def _is_left_title(text: Text) -> bool:
    return text is getattr(text.axes, "_left_title", None)


def curve(figure: Figure, label: str, panel: int = 0) -> list[tuple[float, float]]:
    """Return the points of the curve with this label."""
    (line,) = [line for line in figure.axes[panel].lines if str(line.get_label()) == label]
    return xy(line)


def xy(line: Line2D) -> list[tuple[float, float]]:
    """Return the points of a line as numbers."""
    return list(zip(xs(line), ys(line), strict=True))


def xs(line: Line2D) -> list[float]:
    """Return the x of every point of a line as a number."""
    return [float(x) for x in np.asarray(line.get_xdata())]


def ys(line: Line2D) -> list[float]:
    """Return the y of every point of a line as a number."""
    return [float(y) for y in np.asarray(line.get_ydata())]


def cells(figure: Figure, panel: int = 0) -> QuadMesh:
    """Return the map of a panel."""
    (mesh,) = [child for child in figure.axes[panel].collections if isinstance(child, QuadMesh)]
    return mesh


def values(mesh: QuadMesh) -> np.ma.MaskedArray[Any, np.dtype[Any]]:
    """Return what the cells of a map show; a cell that was not measured is masked."""
    found = mesh.get_array()
    assert found is not None
    return np.ma.asarray(found)


def assert_texts_are_apart(figure: Figure) -> None:
    """Check that every text is inside the figure and that no two texts overlap."""
    figure.canvas.draw()
    found = texts(figure)
    boxes = [text.get_window_extent() for text in found]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0, found[number]
        assert box.x1 <= figure.bbox.x1, found[number]
        assert box.y0 >= 0, found[number]
        assert box.y1 <= figure.bbox.y1, found[number]
        for other in range(number + 1, len(boxes)):
            assert not box.overlaps(boxes[other]), (found[number], found[other])
