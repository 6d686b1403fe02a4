"""The tensors of a point, and where the weights stand once they were all taken."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from safescape.survey import Point, Position


class Sums(NamedTuple):
    """Inner products over tensors, or over a rank's part of them; those of all ranks add up to the model's.

    With w and w₀ the rounded weights at a point and at the origin, and d each direction of the point's frame.
    """

    along: tuple[float, ...]
    """⟨w - w₀, d⟩"""
    squares: tuple[float, ...]
    """⟨d, d⟩"""
    length: float = 0.0
    """⟨w - w₀, w - w₀⟩ at a checkpoint of a trajectory; 0 at the points of the subspace."""


Tensors = Generator[tuple[str, Tensor], None, Sums | None]
"""Names and tensors of a point; returns their sums, or None where the weights stand at the requested point."""


class Move:
    """The tensors of a point by name, iterable once; copy a tensor to keep it."""

    def __init__(self, point: Point, tensors: Tensors) -> None:
        self._point, self._tensors = point, tensors
        self._is_over = False
        self._sums: Sums | None = None

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        self._sums = yield from self._tensors
        self._is_over = True

    @property
    def sums(self) -> Sums | None:
        """The sums that give the position, known after the last tensor; None if it is the requested point."""
        assert self._is_over
        return self._sums

    @property
    def position(self) -> Position:
        """Where the weights stand as rounded, known after the last tensor; see `position_of`."""
        return position_of(self._point, [self.sums])


def position_of(point: Point, ranks: Sequence[Sums | None]) -> Position:
    """Return where the weights stand as rounded, from the sums of the ranks that hold them.

    ⟨w - w₀, d⟩ / ⟨d, d⟩ for each direction d of the point's frame. In fp32, rounding changes no coordinate by a
    millionth, so the position is the requested point.
    """
    found = [sums for sums in ranks if sums is not None]
    if not found:
        return Position(point.coords, 0.0)
    along = [sum(column) for column in zip(*(sums.along for sums in found), strict=True)]
    squares = [sum(column) for column in zip(*(sums.squares for sums in found), strict=True)]
    length = sum(sums.length for sums in found)
    effective = tuple(a / s if s else 0.0 for a, s in zip(along, squares, strict=True))
    inside = sum(coordinate**2 * s for coordinate, s in zip(effective, squares, strict=True))
    return Position(effective, max(0.0, 1.0 - inside / length) if length else 0.0)
