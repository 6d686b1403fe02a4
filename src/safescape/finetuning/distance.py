"""The distance of a model in training from its initial weights, and its place in their basin.

With Δ = w - w₀ over all tensors, where w₀ are the weights when the training began, and d the direction of an axis:

    moved  = ‖Δ‖ / ‖w₀‖                                              a fraction of the norm of the weights
    along  = ⟨Δ, d⟩ / ⟨d, d⟩                                         the coordinate on the axis
    across = ‖Δ - along·d‖ / ‖d‖ = √(‖Δ‖² / ⟨d, d⟩ - along²)         the distance from the axis, in its units

The direction of a random axis has the norm of the weights (without norm layers), so that both have the unit of the
basin's radius. On the axis toward another model, that model has along = 1 and across = 0.

This module knows no prompts and no Trainer, and never writes into a live tensor.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch

from safescape.errors import InputError
from safescape.finetuning.initial_weights import InitialWeights
from safescape.landscape import Landscape
from safescape.survey import InterpolationAxis, Survey
from safescape.weights import Direction, Subspace, directions_of, dot, fingerprint, inspect, noise_device, resolve


class Distance(NamedTuple):
    """The distance of the weights from the initial ones; see the module's formulas."""

    moved: float
    along: tuple[float, ...]
    """One per axis."""
    across: tuple[float, ...]
    """One per axis."""


class Basin:
    """A measured landscape of the model that a training begins with.

    Raises:
        InputError: The directory has no finished run.

    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        landscape = Landscape.load(self.directory / "landscape.json").decided
        self.survey = Survey.load(self.directory / "survey.json")
        self.radius = landscape.basin_radius
        """The radius in units of the axes; 0 without a basin, None if the subspace has no radius."""


class Axes(NamedTuple):
    """The axes of a basin, with the initial weights of a training as their origin."""

    directions: tuple[Direction, ...] = ()
    squares: tuple[float, ...] = ()
    """⟨d, d⟩, one per axis."""
    device: str = "cpu"
    """The kind of device that generates the noise; another kind would give other directions."""


def axes_of(basin: Basin, start: InitialWeights) -> Axes:
    """Return the axes of a basin.

    Raises:
        InputError: The basin belongs to other weights, or its directions cannot be computed on this machine.

    """
    survey = basin.survey
    device = noise_device(survey.device)
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{basin.directory}: its directions were made on a GPU; measure it on the CPU")
    found = fingerprint(start.names(), start.tensor)
    if found != survey.model_fingerprint and not _is_rounded_from(survey, start):
        raise InputError(
            f"{basin.directory}: is the landscape of {survey.model} ({survey.model_fingerprint[:19]}…), the training "
            f"begins with other weights ({found[:19]}…); scan the model that it begins with"
        )
    for axis in survey.subspace.axes:
        if not isinstance(axis, InterpolationAxis):
            continue
        toward = resolve(axis.toward, trust_remote_code=start.trust_remote_code)
        if inspect(toward.weights) != axis.fingerprint:
            raise InputError(f"{axis.toward}: was changed since {basin.directory} was measured; measure it again")
    directions, trusted = directions_of(basin.directory), start.trust_remote_code
    space = Subspace(survey.subspace, start, device=device, directions=directions, trust_remote_code=trusted)
    squares = []
    for direction in space.directions:
        parts = (direction.tensor(name, start.tensor(name).to(device)) for name in start.names())
        squares.append(sum(dot(part, part) for part in parts))
    return Axes(space.directions, tuple(squares), device)


def _is_rounded_from(survey: Survey, start: InitialWeights) -> bool:
    """Whether the initial weights are the survey's model rounded to the dtype of the training."""
    try:
        weights = resolve(survey.model, trust_remote_code=start.trust_remote_code).weights
    except InputError:
        return False
    if list(weights.names()) != list(start.names()) or inspect(weights) != survey.model_fingerprint:
        return False
    pairs = ((weights.tensor(name), start.tensor(name).cpu()) for name in start.names())
    return all(torch.equal(stored.to(live.dtype), live) for stored, live in pairs)


def distance_of(start: InitialWeights, axes: Axes) -> Distance:
    """Return the distance of the live weights from the initial ones, along and across the axes.

    Raises:
        RunError: The initial weights cannot be read any more.

    """
    length, mixed = 0.0, [0.0] * len(axes.directions)
    for name, change in start.changes():
        length += dot(change, change)
        # Infinite or NaN weights have no coordinates.
        if axes.directions and math.isfinite(length):
            origin, there = start.tensor(name).to(axes.device), change.to(axes.device)
            for place, direction in enumerate(axes.directions):
                mixed[place] += dot(there, direction.tensor(name, origin))
    if not math.isfinite(length):
        nowhere = (math.nan,) * len(axes.directions)
        return Distance(math.nan, nowhere, nowhere)
    along = tuple(product / square for product, square in zip(mixed, axes.squares, strict=True))
    beyond = (length / square - share**2 for share, square in zip(along, axes.squares, strict=True))
    return Distance((length / start.square) ** 0.5, along, tuple(max(0.0, square) ** 0.5 for square in beyond))
