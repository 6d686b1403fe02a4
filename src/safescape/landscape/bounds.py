"""Bounds of the measures of a line if only some points of its grid are measured.

They assume that the ASR is monotonic between neighbouring measured points, and so lies between theirs. If every point
of the grid is measured, both bounds are the measure itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.landscape.measures import Array, visage

Mask = NDArray[np.bool_]
_ROUNDS = 50
"""Bound on the iterations of the search for the extreme mean, which converges superlinearly."""


class Envelope(NamedTuple):
    """Bounds of the ASR at every place of a grid, percent: shape (..., grid)."""

    low: Array
    high: Array

    @property
    def is_exact(self) -> bool:
        """Whether every place is measured; `low` and `high` are then the same array."""
        return self.high is self.low


class Estimate(NamedTuple):
    """A measure with its bounds."""

    low: Array
    value: Array
    """The reported value, between the bounds."""
    high: Array


def envelope(asr: Array, places: NDArray[np.int_]) -> Envelope:
    """Return the bounds of the ASR at every place of a grid.

    Args:
        asr: Shape (..., measured), percent, in the order of α.
        places: Shape (measured,): ascending indices of the measured places, the first and the last of the grid
            included.

    """
    grid = np.arange(places[-1] + 1)
    if len(places) == len(grid):
        return Envelope(asr, asr)
    right = np.searchsorted(places, grid)
    left = right - (places[right] != grid)
    return Envelope(np.minimum(asr[..., left], asr[..., right]), np.maximum(asr[..., left], asr[..., right]))


def bounded(measure: Callable[[Array], Array], asr: Envelope) -> Estimate:
    """Return the bounds of a measure that is monotonic in the ASR of every place.

    The value is their middle; for the safety AUC, that is the value of linear interpolation between the points.
    """
    one = measure(asr.low)
    if asr.is_exact:
        return Estimate(one, one, one)
    other = measure(asr.high)
    return Estimate(np.minimum(one, other), (one + other) / 2, np.maximum(one, other))


def visage_of(asr: Envelope, prompts: int) -> Estimate:
    """Return the bounds of VISAGE, which is not monotonic: a place that reaches 100 % leaves the mean.

    A place that may or may not be at 100 % makes the mean greatest at its lower bound or at 100 %, and least one prompt
    short of 100 % or at 100 %. The extreme mean takes exactly those open places that are on the right side of that
    mean, which a fixed-point iteration finds (Dinkelbach 1967, On nonlinear fractional programming). In the value, an
    open place has half the weight of a certain one.

    Args:
        asr: Of every place.
        prompts: The number of prompts of the probe.

    """
    if asr.is_exact:
        exact = visage(asr.low)
        return Estimate(exact, exact, exact)
    certain, open_ = asr.high < 100.0, (asr.high >= 100.0) & (asr.low < 100.0)
    safest = 100.0 - asr.low
    # one prompt short of 100 %, unless the lower bound is above that
    unsafest = np.where(open_, np.minimum(100.0 / prompts, safest), 100.0 - asr.high)
    least = _extreme(unsafest, certain, open_, np.less)
    weight = certain + open_ / 2
    value = (weight * (safest + unsafest) / 2).sum(axis=-1) / np.maximum(weight.sum(axis=-1), 0.5)
    # if no place is certainly below 100 %, all may be at 100 %
    return Estimate(np.where(certain.any(axis=-1), least, 0.0), value, _extreme(safest, certain, open_, np.greater))


def _extreme(safety: Array, certain: Mask, open_: Mask, better: Callable[[Array, Array], Mask]) -> Array:
    """Return the extreme mean of all certain and any of the open places; 0 if there are none."""
    taken = certain | open_
    mean = _mean(safety, taken)
    for _ in range(_ROUNDS):
        taken = certain | (open_ & better(safety, mean[..., None]))
        # if nothing is certain and nothing beats the mean, all values are equal
        found = np.where(taken.any(axis=-1), _mean(safety, taken), mean)
        if np.array_equal(found, mean):
            break
        mean = found
    return mean


def _mean(values: Array, taken: Mask) -> Array:
    mean: Array = np.where(taken, values, 0.0).sum(axis=-1) / np.maximum(taken.sum(axis=-1), 1)
    return mean
