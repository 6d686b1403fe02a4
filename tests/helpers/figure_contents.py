"""What a picture says and shows, read back from its figure."""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text
from mpl_toolkits.mplot3d import Axes3D


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in texts(figure))


def texts(figure: Figure) -> list[Text]:
    """Every text but the ticks' and the numbers of checkpoints."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        if not isinstance(axes, Axes3D):
            own = axes.get_legend()
            found += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title, *axes.findobj(_left_title)]
            found += own.get_texts() if own else []
    return [text for text in found if text.get_text() and not text.get_text().isdigit()]


def _left_title(artist: Artist) -> bool:
    return isinstance(artist, Text) and artist is getattr(artist.axes, "_left_title", None)


def curve(figure: Figure, label: str, panel: int = 0) -> list[tuple[float, float]]:
    (line,) = [line for line in figure.axes[panel].lines if str(line.get_label()) == label]
    return [(float(x), float(y)) for x, y in line.get_xydata()]  # type: ignore[union-attr]


def cells(figure: Figure, panel: int = 0) -> QuadMesh:
    (mesh,) = [child for child in figure.axes[panel].collections if isinstance(child, QuadMesh)]
    return mesh


def assert_texts_are_apart(figure: Figure) -> None:
    """No text leaves the sheet, and none covers another."""
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
