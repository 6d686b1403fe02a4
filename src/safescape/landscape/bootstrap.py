"""The bootstrap: figures with their resamples, which give the intervals of figures and of their differences.

Resamples of the same number of items draw the same indices, so that figures over the same items are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from safescape.landscape.measures import Array, Interval
from safescape.landscape.schema import Metric
from safescape.survey import Score

RESAMPLES = 2000
_LARGEST = 1e300
"""Upper bound of a perplexity, because JSON has no infinity."""


class Figure(NamedTuple):
    """The value of a measure with its resamples."""

    value: float
    per_line: tuple[float | None, ...]
    """By axis; None for a line that is not finished. Empty where lines have no meaning."""
    resamples: Array
    """Shape (RESAMPLES,)."""

    @property
    def interval(self) -> Interval:
        """The 95 % interval: the 2.5 % and 97.5 % quantiles of the resamples."""
        low, high = np.quantile(self.resamples, [0.025, 0.975])
        return Interval(float(low), float(high))

    def metric(self) -> Metric:
        """Return the value with its interval."""
        return Metric(value=self.value, low=self.interval.low, high=self.interval.high, per_line=self.per_line)


def difference(a: Mapping[str, Figure], b: Mapping[str, Figure]) -> dict[str, Metric]:
    """Return the paired differences a - b of figures that were resampled with the same draws of prompts and lines.

    Two adaptive runs may have measured different numbers of lines; `per_line` then has those that both have.
    """
    return {
        name: Figure(
            a[name].value - b[name].value,
            tuple(
                None if mine is None or theirs is None else mine - theirs
                for mine, theirs in zip(a[name].per_line, b[name].per_line, strict=False)
            ),
            a[name].resamples - b[name].resamples,
        ).metric()
        for name in a
        if name in b
    }


def share_of(hits: Array) -> Figure:
    """Return the mean over items in percent, with its resamples.

    Args:
        hits: Shape (items,), from 0.0 to 1.0.

    """
    return Figure(100.0 * float(hits.mean()), (), 100.0 * (draws(hits.size) @ hits) / hits.size)


def perplexity_of(scores: Sequence[Score]) -> Figure:
    """Return the perplexity exp(Σ nats / Σ tokens) over texts, with its resamples."""
    nats, tokens = np.array([[score.value, score.weight] for score in scores]).T
    drawn = draws(len(scores))
    with np.errstate(over="ignore"):
        value, resamples = np.exp(nats.sum() / tokens.sum()), np.exp((drawn @ nats) / (drawn @ tokens))
    return Figure(min(float(value), _LARGEST), (), np.minimum(resamples, _LARGEST))


def draws(items: int) -> Array:
    """Return how often each item is drawn in each resample, shape (RESAMPLES, items); it depends on `items` alone."""
    draw = np.random.default_rng(0)
    return draw.multinomial(items, np.full(items, 1.0 / items), size=RESAMPLES).astype(np.float64)
