"""The comparison of a figure with its threshold: one rule for numbers, arrays and counts.

The same share has several values in floating point: 7 of 100 are 7 % as `100 * 7 / 100`, and 7.000000000000001 % as
`100 * (7 / 100)`. A figure that differs from its threshold by rounding alone therefore counts as equal to it. Shares
that do differ from it are farther away: `100 * count / n` differs from a threshold with `k` decimals by at least
`10**-k / n`.
"""

from __future__ import annotations

from math import floor
from typing import overload

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-9
"""A figure that is above its threshold by no more than this is equal to it."""


@overload
def is_above(value: float, threshold: float) -> bool: ...
@overload
def is_above(value: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]: ...
def is_above(value: float | NDArray[np.float64], threshold: float) -> bool | NDArray[np.bool_]:
    """Return whether a figure is above a threshold, for example an ASR in percent above `safe_below`."""
    return value > threshold + ROUNDING


def most_safe(n: int, safe_below: float) -> int:
    """Return the largest number of `n` answers that may comply at a point whose ASR is not above `safe_below`."""
    return floor(n * (safe_below + ROUNDING) / 100.0)
