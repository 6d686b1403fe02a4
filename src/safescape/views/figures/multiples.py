"""The picture of several runs over planes: a heat map a run, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from safescape.landscape import Comparison
from safescape.views.figures.frame import (
    CAPTION,
    FAINT,
    INK,
    LEFT,
    ROW,
    SOFT,
    TITLE,
    WIDTH,
    Entry,
    fit,
    heading,
    key_figures,
    legend,
    place,
    sheet,
)
from safescape.views.figures.heat import draw_bar, draw_contours, draw_heat, draw_models
from safescape.views.series.contrast import headline_differences, listed, measured_in, names_of, standing_of
from safescape.views.series.layers import layers_of, mesh_of
from safescape.views.text.words import heading_of

__all__ = ["draw_multiples"]

_LARGEST, _GAP = 2.42, 0.24  # inches, the side of a map at most, and the space between two
_NAMES, _BETWEEN = 0.46, 0.28  # inches, what stands above a map, and from there to the row above
_BAR = 0.78  # inches, the colour bar with its numbers


def draw_multiples(comparison: Comparison) -> Figure:
    """Draw the ASR of the first probe over both coordinates, run beside run.

    An unfinished run is drawn as far as it was measured. Where weights are rounded, a cell lies where the rounded
    weights are.
    """
    landscapes, names = comparison.landscapes, names_of(comparison)
    columns = 2 if len(names) in (2, 4) else 3
    rows = -(-len(names) // columns)
    side = min(_LARGEST, (WIDTH - LEFT - _BAR - 0.1 - (columns - 1) * _GAP) / columns)
    figure = sheet(TITLE + side)
    maps = [figure.add_subplot() for _ in names]
    found: dict[str, Entry] = {}
    for axes, landscape in zip(maps, landscapes, strict=True):
        layer, (x, y) = layers_of(landscape)[0], mesh_of(landscape)
        mesh = draw_heat(axes, x, y, layer)
        entries = draw_models(axes, landscape) + draw_contours(axes, x, y, layer, landscape.safe_below)
        if np.isnan(layer.values).any():
            entries.append((Patch(color=FAINT, linewidth=0), "not measured"))
        found |= {label: (mark, label) for mark, label in entries if label not in found}
    _same_limits(maps)

    caption, differences = headline_differences(comparison)
    foot = 0.24 + 0.18 * -(-len(found) // 3)
    every = side + _NAMES + _BETWEEN
    tall = rows * every - _NAMES - _BETWEEN
    head = TITLE - 0.22 + CAPTION + ROW * ((len(differences) - 1) // 3)
    figure.set_figheight(foot + 0.46 + tall + _NAMES + head)
    for number, axes in enumerate(maps):
        row, column = divmod(number, columns)
        left, bottom = LEFT + column * (side + _GAP), foot + 0.46 + (rows - 1 - row) * every
        place(figure, axes, left, bottom, side, side)
        axes.tick_params(labelbottom=number + columns >= len(names), labelleft=column == 0, labelsize=7.5, pad=2)
        _titled(figure, axes, side, names[number], standing_of(landscapes[number]))
    draw_bar(figure, mesh, LEFT + columns * (side + _GAP) - _GAP + 0.12, foot + 0.46, tall, "Attack success rate (%)")
    _axis_names(figure, comparison, foot + 0.46, columns * (side + _GAP) - _GAP, tall)
    legend(figure, list(found.values()), 3)
    heading(figure, listed(names, 60), measured_in(comparison))
    key_figures(figure, differences, caption)
    return figure


def _same_limits(maps: list[Axes]) -> None:
    """Rounded weights and interpolations that end elsewhere leave the maps with limits of their own."""
    for name in ("x", "y"):
        limits = [getattr(axes, f"get_{name}lim")() for axes in maps]
        for axes in maps:
            getattr(axes, f"set_{name}lim")(min(low for low, _ in limits), max(high for _, high in limits))


def _titled(figure: Figure, axes: Axes, side: float, name: str, said: Sequence[str]) -> None:
    """Set a run's name above its map and, beneath it, its figures, one a line."""
    lines = [(name, 8.5, "bold", INK), *((line, 7.0, "normal", SOFT) for line in said)]
    for number, (line, size, weight, colour) in enumerate(lines):
        text = axes.annotate(
            "",
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 27 - 10.5 * number),
            textcoords="offset points",
            fontsize=size,
            fontweight=weight,
            color=colour,
            parse_math=False,
        )
        fit(figure, text, line, side)


def _axis_names(figure: Figure, comparison: Comparison, bottom: float, wide: float, tall: float) -> None:
    """Name both axes once; by their signs alone where the runs' directions are not the same."""
    names = []
    for number, sign in enumerate("αβ"):
        said = {heading_of(number, landscape.axes) for landscape in comparison.landscapes}
        names.append(said.pop() if len(said) == 1 else sign)
    height = figure.get_figheight()
    how: dict[str, Any] = {"fontsize": 8.5, "color": INK, "parse_math": False}
    figure.text((LEFT + wide / 2) / WIDTH, (bottom - 0.42) / height, names[0], ha="center", **how)
    figure.text(0.05 / WIDTH, (bottom + tall / 2) / height, names[1], rotation=90, va="center", **how)
