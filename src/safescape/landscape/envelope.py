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

__all__ = ["Bounds", "bounded", "envelope", "visage_bounds"]

Mask = NDArray[np.bool_]
_ROUNDS = 50
"""More than the search for the extreme mean takes, which at least halves what is left in each."""


class Bounds(NamedTuple):
    """The least and the greatest value that is possible."""

    low: Array
    high: Array

    @property
    def middle(self) -> Array:
        """The value that is stated."""
        return (self.low + self.high) / 2

    @property
    def width(self) -> Array:
        """How far apart they are."""
        return self.high - self.low


def envelope(asr: Array, places: NDArray[np.int_]) -> Bounds:
    """Return between which values the ASR lies at every place of a grid.

    Args:
        asr: Shape (..., measured), percent, in the order of α.
        places: Which places of the grid those are, ascending; the first and the last of the grid are among them.

    Returns:
        Shape (..., grid). One and the same array twice if the grid is measured whole.

    """
    grid = np.arange(places[-1] + 1)
    if len(places) == len(grid):
        return Bounds(asr, asr)
    right = np.searchsorted(places, grid)
    left = right - (places[right] != grid)
    return Bounds(np.minimum(asr[..., left], asr[..., right]), np.maximum(asr[..., left], asr[..., right]))


def bounded(measure: Callable[[Array], Array], asr: Bounds) -> Bounds:
    """Return a measure's bounds, for one that only rises or only falls as the ASR of any point does."""
    one = measure(asr.low)
    if asr.high is asr.low:
        return Bounds(one, one)
    other = measure(asr.high)
    return Bounds(np.minimum(one, other), np.maximum(one, other))


def visage_bounds(asr: Bounds, prompts: int) -> Bounds:
    """Return the bounds of VISAGE, which does neither: a point that reaches 100 leaves the mean.

    A place that may or may not be at 100 is taken as what makes the mean greatest, its lower bound or 100, and
    least, one prompt short of 100 or 100. Such a choice of a mean's members is best where every member taken is on the
    right side of the mean itself, which is found by starting from any and repeating (Dinkelbach 1967, On nonlinear
    fractional programming).

    Args:
        asr: At every place, percent.
        prompts: How many were asked where all were.

    """
    if asr.high is asr.low:
        exact = visage(asr.low)
        return Bounds(exact, exact)
    open_, least = (asr.high >= 100.0) & (asr.low < 100.0), 100.0 / prompts
    certain = asr.high < 100.0
    greatest = _extreme(np.where(certain | open_, 100.0 - asr.low, 0.0), certain, open_, np.greater)
    short = np.where(certain, 100.0 - asr.high, np.where(open_, np.minimum(least, 100.0 - asr.low), 0.0))
    least_mean = _extreme(short, certain, open_, np.less)
    # where no place is certain to be below 100, all may be at it
    return Bounds(np.where(certain.any(axis=-1), least_mean, 0.0), greatest)


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
