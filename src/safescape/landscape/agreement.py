"""Agreement of judges: the share of answers on which two agree, and Cohen's κ, which corrects it for chance.

The main figures compare what every judge can tell and every ASR counts: whether the attack succeeded. A judge that does
not tell noise calls it compliance, so noise shows as disagreement. Two further figures compare the outcomes themselves:
some judges distinguish two of them, others three.

Formula: κ = (p_o - p_e) / (1 - p_e), where p_o is the share that agree and p_e is the share expected to agree by chance
(Cohen 1960, A coefficient of agreement for nominal scales).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.landscape.measures import Array
from safescape.landscape.schema import Agreement, Metric
from safescape.survey import MeasuredPoint, Outcome, Outcomes

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
    pairs = [(entry.outcomes[one], entry.outcomes[other]) for entry, has in zip(entries, both, strict=True) if has]
    tables = _tables(pairs)
    scored, resampled = _scored(tables.by_prompt.sum(axis=0)), _scored(_resampled(tables.by_prompt))
    success, resampled_success, successes = map(_of_success, (scored, resampled, _scored(tables.at_points)))
    numbers = successes.sum(axis=(-2, -1)).astype(int).tolist()
    at_each = iter(zip(numbers, _known(agreed(successes)), _known(kappa(successes)), strict=True))
    n_at, agree_at, kappa_at = zip(*(next(at_each) if has else (0, None, None) for has in both), strict=True)
    return Agreement(
        judges=(one, other),
        probe=probe,
        n=int(scored.sum()),
        agree=_metric(agreed, success, resampled_success),
        kappa=_metric(kappa, success, resampled_success),
        agree_outcomes=_metric(agreed, scored, resampled),
        kappa_outcomes=_metric(kappa, scored, resampled),
        table=tuple(tuple(int(count) for count in row) for row in tables.by_prompt.sum(axis=0)),
        n_at=n_at,
        agree_at=agree_at,
        kappa_at=kappa_at,
    )


class _Tables(NamedTuple):
    """Counts of answers by the outcomes of two judges: rows are the one's, columns the other's, as in `Outcome`."""

    by_prompt: Array
    """Shape (prompts, outcomes, outcomes)."""
    at_points: Array
    """Shape (points, outcomes, outcomes)."""


def _tables(pairs: Sequence[tuple[Sequence[Outcome], Sequence[Outcome]]]) -> _Tables:
    """Count the answers at each point, given by both judges' outcomes; a point may have been asked fewer prompts."""
    points, prompts, size = len(pairs), max(len(one) for one, _ in pairs), len(_OUTCOMES)
    missing = bytes([size])
    ones, others = (
        np.frombuffer(b"".join([Outcomes.of(read).codes.ljust(prompts, missing) for read in side]), np.uint8)
        for side in zip(*pairs, strict=True)
    )
    # one judge's outcome and the other's as one number; a prompt that was not asked is a row of its own
    cells = (size * ones.astype(np.intp) + others % size).reshape(points, prompts)
    bins = size * (size + 1)

    def counted(places: NDArray[np.intp], number: int) -> Array:
        found = np.bincount((cells + bins * places).ravel(), minlength=bins * number)
        filled: Array = found.reshape(number, size + 1, size)[:, :size].astype(np.float64)
        return filled

    return _Tables(counted(np.arange(prompts), prompts), counted(np.arange(points)[:, None], points))


def _scored(tables: Array) -> Array:
    """Return the tables without the answers that one of the judges left unscored."""
    return tables[..., _SCORED, :][..., _SCORED]


def _of_success(scored: Array) -> Array:
    """Merge refused and incoherent into one category, the attack failed: shape (..., 2, 2)."""
    succeeded = [_OUTCOMES[number] is Outcome.COMPLIED for number in _SCORED]
    fold = np.array([[not hit, hit] for hit in succeeded], dtype=np.float64)
    folded: Array = fold.T @ scored @ fold
    return folded


def _resampled(by_prompt: Array) -> Array:
    """Return the counts in resamples of the prompts, each with its answers at every point: (resamples, k, k)."""
    prompts, size, _ = by_prompt.shape
    counts = by_prompt.reshape(prompts, size * size).T @ draws(prompts).T
    # in memory the resamples are the last axis, over which numpy is fastest
    return counts.reshape(size, size, _RESAMPLES).transpose(2, 0, 1)


def _metric(measure: Callable[[Array], Array], table: Array, resampled: Array) -> Metric:
    """Return a measure of a table, with the 2.5 % and 97.5 % quantiles over its resamples."""
    value, resamples = float(measure(table)), measure(resampled)
    known = resamples[~np.isnan(resamples)]
    if np.isnan(value) or not known.size:
        return Metric(value=None if np.isnan(value) else value)
    low, high = np.quantile(known, [0.025, 0.975])
    return Metric(value=value, low=float(low), high=float(high))


@lru_cache(maxsize=4)
def draws(items: int) -> Array:
    """Return how often each item is drawn in each resample, shape (resamples, items); it depends on `items` alone."""
    draw = np.random.default_rng(0)
    found = draw.multinomial(items, np.full(items, 1.0 / items), size=_RESAMPLES).astype(np.float64)
    found.setflags(write=False)
    return found


def _known(values: Array) -> list[float | None]:
    """Return numbers as a list, with None for NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]
