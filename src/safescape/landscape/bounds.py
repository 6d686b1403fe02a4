"""What is known of a line between its measured points, if only some points of its grid are measured.

One assumption: between two neighbouring measured points the ASR does not turn, so it lies between theirs. Of every
measure follow the least and the greatest value that this allows. On a grid that is measured whole both are the measure
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.landscape.measures import Array, visage

__all__ = ["Between", "Estimate", "bounded", "envelope", "visage_of"]

Mask = NDArray[np.bool_]
_ROUNDS = 50
"""More than the search for the extreme mean takes, which at least halves what is left in each."""


class Between(NamedTuple):
    """Between which values the ASR lies at every place of a grid, percent: shape (..., grid)."""

    low: Array
    high: Array

    @property
    def is_exact(self) -> bool:
        """Whether every place is measured; then `low` and `high` are one and the same array."""
        return self.high is self.low


class Estimate(NamedTuple):
    """A measure of a line of which not all is known."""

    low: Array
    """The least that is possible,"""
    value: Array
    """what is stated,"""
    high: Array
    """and the greatest."""


def envelope(asr: Array, places: NDArray[np.int_]) -> Between:
    """Return between which values the ASR lies at every place of a grid.

    Args:
        asr: Shape (..., measured), percent, in the order of α.
        places: Which places of the grid those are, ascending; the first and the last of the grid are among them.

    """
    grid = np.arange(places[-1] + 1)
    if len(places) == len(grid):
        return Between(asr, asr)
    right = np.searchsorted(places, grid)
    left = right - (places[right] != grid)
    return Between(np.minimum(asr[..., left], asr[..., right]), np.maximum(asr[..., left], asr[..., right]))


def bounded(measure: Callable[[Array], Array], asr: Between) -> Estimate:
    """Return what is known of a measure that only rises, or only falls, as the ASR of any place does.

    Stated is the middle, which of the safety AUC is what linear interpolation between the points gives.
    """
    one = measure(asr.low)
    if asr.is_exact:
        return Estimate(one, one, one)
    other = measure(asr.high)
    return Estimate(np.minimum(one, other), (one + other) / 2, np.maximum(one, other))


def visage_of(asr: Between, prompts: int) -> Estimate:
    """Return what is known of VISAGE, which does neither: a place that reaches 100 leaves the mean.

    A place that may or may not be at 100 makes the mean greatest at its lower bound or at 100, and least one prompt
    short of 100 or at 100. Such a choice of a mean's members is best where every member taken is on the right side of
    the mean itself, which is found by starting from any and repeating (Dinkelbach 1967, On nonlinear fractional
    programming). Stated is the mean to which such a place belongs by half.

    Args:
        asr: At every place, percent.
        prompts: How many are asked where all are.

    """
    if asr.is_exact:
        exact = visage(asr.low)
        return Estimate(exact, exact, exact)
    certain, open_ = asr.high < 100.0, (asr.high >= 100.0) & (asr.low < 100.0)
    safest = 100.0 - asr.low
    # one prompt short of 100, where that is more than the lower bound
    unsafest = np.where(open_, np.minimum(100.0 / prompts, safest), 100.0 - asr.high)
    least = _extreme(unsafest, certain, open_, np.less)
    weight = certain + open_ / 2
    value = (weight * (safest + unsafest) / 2).sum(axis=-1) / np.maximum(weight.sum(axis=-1), 0.5)
    # where no place is certain to be below 100, all may be at it
    return Estimate(np.where(certain.any(axis=-1), least, 0.0), value, _extreme(safest, certain, open_, np.greater))


def _extreme(safety: Array, certain: Mask, open_: Mask, better: Callable[[Array, Array], Mask]) -> Array:
    """The extreme mean of all that is certain and any of what is open; 0 where there is nothing."""
    taken = certain | open_
    mean = _mean(safety, taken)
    for _ in range(_ROUNDS):
        taken = certain | (open_ & better(safety, mean[..., None]))
        # where nothing is certain and nothing better than the mean, the mean is of equals
        found = np.where(taken.any(axis=-1), _mean(safety, taken), mean)
        if np.array_equal(found, mean):
            break
        mean = found
    return mean


def _mean(values: Array, taken: Mask) -> Array:
    mean: Array = np.where(taken, values, 0.0).sum(axis=-1) / np.maximum(taken.sum(axis=-1), 1)
    return mean
