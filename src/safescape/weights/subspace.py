"""Subspaces of weight space: the directions and factors that belong to the coordinates of a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.survey import Axis, ComputedAxis, InterpolationAxis, Lines, Plane, Point, Waypoint
from safescape.weights.checkpoint import ModelWeights, Weights
from safescape.weights.chosen import chosen
from safescape.weights.computed import stored_direction
from safescape.weights.directions import (
    Direction,
    InterpolationDirection,
    OrthogonalDirection,
    RandomDirection,
    products,
)
from safescape.weights.inner_product import square_of
from safescape.weights.models import resolve
from safescape.weights.parts import Part

_COLLINEAR = 0.9999
"""Two directions with a larger cosine span no plane: what is orthogonal in the second is mostly rounding."""

_ROW_PER_TOKEN = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")
"""Parts of the names of tensors with one row per token."""


class Term(NamedTuple):
    """One summand of a displacement: coordinate · direction."""

    coordinate: float
    direction: Direction


class Displacement(NamedTuple):
    """The displacement of a point from the origin: the sum of two terms; the row's term is added first."""

    row: Term | None
    """The term that the points of a plane's row share; None on the row through the origin, and off planes."""
    step: Term | None
    """None at the origin."""


class Space(Protocol):
    """A map from points to directions in weight space."""

    origin: Point

    def displacement(self, point: Point) -> Displacement:
        """Return the displacement of a point from the origin."""

    def frame(self, point: Point) -> tuple[Direction, ...]:
        """Return the directions of a point's effective coordinates, in their order."""


