"""How far a training has moved the weights, and where that lies in the basin of the model that it began with.

With Δ = w - w₀ over all tensors, w₀ being the weights when the training began, and d the direction of an axis:

    moved  = ‖Δ‖ / ‖w₀‖                                              a share; 0.01 is a hundredth of the weights' norm
    along  = ⟨Δ, d⟩ / ⟨d, d⟩                                         the coordinate on the axis
    across = ‖Δ - along·d‖ / ‖d‖ = √(‖Δ‖² / ⟨d, d⟩ - along²)         the rest, in units of the axis too

On a random axis the norm of d is that of the weights (norm layers aside), and both are in units of the basin's radius.
On the axis toward another model, along = 1 and across = 0 is that model.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch

from safescape.errors import InputError
from safescape.finetuning.start import Start
from safescape.landscape import Landscape
from safescape.survey import InterpolationAxis, Survey
from safescape.weights import Direction, Subspace, dot, fingerprint, inspect, resolve

__all__ = ["Axes", "Basin", "Travelled", "travelled"]


class Travelled(NamedTuple):
    """Where the weights stand; see the module's formulas."""

    moved: float
    along: tuple[float, ...]
    """One an axis, as `across`."""
    across: tuple[float, ...]


class Basin:
    """A measured landscape of the model that a training begins with.

    Args:
        directory: Of the run.

    Raises:
        InputError: it holds no finished run.

    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        landscape = Landscape.load(self.directory / "landscape.json")
        self.survey = Survey.load(self.directory / "survey.json")
        self.radius = landscape.basin_radius
        """In units of its axes; 0 without a basin, None where no radius has a meaning."""


class Axes:
    """The axes of a basin, laid at the start of a training.

    Args:
        basin: Whose axes.
        start: Where they are laid.

    Raises:
        InputError: the basin is that of other weights, or its directions cannot be computed here.

    """

    def __init__(self, basin: Basin, start: Start) -> None:
        survey = basin.survey
        self.device = torch.device(survey.device).type
        """The kind whose generator makes the noise: on another kind the directions would be others."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError(f"{basin.directory}: its directions were made on a GPU; measure it on the CPU")
        _check_is_of(basin, start)
        for axis in survey.subspace.axes:
            if isinstance(axis, InterpolationAxis) and inspect(resolve(axis.toward).weights) != axis.fingerprint:
                raise InputError(f"{axis.toward}: was changed since {basin.directory} was measured; measure it again")
        self.directions = Subspace(survey.subspace, start, device=self.device).directions
        self.squares = tuple(self._square(direction, start) for direction in self.directions)
        """⟨d, d⟩, one an axis."""

    def _square(self, direction: Direction, start: Start) -> float:
        parts = (direction.tensor(name, start.tensor(name).to(self.device)) for name in start.names())
        return sum(dot(part, part) for part in parts)


def travelled(start: Start, axes: Axes | None) -> Travelled:
    """Return how far the live weights are from the start, and where on the axes.

    Raises:
        RunError: the start cannot be read any more.

    """
    directions, squares = ((), ()) if axes is None else (axes.directions, axes.squares)
    length, mixed = 0.0, [0.0] * len(directions)
    for name, step in start.steps():
        length += dot(step, step)
        # weights that have become infinite or NaN have no coordinates
        if axes is None or not math.isfinite(length):
            continue
        origin, there = start.tensor(name).to(axes.device), step.to(axes.device)
        for place, direction in enumerate(directions):
            mixed[place] += dot(there, direction.tensor(name, origin))
    if not math.isfinite(length):
        nowhere = (math.nan,) * len(directions)
        return Travelled(math.nan, nowhere, nowhere)
    along = tuple(product / square for product, square in zip(mixed, squares, strict=True))
    across = tuple(max(0.0, length / square - share**2) ** 0.5 for share, square in zip(along, squares, strict=True))
    return Travelled((length / start.square) ** 0.5, along, across)


def _check_is_of(basin: Basin, start: Start) -> None:
    survey = basin.survey
    found = fingerprint(start.names(), start.tensor)
    if found == survey.model_fingerprint or _is_rounded_from(basin, start):
        return
    raise InputError(
        f"{basin.directory}: is the landscape of {survey.model} ({survey.model_fingerprint[:19]}…), the training "
        f"begins with other weights ({found[:19]}…); scan the model that it begins with"
    )


def _is_rounded_from(basin: Basin, start: Start) -> bool:
    """Whether the basin's model, rounded to the dtype of the training, is where the training starts."""
    try:
        weights = resolve(basin.survey.model).weights
    except InputError:
        return False
    if list(weights.names()) != list(start.names()) or inspect(weights) != basin.survey.model_fingerprint:
        return False
    pairs = ((weights.tensor(name), start.tensor(name).cpu()) for name in start.names())
    return all(torch.equal(stored.to(live.dtype), live) for stored, live in pairs)
