"""What becomes of every probe from the origin to the other model, paired item by item."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from safescape.landscape.figures import Change, Metric
from safescape.landscape.readings import figure_of, reading_of
from safescape.landscape.resampling import Figure
from safescape.survey import MeasuredPoint, Point, Probe, Survey

__all__ = ["changes_of"]


def changes_of(survey: Survey, stored: Mapping[tuple[str, Point], MeasuredPoint]) -> dict[str, Change]:
    """Return by probe what changed, as the first judge sees it, for those that were asked at both models.

    Args:
        survey: Where its first axis leads to no other model, nothing changes: the result is empty.
        stored: What is measured.

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
        # who gets nothing right has nothing to lose
        ratio = np.divide(worse, base.resamples, out=np.zeros_like(base.resamples), where=base.resamples > 0)
        value = worse * change.value / base.value if base.value else 0.0
        loss = Figure(value, (), ratio * change.resamples).metric()
    return Change(kind=kind, n=readings[0].n, origin=origin, other=other, change=change.metric(), loss=loss)
