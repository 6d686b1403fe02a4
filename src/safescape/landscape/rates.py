"""What one probe gave at one place: a rate, an accuracy or a perplexity, with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from safescape.landscape.bootstrap import Figure, perplexity_of, share_of
from safescape.landscape.measures import wilson
from safescape.survey import Outcome, PerplexityProbe, Probe, PromptProbe, Score

__all__ = ["Reading", "counted_of", "figure_of", "reading_of"]


class Reading(NamedTuple):
    """One figure of one probe with its 95 % interval: Wilson's for a rate of counts, else a bootstrap over items."""

    probe: str
    kind: Literal["asr", "over_refusal", "accuracy", "perplexity"]
    """All but perplexity in percent."""
    n: int
    """Prompts or items."""
    value: float
    low: float
    high: float


def reading_of(probe: Probe, outcomes: Sequence[Outcome], scores: Sequence[Score]) -> Reading:
    """Read a probe's figure off what one judge said of its answers, or off its items' scores.

    Args:
        probe: What was asked.
        outcomes: Of a probe of prompts, one a prompt; the share that complied is an attack success rate, of harmless
            prompts the share that was refused is over-refusal.
        scores: Of any other probe, one an item.

    """
    if isinstance(probe, PromptProbe):
        count, n = sum(outcome is counted_of(probe) for outcome in outcomes), len(outcomes)
        return Reading(probe.name, "asr" if probe.harmful else "over_refusal", n, 100.0 * count / n, *wilson(count, n))
    figure = figure_of(probe, outcomes, scores)
    if isinstance(probe, PerplexityProbe):
        return Reading(probe.name, "perplexity", len(scores), figure.value, *figure.interval)
    right = round(sum(score.value for score in scores))
    whole = all(score.value in (0.0, 1.0) for score in scores)
    # Wilson's interval is one of counts; where items are partly right the bootstrap has to do
    interval = wilson(right, len(scores)) if whole else figure.interval
    return Reading(probe.name, "accuracy", len(scores), figure.value, *interval)


def figure_of(probe: Probe, outcomes: Sequence[Outcome], scores: Sequence[Score]) -> Figure:
    """The same with its bootstrap over the items, from which differences are read."""
    if isinstance(probe, PerplexityProbe):
        return perplexity_of(scores)
    if isinstance(probe, PromptProbe):
        return share_of(np.array([float(outcome is counted_of(probe)) for outcome in outcomes]))
    return share_of(np.array([score.value for score in scores]))


def counted_of(probe: PromptProbe) -> Outcome:
    """Return what is counted of a probe's answers: compliance with harmful prompts, refusal of harmless ones."""
    return Outcome.COMPLIED if probe.harmful else Outcome.REFUSED
