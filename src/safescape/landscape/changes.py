"""What becomes of every probe from the origin to the other model, paired item by item."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from safescape.landscape.figures import Change, Metric
from safescape.landscape.probed import Probed, probed
from safescape.landscape.resampling import Figure
from safescape.survey import MeasuredPoint, Point, Survey

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
            judge = survey.judges[0]
            found[probe.name] = _change(probed(probe, before, judge), probed(probe, after, judge))
    return found


def _change(before: Probed, after: Probed) -> Change:
    base, tuned = before.figure, after.figure
    change = Figure(tuned.value - base.value, (), tuned.resamples - base.resamples)
    worse = {"accuracy": -1.0, "perplexity": 1.0}.get(before.kind)
    loss = None
    if worse is not None:
        # who gets nothing right has nothing to lose
        ratio = np.divide(100.0 * worse, base.resamples, out=np.zeros_like(base.resamples), where=base.resamples > 0)
        value = 100.0 * worse * change.value / base.value if base.value else 0.0
        loss = Figure(value, (), ratio * change.resamples).metric()
    return Change(
        kind=before.kind,
        n=len(before.scores),
        origin=_metric(base, before),
        other=_metric(tuned, after),
        change=change.metric(),
        loss=loss,
    )


def _metric(figure: Figure, there: Probed) -> Metric:
    return Metric(value=figure.value, low=there.interval.low, high=there.interval.high)
