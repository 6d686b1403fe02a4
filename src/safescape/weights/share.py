"""A tensor-parallel rank's share of a model: the parts that it computes, of tensors that all ranks hold together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

from safescape.survey import Point
from safescape.weights.directions import Direction, InterpolationDirection, OrthogonalDirection, RandomDirection
from safescape.weights.divided import DividedWeights
from safescape.weights.parts import Part, union
from safescape.weights.subspace import Displacement, Space, Term


class Share(NamedTuple):
    """What a rank computes of a model."""

    parts: Mapping[str, Part]
    """Its parts of the tensors that are divided among the ranks; it computes the others whole."""
    counted: frozenset[str]
    """The tensors whose values this rank adds to the sums of a move, so that no value is added twice."""

    def shapes(self, whole: Mapping[str, torch.Size]) -> dict[str, torch.Size]:
        """Return the shapes of what the rank computes, from those of whole tensors."""
        return {name: self.parts[name].shape if name in self.parts else shape for name, shape in whole.items()}


def shares_of(names: Iterable[str], ranks: Sequence[Mapping[str, Part]]) -> list[Share]:
    """Return the shares of ranks that need some parts; a tensor that is not there is needed whole.

    A tensor is divided if the ranks' parts are equal or disjoint and make up the whole. Any other is computed whole by
    every rank.
    """
    divided: list[dict[str, Part]] = [{} for _ in ranks]
    counted: list[set[str]] = [set() for _ in ranks]
    for name in names:
        parts = [needed.get(name) for needed in ranks]
        present = [part for part in parts if part is not None]
        if len(present) < len(parts) or not _is_partition(list(dict.fromkeys(present))):
            counted[0].add(name)
            continue
        for rank, part in enumerate(present):
            divided[rank][name] = part
            if part not in present[:rank]:
                counted[rank].add(name)
    return [Share(some, frozenset(mine)) for some, mine in zip(divided, counted, strict=True)]


class DividedSpace:
    """A space whose directions are those of the parts of a rank's share."""

    def __init__(self, space: Space, origin: DividedWeights) -> None:
        self.origin = space.origin
        self._space, self._weights = space, origin
        self._divided: dict[Direction, Direction] = {}

    def displacement(self, point: Point) -> Displacement:
        """Return the displacement of a point from the origin."""
        row, step = self._space.displacement(point)
        return Displacement(self._term(row), self._term(step))

    def frame(self, point: Point) -> tuple[Direction, ...]:
        """Return the directions of a point's effective coordinates, in their order."""
        return tuple(map(self._part, self._space.frame(point)))

    def _term(self, term: Term | None) -> Term | None:
        return None if term is None else Term(term.coordinate, self._part(term.direction))

    def _part(self, direction: Direction) -> Direction:
        """Return a direction's part, the same object every time: movers cache by direction."""
        if direction not in self._divided:
            self._divided[direction] = self._made(direction)
        return self._divided[direction]

    def _made(self, direction: Direction) -> Direction:
        match direction:
            case RandomDirection():
                return direction._replace(divided=self._weights)
            case InterpolationDirection():
                return InterpolationDirection(DividedWeights(direction.toward, self._weights.parts))
            case OrthogonalDirection(one, against, share):
                return OrthogonalDirection(self._part(one), self._part(against), share)
        raise TypeError(f"no part of a {type(direction).__name__} can be computed")


def _is_partition(parts: Sequence[Part]) -> bool:
    """Whether different parts of a tensor are disjoint and make up the whole."""
    whole, dim = parts[0].whole, parts[0].dim
    if any((part.whole, part.dim) != (whole, dim) for part in parts):
        return False
    indices = union(each for part in parts for each in part.ranges)
    return sum(part.length for part in parts) == whole[dim] and indices == ((0, whole[dim]),)
