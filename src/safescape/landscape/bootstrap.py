"""The bootstrap: a figure with its resamples, from which intervals of it and of differences are read.

All resamples of as many items draw the same ones, so figures over the same items are paired wherever they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from safescape.landscape.measures import Array, Interval
from safescape.landscape.schema import Metric
from safescape.survey import Score

__all__ = ["RESAMPLES", "Figure", "difference", "draws", "perplexity_of", "share_of"]

RESAMPLES = 2000
_LARGEST = 1e300
"""A perplexity above this is written as this: JSON has no infinity."""


class Figure(NamedTuple):
    """A measure's value with its resamples, from which intervals of it and of differences are read."""

    value: float
    per_line: tuple[float | None, ...]
    resamples: Array
    """Shape (RESAMPLES,)."""

    @property
    def interval(self) -> Interval:
        """The 95 % interval: quantiles of the resamples."""
        low, high = np.quantile(self.resamples, [0.025, 0.975])
        return Interval(float(low), float(high))

    def metric(self) -> Metric:
        """The value with its interval."""
        return Metric(value=self.value, low=self.interval.low, high=self.interval.high, per_line=self.per_line)


def difference(a: Mapping[str, Figure], b: Mapping[str, Figure]) -> dict[str, Metric]:
    """Return a - b, figure by figure, paired: both were resampled with the same draws of prompts and lines.

    Two adaptive runs may have measured different numbers of lines; then those that both have stand line by line.
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
    """Return a mean over items in percent, with its resamples. `hits`: from 0.0 to 1.0 an item."""
    return Figure(100.0 * float(hits.mean()), (), 100.0 * (draws(hits.size) @ hits) / hits.size)


def perplexity_of(scores: Sequence[Score]) -> Figure:
    """Return exp(Σ nats / Σ tokens) over texts, with its resamples."""
    nats, tokens = np.array([[score.value, score.weight] for score in scores]).T
    drawn = draws(len(scores))
    with np.errstate(over="ignore"):
        value, resamples = np.exp(nats.sum() / tokens.sum()), np.exp((drawn @ nats) / (drawn @ tokens))
    return Figure(min(float(value), _LARGEST), (), np.minimum(resamples, _LARGEST))


def draws(items: int) -> Array:
    """How often each item is drawn in each resample; the same for every set of as many items, so that sets pair."""
    draw = np.random.default_rng(0)
    return draw.multinomial(items, np.full(items, 1.0 / items), size=RESAMPLES).astype(np.float64)
