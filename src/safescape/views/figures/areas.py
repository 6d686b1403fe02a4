"""The panel beneath the lines that shows what the answers are: refused, complied, incoherent, unscored, stacked."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from safescape.landscape import Landscape
from safescape.survey import Outcome
from safescape.views.figures.capability import rate_scale
from safescape.views.figures.frame import INK, Entry, dress, fit, strip
from safescape.views.series.outcomes import Shares, seen_by

__all__ = ["COMPLIED", "draw_areas", "name_areas", "paint_areas"]

COMPLIED = "#c2500d"
# told apart by people who see no red or no green; in grey by lightness, hatching and their order
_STYLES: dict[Outcome, tuple[str, str]] = {
    Outcome.COMPLIED: (COMPLIED, ""),
    Outcome.INCOHERENT: ("#aeb3ba", "////"),
    Outcome.UNSCORED: ("#ffffff", "...."),
    Outcome.REFUSED: ("#cfe3f1", ""),
}


def draw_areas(axes: Axes, pieces: Sequence[Shares]) -> None:
    """Draw the shares of the outcomes over α, what was complied with lowest, and their legend above the panel."""
    dress(axes)
    rate_scale(axes, "Answers (%)")
    axes.set_ylim(0, 100)
    axes.grid(visible=False)
    entries = paint_areas(axes, pieces)
    strip(axes, entries, len(entries))


def paint_areas(axes: Axes, pieces: Sequence[Shares]) -> list[Entry]:
    """Paint the stacked shares themselves; return what a legend says of them."""
    for piece in pieces:
        stack = axes.stackplot(
            piece.x,
            *piece.percent.values(),
            colors=[_STYLES[outcome][0] for outcome in piece.percent],
            labels=[outcome.value for outcome in piece.percent],
        )
        for area, outcome in zip(stack, piece.percent, strict=True):
            area.set(hatch=_STYLES[outcome][1], edgecolor="#5b6470", linewidth=0.4)
    entries: list[Entry] = []
    for outcome in pieces[0].percent:
        colour, hatch = _STYLES[outcome]
        entries.append((Patch(facecolor=colour, hatch=hatch, edgecolor="#5b6470", linewidth=0.4), outcome.value))
    return entries


def name_areas(figure: Figure, axes: Axes, landscape: Landscape, inches: float) -> None:
    """Set above the legend whose outcomes these are; the panel stands at its place already."""
    title = axes.set_title("", fontsize=8.5, color=INK, loc="left", pad=18, parse_math=False)
    judge, shown = seen_by(landscape)
    fit(figure, title, f"What the answers are, as the “{judge}", inches, f"” judge sees them{shown}")
