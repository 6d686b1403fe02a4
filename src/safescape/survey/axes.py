"""Subspaces: axes, and the lines or the plane that they span."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator

from safescape.survey.recipes import Recipe
from safescape.survey.types import Frozen, Point

_GRIDS = 256
"""Number of grids that are kept: an adaptive plan reads one for every place of its lines."""


class _Symmetric(Frozen):
    """What axes from -span to span share; they declare both fields, since their order is that of survey.json."""

    if TYPE_CHECKING:
        span: float
        steps: int

    @field_validator("steps", check_fields=False)
    @classmethod
    def _even(cls, steps: int) -> int:
        if steps % 2:
            raise ValueError("must be even, so that the grid holds the origin")
        return steps

    @property
    def low(self) -> float:
        """The lowest coordinate."""
        return -self.span

    @property
    def high(self) -> float:
        """The highest coordinate."""
        return self.span

    @property
    def grid(self) -> tuple[float, ...]:
        """The `steps + 1` coordinates from -span to span: exactly symmetric, with an exact 0 in the middle."""
        return _symmetric(self.span, self.steps // 2)


class RandomAxis(_Symmetric):
    """A random direction with its span and steps."""

    kind: Literal["random"] = "random"
    seed: int = Field(ge=0)
    norm: Literal["layer"] = "layer"
    """`layer`: each tensor of the direction is scaled to the Frobenius norm of the origin's tensor (arXiv 2405.17374,
    section 3)."""
    span: float = Field(gt=0, allow_inf_nan=False)
    """The axis runs from -span to span, as a share of each tensor's norm: at 0.5 every tensor has moved by half its
    norm."""
    steps: int = Field(ge=2)
    """Number of intervals of the grid, which has `steps + 1` points; even, so that the origin is one of them."""
    only: str | None = Field(default=None, exclude_if=lambda only: only is None)
    """Which parameters move, as the user typed it; see `weights.chosen`. None, which is left out of survey.json: all
    but those of normalisation layers."""


class InterpolationAxis(Frozen):
    """The direction from the origin, at coordinate 0, to another model, at coordinate 1."""

    kind: Literal["interpolation"] = "interpolation"
    toward: str
    """The other model, as the user typed it."""
    fingerprint: str
    """Fingerprint of the other model's weights."""
    steps: int = Field(ge=1)
    """Number of intervals between 0 and 1, so that both models are grid points; the same step is used beyond them."""
    low: float = Field(le=0, allow_inf_nan=False)
    high: float = Field(ge=1, allow_inf_nan=False)
    resized: tuple[str, ...] = ()
    """Names of embeddings whose number of rows differs in the other model; only their common rows are moved."""

    @property
    def grid(self) -> tuple[float, ...]:
        """The coordinates from `low` to `high`, with an exact 0 and an exact 1."""
        return _between(self.low, self.high, self.steps)


class ComputedAxis(_Symmetric):
    """A direction that is computed from a recipe and the origin, with its span and steps."""

    kind: Literal["computed"] = "computed"
    recipe: Recipe
    fingerprint: str | None = None
    """Of the direction's tensors; None until they are computed."""
    found: str | None = Field(default=None, exclude_if=lambda found: found is None)
    """What was found out when it was computed, in words; None, which is left out of survey.json: nothing to say."""
    length: float | None = Field(default=None, exclude_if=lambda length: length is None)
    """The norm of the direction divided by that of the weights that it moves; 1 if every tensor is scaled. None, which
    is left out of survey.json: not computed yet."""
    norm: Literal["layer", "none"] = "layer"
    """`layer`: as of a random direction. `none`: tensors are not scaled."""
    span: float = Field(gt=0, allow_inf_nan=False)
    """The axis runs from -span to span, in shares of each tensor's norm, or of the direction if it is not scaled."""
    steps: int = Field(ge=2)
    """As of a random direction."""
    only: str | None = Field(default=None, exclude_if=lambda only: only is None)
    """As of a random direction."""

    def without_prompts(self) -> Self:
        """Return the axis as a landscape has it."""
        return self.model_copy(update={"recipe": self.recipe.with_probes(lambda _: None)})


@lru_cache(_GRIDS)
def _symmetric(span: float, half: int) -> tuple[float, ...]:
    side = tuple(round(span * step / half, 12) for step in range(1, half + 1))
    return (*(-alpha for alpha in reversed(side)), 0.0, *side)


@lru_cache(_GRIDS)
def _between(low: float, high: float, steps: int) -> tuple[float, ...]:
    first, last = math.ceil(low * steps - 1e-9), math.floor(high * steps + 1e-9)
    return tuple(round(step / steps, 12) for step in range(first, last + 1))


Axis = Annotated[RandomAxis | InterpolationAxis | ComputedAxis, Field(discriminator="kind")]


class Lines(Frozen):
    """A bundle of lines through the origin."""

    kind: Literal["lines"] = "lines"
    axes: tuple[Axis, ...] = Field(min_length=1)

    def models(self) -> tuple[Point, ...]:
        """The points with the weights of a given model: the origin, then the other model of each interpolation."""
        between = (number for number, axis in enumerate(self.axes) if isinstance(axis, InterpolationAxis))
        return (Point(None, (0.0,)), *(Point(number, (1.0,)) for number in between))

    def points(self) -> Iterator[Point]:
        """Iterate over the points in the order of measuring: the origin, then line by line."""
        yield Point(None, (0.0,))
        for number, axis in enumerate(self.axes):
            yield from (Point(number, (alpha,)) for alpha in axis.grid if alpha)

    def on_line(self, number: int) -> list[Point]:
        """Return the points of one line in the order of α, including the origin."""
        return [Point(number if alpha else None, (alpha,)) for alpha in self.axes[number].grid]


class Plane(Frozen):
    """Two axes through the origin; the second direction is made orthogonal to the first."""

    kind: Literal["plane"] = "plane"
    axes: tuple[Axis, Axis]

    def models(self) -> tuple[Point, ...]:
        """The points with the weights of a given model: the origin, and the other model of an interpolation."""
        between = isinstance(self.axes[0], InterpolationAxis)
        return (Point(None, (0.0, 0.0)), *([Point(None, (1.0, 0.0))] if between else []))

    def points(self) -> Iterator[Point]:
        """Iterate over the points in the order of measuring: the origin, then rows by their distance from it.

        Rows alternate in direction, so that each step changes one coordinate alone.
        """
        across, up = self.axes[0].grid, self.axes[1].grid
        yield Point(None, (0.0, 0.0))
        for number, beta in enumerate(sorted(up, key=lambda beta: (abs(beta), beta))):
            row = across if number % 2 == 0 else across[::-1]
            yield from (Point(None, (alpha, beta)) for alpha in row if alpha or beta)

    def rows(self) -> tuple[Point, ...]:
        """Return the points row by row: β slowest, α fastest, both ascending."""
        return _rows(self.axes[0].grid, self.axes[1].grid)


@lru_cache(_GRIDS)
def _rows(across: tuple[float, ...], up: tuple[float, ...]) -> tuple[Point, ...]:
    return tuple(Point(None, (alpha, beta)) for beta in up for alpha in across)


class Waypoint(Frozen):
    """A checkpoint of a trajectory: measured with its own weights, and shown at its projection on the subspace."""

    model: str
    fingerprint: str