class Subspace:
    """Lines or a plane through the origin, and the checkpoints of a trajectory, measured off it.

    `device` is the kind of device that generates the noise; a plane's second direction is made orthogonal there.
    `directions` is the folder with the files of computed directions.
    `trust_remote_code` is for the models of axes and of the trajectory; see `resolve`.

    Raises:
        InputError: A model of an axis or of the trajectory cannot be used, or two axes span no plane.

    """

    def __init__(
        self,
        subspace: Lines | Plane,
        origin: ModelWeights,
        through: Sequence[Waypoint] = (),
        device: str = "cpu",
        *,
        directions: Path | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        def toward(name: str) -> InterpolationDirection:
            other = resolve(name, trust_remote_code=trust_remote_code).weights
            return InterpolationDirection(aligned(origin, other, name))

        def direction(axis: Axis) -> Direction:
            if isinstance(axis, InterpolationAxis):
                return toward(axis.toward)
            resting = origin.inventory.norms
            if axis.only is not None:
                resting |= frozenset(origin.names()) - chosen(axis.only, origin)
            if isinstance(axis, ComputedAxis):
                return stored_direction(axis, directions, resting)
            return RandomDirection(axis.seed, resting)

        self.directions = tuple(map(direction, subspace.axes))
        self._waypoints = tuple(toward(waypoint.model) for waypoint in through)
        self._is_plane = isinstance(subspace, Plane)
        self.origin = next(subspace.points())
        self.share = 0.0
        """The coordinate, on the first axis, of the second direction before it was made orthogonal."""
        if isinstance(subspace, Plane):
            first, second = self.directions
            found = products(first, second, origin, device)
            if abs(found.cosine) > _COLLINEAR:
                raise InputError(
                    f"{_name(subspace.axes[0])} and {_name(subspace.axes[1])} lie on one line through the origin "
                    f"(cosine {found.cosine:.6f}); give a third model that is not on it, or --across random"
                )
            self.share = found.mixed / found.first
            self.directions = (first, OrthogonalDirection(second, first, self.share))

    def displacement(self, point: Point) -> Displacement:
        """Return the displacement of a point from the origin."""
        if point.waypoint is not None:
            return Displacement(None, Term(1.0, self._waypoints[point.waypoint]))
        if self._is_plane:
            (alpha, beta), (first, second) = point.coords, self.directions
            return Displacement(Term(beta, second) if beta else None, Term(alpha, first) if alpha else None)
        if point.line is None:
            return Displacement(None, None)
        return Displacement(None, Term(point.coords[0], self.directions[point.line]))

    def frame(self, point: Point) -> tuple[Direction, ...]:
        """Return the directions of a point's effective coordinates, in their order."""
        if point.line is not None:
            return (self.directions[point.line],)
        return self.directions if self._is_plane or point.waypoint is not None else self.directions[:1]


def aligned(base: ModelWeights, other: ModelWeights, name: str) -> Weights:
    """Return the parameters of the finetune `other` under the names that `base` stores them by.

    Two checkpoints of one model may store a parameter by different names, such as a tied embedding or GPT-2 without
    its prefix, and hold tensors that are no parameters.

    Raises:
        InputError: The models have different parameters, or buffers of different values, which no line can move.

    """
    mine, theirs = base.inventory, other.inventory
    there = {identity: stored for stored, identity in theirs.identities.items()}
    if missing := sorted(stored for stored, identity in mine.identities.items() if identity not in there):
        raise InputError(f"{name}: lacks the tensor {missing[0]} of the origin; give a finetune of the same model")
    if further := sorted(there.keys() - set(mine.identities.values())):
        raise InputError(
            f"{name}: has the tensor {there[further[0]]}, the origin has not; give a finetune of the same model"
        )
    loaded = {live: stored for stored, live in theirs.buffers.items()}
    for buffer, live in mine.buffers.items():
        if not torch.equal(base.tensor(buffer), other.tensor(loaded[live])):
            raise InputError(
                f"{name}: its {buffer} has other values than the origin's, and is a buffer, which no line moves; give "
                "a finetune that left it as it was"
            )
    names = {stored: there[identity] for stored, identity in mine.identities.items()}
    return other if all(stored == found for stored, found in names.items()) else _Renamed(other, names)


def difference_of(origin: ModelWeights, other: ModelWeights, name: str) -> tuple[dict[str, Tensor], float]:
    """Return the difference to another checkpoint in the tensors that a scaled direction moves, and its relative norm.

    Embeddings, the output head and the weights of normalisation layers are left out, and so is what does not differ.

    Args:
        origin: The model that moves.
        other: A checkpoint of the same model.
        name: Of the other one.

    Returns:
        The difference by the origin's names, fp32; and its norm divided by that of the same tensors of the origin.

    Raises:
        InputError: The models have different parameters.

    """
    resized_embeddings(origin, other, name)  # checks the shapes
    direction, resting = (
        InterpolationDirection(aligned(origin, other, name)),
        origin.inventory.norms | origin.inventory.ends,
    )
    moving = [tensor for tensor in origin.names() if tensor not in resting]
    found, there, length = {}, 0.0, 0.0
    for tensor in moving:
        start = origin.tensor(tensor)
        difference = direction.tensor(tensor, start)
        there, length = there + square_of(difference), length + square_of(start)
        if difference.any():
            found[tensor] = difference
    return found, (there / length) ** 0.5


def resized_embeddings(base: ModelWeights, other: ModelWeights, name: str) -> tuple[str, ...]:
    """Return the embeddings and output heads whose number of rows differs between `base` and its finetune `other`.

    Raises:
        InputError: The parameters or their shapes differ otherwise; the message names the first difference.

    """
    there = aligned(base, other, name)
    resized = []
    for tensor in base.names():
        mine, theirs = base.tensor(tensor).shape, there.tensor(tensor).shape
        if mine == theirs:
            continue
        if mine[1:] != theirs[1:] or not any(part in tensor for part in _ROW_PER_TOKEN):
            raise InputError(
                f"{name}: the tensor {tensor} has shape {tuple(theirs)}, at the origin {tuple(mine)}; "
                "give a finetune of the same model"
            )
        resized.append(tensor)
    return tuple(resized)


class _Renamed(NamedTuple):
    """Weights under other names."""

    weights: Weights
    stored: Mapping[str, str]
    """The name of each tensor in `weights`."""

    def names(self) -> Sequence[str]:
        return sorted(self.stored)

    def tensor(self, name: str) -> Tensor:
        return self.weights.tensor(self.stored[name])

    def part(self, name: str, part: Part) -> Tensor:
        return self.weights.part(self.stored[name], part)


def _name(axis: Axis) -> str:
    if isinstance(axis, InterpolationAxis):
        return axis.toward
    return axis.recipe.label if isinstance(axis, ComputedAxis) else f"the random direction of seed {axis.seed}"
