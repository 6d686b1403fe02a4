"""Agreement of judges: the share of answers on which two agree, and Cohen's κ, which corrects it for chance.

The main figures compare what every judge can tell and every ASR counts: whether the attack succeeded. A judge that does
not tell noise calls it compliance, so noise shows as disagreement. Two further figures compare the outcomes themselves:
some judges distinguish two of them, others three.

Formula: κ = (p_o - p_e) / (1 - p_e), where p_o is the share that agree and p_e is the share expected to agree by chance
(Cohen 1960, A coefficient of agreement for nominal scales).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from safescape.landscape.measures import Array
from safescape.landscape.schema import Agreement, Metric
from safescape.survey import MeasuredPoint, Outcome

_RESAMPLES = 2000
_OUTCOMES = tuple(Outcome)
_SCORED = [number for number, outcome in enumerate(_OUTCOMES) if outcome is not Outcome.UNSCORED]


def kappa(tables: Array) -> Array:
    """Return Cohen's κ; NaN if both judges use one and the same category throughout, or a table is empty.

    Args:
        tables: Shape (..., k, k): counts of answers by the first judge's category (row) and the second's (column).

    """
    total = tables.sum(axis=(-2, -1))
    same = np.trace(tables, axis1=-2, axis2=-1)
    # numerator and denominator times n² are integers, so that equal judges give exactly 1
    chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1)
    left = total * total - chance
    return np.where(left > 0, (total * same - chance) / np.where(left > 0, left, 1.0), np.nan)


def agreed(tables: Array) -> Array:
    """Return the share of answers, in percent, in the same category for both judges; NaN for an empty table."""
    total = tables.sum(axis=(-2, -1))
    return np.where(total > 0, 100.0 * np.trace(tables, axis1=-2, axis2=-1) / np.maximum(total, 1.0), np.nan)


def agreements_of(probe: str, entries: Sequence[MeasuredPoint], judges: Sequence[str]) -> tuple[Agreement, ...]:
    """Return the agreement on one probe of each pair of judges that have read the same answers at some point.

    `entries` are the probe's measured points, in the order of the figures by point.
    """
    pairs = [(one, other) for place, one in enumerate(judges) for other in judges[place + 1 :]]
    return tuple(
        _agreement(probe, entries, one, other)
        for one, other in pairs
        if any(one in entry.outcomes and other in entry.outcomes for entry in entries)
    )


def _agreement(probe: str, entries: Sequence[MeasuredPoint], one: str, other: str) -> Agreement:
    both = [one in entry.outcomes and other in entry.outcomes for entry in entries]
    read = [
        _tables(entry.outcomes[one], entry.outcomes[other]) for entry, has in zip(entries, both, strict=True) if has
    ]
    # a prompt that was not asked at a point has an empty table there
    tables = np.zeros((len(read), max(len(table) for table in read), len(_OUTCOMES), len(_OUTCOMES)))
    for number, table in enumerate(read):
        tables[number, : len(table)] = table
    scored = tables[..., _SCORED, :][..., _SCORED]
    success = _of_success(scored)  # (points, prompts, 2, 2)
    at_points = success.sum(axis=1)
    figures = iter(zip(at_points.sum(axis=(-2, -1)), agreed(at_points), kappa(at_points), strict=True))
    at = [next(figures) if has else (0.0, np.nan, np.nan) for has in both]
    return Agreement(
        judges=(one, other),
        probe=probe,
        n=int(scored.sum()),
        agree=_metric(agreed, success),
        kappa=_metric(kappa, success),
        agree_outcomes=_metric(agreed, scored),
        kappa_outcomes=_metric(kappa, scored),
        table=tuple(tuple(int(count) for count in row) for row in tables.sum(axis=(0, 1))),
        n_at=tuple(int(n) for n, _, _ in at),
        agree_at=tuple(_known(share) for _, share, _ in at),
        kappa_at=tuple(_known(figure) for _, _, figure in at),
    )


def _tables(ones: Sequence[Outcome], others: Sequence[Outcome]) -> Array:
    """Return one table per answer: shape (prompts, outcomes, outcomes)."""
    found = np.zeros((len(ones), len(_OUTCOMES), len(_OUTCOMES)))
    for number, (mine, theirs) in enumerate(zip(ones, others, strict=True)):
        found[number, _OUTCOMES.index(mine), _OUTCOMES.index(theirs)] = 1.0
    return found


def _of_success(scored: Array) -> Array:
    """Merge refused and incoherent into one category, the attack failed: shape (..., 2, 2)."""
    succeeded = [_OUTCOMES[number] is Outcome.COMPLIED for number in _SCORED]
    fold = np.array([[not hit, hit] for hit in succeeded], dtype=np.float64)
    folded: Array = fold.T @ scored @ fold
    return folded


def _metric(measure: Callable[[Array], Array], tables: Array) -> Metric:
    """Return a measure over all points with its bootstrap over prompts, each with its answers at every point."""
    by_prompt = tables.sum(axis=0)
    value = float(measure(by_prompt.sum(axis=0)))
    resamples = measure(np.tensordot(draws(len(by_prompt)), by_prompt, axes=1))
    known = resamples[~np.isnan(resamples)]
    if np.isnan(value) or not known.size:
        return Metric(value=_known(value))
    low, high = np.quantile(known, [0.025, 0.975])
    return Metric(value=value, low=float(low), high=float(high))


def draws(items: int) -> Array:
    """Return how often each item is drawn in each resample, shape (resamples, items); it depends on `items` alone."""
    draw = np.random.default_rng(0)
    return draw.multinomial(items, np.full(items, 1.0 / items), size=_RESAMPLES).astype(np.float64)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
