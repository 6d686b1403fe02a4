"""The table of one model along several directions."""

from __future__ import annotations

import numpy as np

from safescape.landscape import DirectionFigures, Directions, Metric
from safescape.views.text import words
from safescape.views.text.tables import Table

_HEADINGS = ("direction", "run", "basin radius", "strict radius", "capability radius", "gap", "strict AUC")


def directions_table(directions: Directions) -> Table:
    """Return one row per run; distances in percent of the norm of the weights that move."""
    return Table(_HEADINGS, tuple(_row(each) for each in directions.directions))


def direction_name(figures: DirectionFigures) -> str:
    """Return a direction in words, with the number of random ones."""
    return words.counted(figures.lines, "random direction") if figures.direction == "random" else figures.direction


def _row(figures: DirectionFigures) -> tuple[str, ...]:
    strict = figures.strict
    cells = [_distance(figures.radius)]
    if strict is None:
        cells += ["–"] * 4
    else:
        cells += [_distance(strict.strict_radius), _distance(strict.capability_radius)]
        cells += [_distance(strict.gap, sign=True), words.cell(strict.strict_auc)]
    return (direction_name(figures), words.quoted(figures.name), *cells)


def _distance(metric: Metric, *, sign: bool = False) -> str:
    """Return a distance in percent; digits beyond the second say nothing."""
    if metric.value is None:
        return "–"
    ends = {name: getattr(metric, name) for name in ("value", "low", "high")}
    value, low, high = (None if end is None else _percent(end, sign=sign) for end in ends.values())
    least = "≥ " if metric.at_least and not sign else ""
    if low is None:
        interval = "not determined" if high is None else f"{high} or less"
    elif high is None or (metric.at_least and not sign):
        interval = f"{low} or more"
    else:
        interval = f"{low} to {high}"
    return f"{least}{value} ({interval})"


def _percent(value: float, *, sign: bool) -> str:
    """Return a distance in percent with two digits: 26, 0.022, −0.0031."""
    told = np.format_float_positional(100.0 * abs(value), precision=2, unique=False, fractional=False, trim="-")
    signs = ("\N{MINUS SIGN}", "+" if sign else "")
    return signs[value >= 0.0] + told
