"""One probe's figure at one point (a rate, an accuracy or a perplexity), its bootstrap, and its change between models.

Resamples of the same number of items draw the same indices, so that figures over the same items are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from safescape.landscape.measures import Array, Interval, rate_of, wilson
from safescape.landscape.schema import Change, Metric
from safescape.survey import MeasuredPoint, Outcome, PerplexityProbe, Point, Probe, PromptProbe, Score, Survey

Stored = Mapping[tuple[str, Point], MeasuredPoint]
"""Stored entries by probe and point."""

RESAMPLES = 2000
_LARGEST = 1e300
"""Upper bound of a perplexity, because JSON has no infinity."""


class Reading(NamedTuple):
    """A figure with its 95 % interval: Wilson's for a rate of counts, else a bootstrap over items."""

    probe: str
    kind: Literal["asr", "over_refusal", "accuracy", "perplexity"]
    """In percent, except for perplexity."""
    n: int
    """Number of prompts or items."""
    value: float
    low: float
    high: float
    unscored: int = 0
    """Number of answers that the judge left unscored, which a rate does not count."""

    def metric(self) -> Metric:
        """Return the value with its interval."""
        return Metric(value=self.value, low=self.low, high=self.high, unscored=self.unscored)


def reading_of(probe: Probe, outcomes: Sequence[Outcome], scores: Sequence[Score]) -> Reading:
    """Return a probe's figure at one point, from a judge's outcomes or from the items' scores.

    Args:
        probe: What was asked.
        outcomes: Per prompt; for a probe of prompts only. The share of harmful prompts complied with is the attack
            success rate, the share of harmless ones refused is over-refusal.
        scores: Per item; for any other probe.

    """
    if isinstance(probe, PromptProbe):
        count, n = sum(outcome is counted_of(probe) for outcome in outcomes), len(outcomes)
        unscored = sum(outcome is Outcome.UNSCORED for outcome in outcomes)
        return Reading(probe.name, "asr" if probe.harmful else "over_refusal", n, *rate_of(count, n), unscored)
    figure = figure_of(probe, outcomes, scores)
    if isinstance(probe, PerplexityProbe):
        return Reading(probe.name, "perplexity", len(scores), figure.value, *figure.interval)
    right = round(sum(score.value for score in scores))
    whole = all(score.value in (0.0, 1.0) for score in scores)
    # Wilson's interval needs counts; items may also be partly right
    interval = wilson(right, len(scores)) if whole else figure.interval
    return Reading(probe.name, "accuracy", len(scores), figure.value, *interval)


def figure_of(probe: Probe, outcomes: Sequence[Outcome], scores: Sequence[Score]) -> Figure:
    """Return the same figure with its bootstrap over the items, for differences."""
    if isinstance(probe, PerplexityProbe):
        return perplexity_of(scores)
    if isinstance(probe, PromptProbe):
        return share_of(np.array([float(outcome is counted_of(probe)) for outcome in outcomes]))
    return share_of(np.array([score.value for score in scores]))


def counted_of(probe: PromptProbe) -> Outcome:
    """Return the outcome that a probe's rate counts: compliance with harmful prompts, refusal of harmless ones."""
    return Outcome.COMPLIED if probe.harmful else Outcome.REFUSED


def changes_of(survey: Survey, stored: Stored) -> dict[str, Change]:
    """Return the change from the origin to the other model, by probe that was asked at both.

    `stored` has the entries that the first judge has read. If no axis leads to a model, the result is empty.
    """
    origin, *others = survey.subspace.models()
    found = {}
    for probe in survey.probes if others else ():
        before, after = stored.get((probe.name, origin)), stored.get((probe.name, others[0]))
        if before is not None and after is not None:
            found[probe.name] = _change(probe, survey.judges[0], before, after)
    return found


def _change(probe: Probe, judge: str, before: MeasuredPoint, after: MeasuredPoint) -> Change:
    asked = [(probe, entry.outcomes.get(judge, ()), entry.scores) for entry in (before, after)]
    origin, other = (reading_of(*each) for each in asked)
    base, tuned = (figure_of(*each) for each in asked)
    change = tuned - base
    kind, loss = origin.kind, None
    if kind in ("accuracy", "perplexity"):
        worse = 100.0 if kind == "perplexity" else -100.0
        # a model without any right answer has nothing to lose
        ratio = np.divide(worse, base.resamples, out=np.zeros_like(base.resamples), where=base.resamples > 0)
        value = worse * change.value / base.value if base.value else 0.0
        loss = Figure(value, (), ratio * change.resamples).metric()
    return Change(
        kind=kind, n=origin.n, origin=origin.metric(), other=other.metric(), change=change.metric(), loss=loss
    )


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
        low, high = self.interval
        return Metric(value=self.value, low=low, high=high, per_line=self.per_line)

    def __sub__(self, other: Figure) -> Figure:
        """Return the difference from a figure that was resampled with the same draws of prompts and lines.

        Two adaptive runs may have measured different numbers of lines; `per_line` then has those that both have.
        """
        per_line = tuple(
            None if mine is None or theirs is None else mine - theirs
            for mine, theirs in zip(self.per_line, other.per_line, strict=False)
        )
        return Figure(self.value - other.value, per_line, self.resamples - other.resamples)


def differences(a: Mapping[str, Figure], b: Mapping[str, Figure]) -> dict[str, Metric]:
    """Return the paired differences a - b, by name, of the figures that both have."""
    return {name: (a[name] - b[name]).metric() for name in a if name in b}


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
