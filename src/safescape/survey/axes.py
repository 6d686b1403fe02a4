"""Where to measure: the axes, and the lines or the plane that they span."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from safescape.survey.base import Frozen
from safescape.survey.types import Point

__all__ = ["Axis", "InterpolationAxis", "Lines", "Plane", "RandomAxis", "Waypoint"]


class RandomAxis(Frozen):
    """A random direction with its span and steps."""

    kind: Literal["random"] = "random"
    seed: int = Field(ge=0)
    norm: Literal["layer"] = "layer"
    """`layer`: each tensor of the direction has the Frobenius norm of the origin's (arXiv 2405.17374, section 3)."""
    span: float = Field(gt=0, allow_inf_nan=False)
    """The axis runs from -span to span; 0.5 moves every tensor by half its own norm."""
    steps: int = Field(ge=2)
    """Even, so that the grid holds the origin; `steps + 1` points."""

    @field_validator("steps")
    @classmethod
    def _even(cls, steps: int) -> int:
        if steps % 2:
            raise ValueError("must be even, so that the grid holds the origin")
        return steps

    @property
    def low(self) -> float:
        """Where the axis begins."""
        return -self.span

    @property
    def high(self) -> float:
        """Where the axis ends."""
        return self.span

    @property
    def grid(self) -> tuple[float, ...]:
        """The coordinates from -span to span, exactly symmetric, with an exact 0 in the middle."""
        half = self.steps // 2
        side = tuple(round(self.span * step / half, 12) for step in range(1, half + 1))
        return (*(-alpha for alpha in reversed(side)), 0.0, *side)


class InterpolationAxis(Frozen):
    """The direction from the origin to another model: 0 is the origin, 1 is that model."""

    kind: Literal["interpolation"] = "interpolation"
    toward: str
    """The other model, as the user typed it."""
    fingerprint: str
    """Of the other model's weights."""
    steps: int = Field(ge=1)
    """From 0 to 1, so that both models lie on the grid; as many beyond them as fit."""
    low: float = Field(le=0, allow_inf_nan=False)
    high: float = Field(ge=1, allow_inf_nan=False)
    resized: tuple[str, ...] = ()
    """Embeddings that have another number of rows in the other model: the direction moves their common rows."""

    @property
    def grid(self) -> tuple[float, ...]:
        """The coordinates from low to high, with an exact 0 and an exact 1."""
        first, last = math.ceil(self.low * self.steps - 1e-9), math.floor(self.high * self.steps + 1e-9)
        return tuple(round(step / self.steps, 12) for step in range(first, last + 1))


Axis = Annotated[RandomAxis | InterpolationAxis, Field(discriminator="kind")]


class Lines(Frozen):
    """A bundle of lines through the origin."""

    kind: Literal["lines"] = "lines"
    axes: tuple[Axis, ...] = Field(min_length=1)

    def models(self) -> tuple[Point, ...]:
        """The points that are models of their own: the origin, then the other model of each interpolation."""
        between = (number for number, axis in enumerate(self.axes) if isinstance(axis, InterpolationAxis))
        return (Point(None, (0.0,)), *(Point(number, (1.0,)) for number in between))

    def points(self) -> Iterator[Point]:
        """The origin, then line by line."""
        yield Point(None, (0.0,))
        for number, axis in enumerate(self.axes):
            yield from (Point(number, (alpha,)) for alpha in axis.grid if alpha)

    def on_line(self, number: int) -> list[Point]:
        """The points of one line in the order of α, the origin among them."""
        return [Point(number if alpha else None, (alpha,)) for alpha in self.axes[number].grid]


class Plane(Frozen):
    """Two axes through the origin; the second direction is made orthogonal to the first."""

    kind: Literal["plane"] = "plane"
    axes: tuple[Axis, Axis]

    def models(self) -> tuple[Point, ...]:
        """The points that are models of their own: the origin, and the other model if the first axis leads to one."""
        between = isinstance(self.axes[0], InterpolationAxis)
        return (Point(None, (0.0, 0.0)), *([Point(None, (1.0, 0.0))] if between else []))

    def points(self) -> Iterator[Point]:
        """The origin, then row by row outwards from it; each step changes one coordinate alone."""
        across, up = self.axes[0].grid, self.axes[1].grid
        yield Point(None, (0.0, 0.0))
        for number, beta in enumerate(sorted(up, key=lambda beta: (abs(beta), beta))):
            row = across if number % 2 == 0 else across[::-1]
            yield from (Point(None, (alpha, beta)) for alpha in row if alpha or beta)


class Waypoint(Frozen):
    """A checkpoint that is measured where it stands, and shown where it lies on the subspace: a trajectory's."""

    model: str
    fingerprint: str
