"""What one probe gave at one point: a rate over its items, or a perplexity, with its interval and its resamples."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from safescape.landscape.measures import Interval, wilson
from safescape.landscape.resampling import Figure, perplexity_of, share_of
from safescape.survey import MeasuredPoint, Outcome, PerplexityProbe, Probe, PromptProbe, Score

__all__ = ["Kind", "Probed", "probed"]

Kind = Literal["asr", "over_refusal", "accuracy", "perplexity"]


class Probed(NamedTuple):
    """The items of one probe at one point."""

    kind: Kind
    scores: tuple[Score, ...]
    """Of a rate: 1 where the attack succeeded, the request was refused, the item was right; or a share of 1."""

    @property
    def value(self) -> float:
        """Percent, or a perplexity."""
        if self.kind == "perplexity":
            return self.figure.value
        return 100.0 * sum(score.value for score in self.scores) / len(self.scores)

    @property
    def figure(self) -> Figure:
        """The same with its bootstrap over the items."""
        if self.kind == "perplexity":
            return perplexity_of(self.scores)
        return share_of(np.array([score.value for score in self.scores]))

    @property
    def interval(self) -> Interval:
        """The 95 % interval: Wilson's of a count; where items are partly right or are texts, the bootstrap's."""
        hits = sum(score.value for score in self.scores)
        if self.kind != "perplexity" and all(score.value in (0.0, 1.0) for score in self.scores):
            return wilson(round(hits), len(self.scores))
        return self.figure.interval


def probed(probe: Probe, entry: MeasuredPoint, judge: str) -> Probed:
    """Return what a probe gave, as one judge sees it."""
    if isinstance(probe, PromptProbe):
        sought = Outcome.COMPLIED if probe.harmful else Outcome.REFUSED
        hits = tuple(Score(float(outcome is sought), 1) for outcome in entry.outcomes[judge])
        return Probed("asr" if probe.harmful else "over_refusal", hits)
    return Probed("perplexity" if isinstance(probe, PerplexityProbe) else "accuracy", tuple(entry.scores))
