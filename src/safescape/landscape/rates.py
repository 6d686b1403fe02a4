"""The figure of one probe at one point (a rate, an accuracy or a perplexity), and its change between two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from safescape.landscape.bootstrap import Figure, perplexity_of, share_of
from safescape.landscape.measures import wilson
from safescape.landscape.schema import Change, Metric
from safescape.survey import MeasuredPoint, Outcome, PerplexityProbe, Point, Probe, PromptProbe, Score, Survey

Stored = Mapping[tuple[str, Point], MeasuredPoint]
"""Stored entries by probe and point."""


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
        return Reading(probe.name, "asr" if probe.harmful else "over_refusal", n, 100.0 * count / n, *wilson(count, n))
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

    Args:
        survey: If no axis leads to a model, the result is empty.
        stored: The entries that the first judge has read.

    """
    origin, *others = survey.subspace.models()
    found = {}
    for probe in survey.probes if others else ():
        before, after = stored.get((probe.name, origin)), stored.get((probe.name, others[0]))
        if before is not None and after is not None:
            found[probe.name] = _change(probe, survey.judges[0], before, after)
    return found


def _change(probe: Probe, judge: str, before: MeasuredPoint, after: MeasuredPoint) -> Change:
    readings = [reading_of(probe, entry.outcomes.get(judge, ()), entry.scores) for entry in (before, after)]
    base, tuned = (figure_of(probe, entry.outcomes.get(judge, ()), entry.scores) for entry in (before, after))
    origin, other = (Metric(value=reading.value, low=reading.low, high=reading.high) for reading in readings)
    change = Figure(tuned.value - base.value, (), tuned.resamples - base.resamples)
    kind, loss = readings[0].kind, None
    if kind in ("accuracy", "perplexity"):
        worse = 100.0 if kind == "perplexity" else -100.0
        # a model without any right answer has nothing to lose
        ratio = np.divide(worse, base.resamples, out=np.zeros_like(base.resamples), where=base.resamples > 0)
        value = worse * change.value / base.value if base.value else 0.0
        loss = Figure(value, (), ratio * change.resamples).metric()
    return Change(kind=kind, n=readings[0].n, origin=origin, other=other, change=change.metric(), loss=loss)
