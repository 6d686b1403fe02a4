"""All figures of a run, from its open store: the landscape, its corrections, and the account of ended noise."""

from __future__ import annotations

from safescape.landscape import (
    MAX_UNSCORED,
    SAFE_BELOW,
    AskedAgain,
    Landscape,
    known_errors,
    landscape_of,
    with_corrections,
    with_noise,
)
from safescape.store import KnownPoints, Store


def stored_landscape(
    store: Store,
    *,
    safe_below: float = SAFE_BELOW,
    max_unscored: float = MAX_UNSCORED,
    known: KnownPoints | None = None,
) -> Landscape | None:
    """Compute the figures of a run, finished or not; None if nothing was measured in it yet.

    Args:
        store: The run, open.
        safe_below: ASR in percent up to which a point counts as safe.
        max_unscored: Share of unscored answers, in percent, above which a rate decides nothing.
        known: See `StoredPoints.measured`.

    """
    survey, measured = store.survey, store.points.measured(known)
    if not measured:
        return None
    landscape = landscape_of(survey, measured, safe_below=safe_below, max_unscored=max_unscored)
    labels = store.labels
    errors = known_errors(store.verdicts.judges(), labels.agreements(), labels.sample(), labels.outcomes)
    landscape = with_corrections(landscape, measured, survey, errors)
    if survey.noise is None:
        return landscape
    whole = store.noise.whole()
    ended = {answer.response: answer for answer in store.noise.ended()} if whole else {}
    again = [AskedAgain(ended[each.response].point, ended[each.response].outcomes, each.outcomes) for each in whole]
    return with_noise(landscape, store.noise.count(), again)
