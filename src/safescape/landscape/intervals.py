"""95 % intervals of rates, of paired differences and ratios of rates, and of means that are known up to bounds.

Rates and their differences are in percent. Formulas:

- a rate: Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001, equation 4);
- the difference of two rates of the same items: Newcombe's method 10 (Newcombe 1998, Improved confidence intervals for
  the difference between binomial proportions based on paired data), which has a width even where no item differs;
- the mean of paired differences that may be fractions: the adjusted Wald interval (Bonett and Price 2012, Adjusted Wald
  confidence interval for a difference of binomial proportions based on paired data), which has a width as well;
- the ratio of two rates of the same items: the hybrid score interval (Bonett and Price 2006, Confidence intervals for
  a ratio of binomial proportions based on paired data);
- the sum or difference of two independent figures, given the interval of each: the method of variance estimates
  recovery (Zou and Donner 2008, Construction of confidence limits about effect measures);
- a mean that is known up to bounds: Imbens and Manski 2004, Confidence intervals for partially identified parameters,
  with Student's t in place of the normal distribution.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
_LEVEL = 0.95
_HALVINGS = 60
"""Steps of the bisection for the critical value, enough for the last bit."""
_KEPT = 2**14
"""Number of results that a cache keeps, each of a few numbers: the rates of a large run are few, and come again with
every point that the run grows by."""


class Interval(NamedTuple):
    """A 95 % interval; an end that is infinite is open."""

    low: float
    high: float


class Rate(NamedTuple):
    """A share in percent, with Wilson's 95 % interval."""

    value: float
    low: float
    high: float


@lru_cache(_KEPT)
def wilson(successes: float, n: float) -> Interval:
    """Return the 95 % Wilson score interval of a share, in percent."""
    share, z2 = successes / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else 100.0 * (centre - half)
    high = 100.0 if successes == n else 100.0 * (centre + half)
    return Interval(float(low), float(high))


def rate_of(count: int, n: int) -> Rate:
    """Return how many percent of `n` are `count`, with the interval."""
    return Rate(100.0 * count / n, *wilson(count, n))


def paired_difference(hits: NDArray[np.bool_], others: NDArray[np.bool_]) -> Interval:
    """Return the interval of the rate of `hits` less that of `others`, over the same items, in percentage points."""
    n, both, mine, theirs = len(hits), int((hits & others).sum()), int(hits.sum()), int(others.sum())
    p, q = 100.0 * mine / n, 100.0 * theirs / n
    one, other = wilson(mine, n), wilson(theirs, n)
    correlation = _correlation(both, mine, theirs, n)

    def half(down: float, up: float) -> float:
        return math.sqrt(max(0.0, down**2 - 2.0 * correlation * down * up + up**2))

    return Interval(p - q - half(p - one.low, other.high - q), p - q + half(one.high - p, q - other.low))


def _correlation(both: int, mine: int, theirs: int, n: int) -> float:
    """Return Newcombe's estimate of the correlation of two paired rates, corrected for continuity where positive."""
    spread = mine * (n - mine) * theirs * (n - theirs)
    if spread == 0:
        return 0.0
    excess = both * (n - mine - theirs + both) - (mine - both) * (theirs - both)
    if excess > 0:
        return max(excess - n / 2, 0.0) / math.sqrt(spread)
    return excess / math.sqrt(spread)


def mean_difference(differences: NDArray[np.float64]) -> Interval:
    """Return the interval of the mean of paired differences, in percentage points.

    Args:
        differences: Shape (items,), from -1.0 to 1.0; fractions where an item is a mean of several answers.

    """
    n = len(differences) + 2
    mean, square = float(differences.sum()) / n, (float((differences**2).sum()) + 2) / n
    half = Z95 * math.sqrt(max(0.0, square - mean * mean) / n)
    return Interval(100.0 * max(-1.0, mean - half), 100.0 * min(1.0, mean + half))


def paired_ratio(hits: NDArray[np.bool_], others: NDArray[np.bool_]) -> Interval:
    """Return the interval of the rate of `hits` divided by the rate of `others`, over the same items.

    An item that is a hit in neither says nothing about the ratio. Without any hit the interval is 0 to infinity.
    """
    mine, theirs = int(hits.sum()), int(others.sum())
    either = int((hits | others).sum())
    if either == 0:
        return Interval(0.0, math.inf)
    differ = int((hits ^ others).sum())
    joint = math.sqrt((differ + 2) / ((mine + 1) * (theirs + 1)))
    apart = math.sqrt((1 - (mine + 1) / (either + 2)) / (mine + 1))
    apart += math.sqrt((1 - (theirs + 1) / (either + 2)) / (theirs + 1))
    z2 = (Z95 * joint / apart) ** 2

    def score(count: int) -> Interval:
        centre, spread = 2 * count + z2, math.sqrt(z2 * (z2 + 4 * count * (1 - count / either)))
        return Interval(max(0.0, centre - spread) / (2 * (either + z2)), (centre + spread) / (2 * (either + z2)))

    one, other = score(mine), score(theirs)
    return Interval(one.low / other.high, one.high / other.low if other.low > 0 else math.inf)


def combined(value: float, one: Interval, other: Interval) -> Interval:
    """Return the interval of a figure with two independent sources of chance.

    Args:
        value: The figure.
        one: Its interval if the first source were the only one.
        other: The same of the second.

    """
    low = math.hypot(max(value - one.low, 0.0), max(value - other.low, 0.0))
    high = math.hypot(max(one.high - value, 0.0), max(other.high - value, 0.0))
    return Interval(value - low, value + high)


def difference(value: float, one: Interval, value_of_other: float, other: Interval) -> Interval:
    """Return the interval of the difference of two independent figures from the interval of each."""
    low = math.hypot(max(value - one.low, 0.0), max(other.high - value_of_other, 0.0))
    high = math.hypot(max(one.high - value, 0.0), max(value_of_other - other.low, 0.0))
    return Interval(value - value_of_other - low, value - value_of_other + high)


def t_quantile(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t distribution."""
    return float(stdtrit(freedom, 0.5 + _LEVEL / 2))


def t_interval(value: float, influence: NDArray[np.float64]) -> Interval:
    """Return Student's t interval of a mean over at least two items.

    Args:
        value: The mean.
        influence: Shape (items,): what each item adds to the mean, times the number of items.

    """
    items = influence.size
    half = t_quantile(items - 1) * math.sqrt(float(influence.var(ddof=1)) / items)
    return Interval(value - half, value + half)


def between(low: float, high: float, error: float, freedom: float) -> Interval:
    """Return the interval of a mean that lies between two bounds, each measured with a standard error of `error`.

    Where both bounds are the same it is Student's t interval, with so many degrees of `freedom`. The wider they are
    apart, the less the critical value needs to be for 95 %, since the mean cannot be beyond both ends at once.
    """
    if error == 0.0:
        return Interval(low, high)
    half = _critical((high - low) / error, freedom) * error
    return Interval(low - half, high + half)


@lru_cache(_KEPT)
def _critical(apart: float, freedom: float) -> float:
    """Return the critical value where the bounds are so many standard errors apart."""
    narrow, wide = 0.0, t_quantile(freedom)
    for _ in range(_HALVINGS):
        middle = (narrow + wide) / 2
        if stdtr(freedom, middle + apart) - stdtr(freedom, -middle) < _LEVEL:
            narrow = middle
        else:
            wide = middle
    return wide
