"""From coordinates to a displacement: which directions a point lies along, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from safescape.survey import Axis, Point
from safescape.weights.directions import Direction, RandomDirection

__all__ = ["Bundle", "Term"]


class Term(NamedTuple):
    """One summand of a displacement."""

    coordinate: float
    direction: Direction


class Bundle:
    """Several lines through the origin, one random direction each."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self._directions = tuple(RandomDirection(axis.seed) for axis in axes)

    def terms(self, point: Point) -> tuple[Term, ...]:
        """Return the displacement of a point, coordinate by coordinate; empty at the origin."""
        if point.line is None:
            return ()
        return (Term(point.coords[0], self._directions[point.line]),)
