"""A figure with what its interval rests on, and the interval.

A figure of a landscape is a mean over lines, and each line's value is computed from the answers to the same prompts. So
two sources of chance are told apart:

- **directions**: lines in random directions are a sample of all directions. The variance of the mean is that of the
  values divided by their number, with Student's t, because the lines are few;
- **prompts**: they are common to all lines, so that their part does not shrink with the number of lines. It is the
  covariance between lines of the jackknife's pseudo-values of the prompts (Efron and Stein 1981).

The half-widths of the two are added as squares (Zou and Donner 2008). One Student's t over the sum of both variances,
with Satterthwaite's degrees of freedom, holds the truth in 92 % of the cases with three lines: where they lie close
together by chance, it takes the variance for well known.

With one line there is nothing to say about other directions: the figure is about this line, and its interval is over
prompts. `python benchmarks/intervals.py` simulates how often the intervals hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from safescape.landscape.intervals import Interval, between, combined, difference, paired_difference
from safescape.landscape.measures import Array, Estimate
from safescape.landscape.schema import About, Metric

EVERYWHERE = Interval(-math.inf, math.inf)
_MOST_LINES = 1000
"""More lines than this are not suggested to anyone."""


class Figure(NamedTuple):
    """A figure, line by line, with the chance in it."""

    lines: Estimate
    """Shape (lines,): the value of each finished line, and the bounds that the grid or unmeasured places leave it."""
    per_line: tuple[float | None, ...] = ()
    """By axis; None for a line that is not finished. Empty where lines have no meaning."""
    pseudo: Array | None = None
    """Shape (lines, items): the pseudo-values of the items; None where `prompts` says what their choice leaves open."""
    prompts: Interval | None = None
    """The interval of the mean of these lines by the choice of prompts alone; None: it follows from `pseudo`, or, where
    that is None, too, it is not determined."""
    least: float = 0.0
    """The least variance of one line's value, where the observed one may be smaller by chance: answers that are all
    the same, or edges that lie in the same step of the grid."""
    reach: Interval = EVERYWHERE
    """The values that the figure can have."""
    hits: bool = False
    """Whether every item is a hit or a miss: the figure is a rate, and `pseudo` is 100 or 0."""
    about: About | None = None

    @property
    def value(self) -> float:
        """The mean over the lines."""
        return float(self.lines.value.mean())

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval; None if it is not determined."""
        found = self._interval(len(self.lines.value))
        if found is None:
            return None
        return Interval(max(found.low, self.reach.low), min(found.high, self.reach.high))

    @property
    def directions_to_halve(self) -> int | None:
        """The number of directions with which the interval would be half as wide.

        None if it is about one line or is open, or if no number of directions would do: then the prompts, or the steps
        of the grid, make it wide.
        """
        lines = len(self.lines.value)
        now = self._interval(lines) if lines > 1 else None
        if now is None or not math.isfinite(now.high - now.low) or now.high == now.low:
            return None
        wanted = (now.high - now.low) / 2
        few, enough = lines, _MOST_LINES
        if not self._width(enough) <= wanted:
            return None
        while enough - few > 1:
            middle = (few + enough) // 2
            few, enough = (few, middle) if self._width(middle) <= wanted else (middle, enough)
        return enough

    def metric(self) -> Metric:
        """Return the value with its interval; an open end is None."""
        found = self.interval
        low, high = (None, None) if found is None else (_finite(found.low), _finite(found.high))
        return Metric(
            value=self.value,
            low=low,
            high=high,
            per_line=self.per_line,
            about=self.about,
            directions_to_halve=self.directions_to_halve,
        )

    def __sub__(self, other: Figure) -> Figure:
        """Return the difference from a figure over the same items, in the same order.

        Lines are paired by their number. Two adaptive runs may have measured different numbers of lines: their figures
        are compared as independent ones, and `per_line` has the lines that both have.
        """
        per_line = tuple(
            None if mine is None or theirs is None else mine - theirs
            for mine, theirs in zip(self.per_line, other.per_line, strict=False)
        )
        reach = Interval(self.reach.low - other.reach.high, self.reach.high - other.reach.low)
        about = self.about if self.about == other.about else None
        if len(self.lines.value) != len(other.lines.value):
            whole = _apart(self.value, self.interval, other.value, other.interval)
            value = np.array([self.value - other.value])
            return Figure(Estimate(value, value, value), per_line, prompts=whole, reach=reach, about=about)
        lines = Estimate(
            self.lines.low - other.lines.high, self.lines.value - other.lines.value, self.lines.high - other.lines.low
        )
        pseudo, prompts = None, None
        if self.pseudo is None or other.pseudo is None:
            prompts = _apart(self.value, self._by_prompts, other.value, other._by_prompts)
        else:
            pseudo = self.pseudo - other.pseudo
            if self.hits and other.hits:
                prompts = paired_difference(self.pseudo[0] > 0, other.pseudo[0] > 0)
        return Figure(lines, per_line, pseudo, prompts, self.least + other.least, reach, about=about)

    def _interval(self, lines: int) -> Interval | None:
        """The interval that so many lines would have, with the variances of those that there are."""
        low, high = float(self.lines.low.mean()), float(self.lines.high.mean())
        if lines == 1:
            return self._by_prompts
        spread = max(float(self.lines.value.var(ddof=1)), self.least) / lines
        prompts = self.prompts
        if prompts is None:
            if self.pseudo is None:
                return None
            items = self.pseudo.shape[1]
            if items < 2:
                return self.reach
            prompts = between(low, high, math.sqrt(_shared(self.pseudo)), items - 1)
        return combined_at(low, high, between(low, high, math.sqrt(spread), lines - 1), prompts)

    @property
    def _by_prompts(self) -> Interval | None:
        """The interval of the mean of these lines by the choice of prompts alone."""
        if self.prompts is not None or self.pseudo is None:
            return self.prompts
        items = self.pseudo.shape[1]
        if items < 2:
            return self.reach
        variance = max(float(self.pseudo.mean(axis=0).var(ddof=1)) / items, self.least)
        low, high = float(self.lines.low.mean()), float(self.lines.high.mean())
        return between(low, high, math.sqrt(variance), items - 1)

    def _width(self, lines: int) -> float:
        found = self._interval(lines)
        return math.inf if found is None else found.high - found.low


def combined_at(low: float, high: float, one: Interval, other: Interval) -> Interval:
    """Return the interval of a figure between two bounds, with two independent sources of chance."""
    return Interval(
        combined(low, one, other).low if math.isfinite(low) else low,
        combined(high, one, other).high if math.isfinite(high) else high,
    )


def differences(a: Mapping[str, Figure], b: Mapping[str, Figure]) -> dict[str, Metric]:
    """Return the paired differences a - b, by name, of the figures that both have."""
    return {name: (a[name] - b[name]).metric() for name in a if name in b}


def _shared(pseudo: Array) -> float:
    """Return the variance of the mean that the prompts cause in all lines alike: the mean covariance of two lines."""
    lines, items = pseudo.shape
    together = lines * float(pseudo.mean(axis=0).var(ddof=1))
    alone = float(pseudo.var(axis=1, ddof=1).mean())
    return max(0.0, together - alone) / (lines - 1) / items


def _apart(value: float, one: Interval | None, value_of_other: float, other: Interval | None) -> Interval | None:
    return None if one is None or other is None else difference(value, one, value_of_other, other)


def _finite(end: float) -> float | None:
    return end if math.isfinite(end) else None
