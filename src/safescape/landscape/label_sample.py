"""Which answers of a run a person labels: a stratified random sample.

Strata are the outcomes of a judge, near the origin and far from it. The sample is allocated in proportion to the square
root of a stratum's size (Bankier 1988, Power allocations, The American Statistician 42:174-177), between equal numbers,
which tell most of the judge's rare outcomes, and proportional ones, which tell most of its common ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from safescape.survey import Outcome, Point, SampledAnswer, Stratum

_FEWEST = 3
"""The least number of answers of a stratum, if it has so many."""


class Candidate(NamedTuple):
    """An answer that may be labelled."""

    response: int
    """Its id in the run's database."""
    point: Point
    outcome: Outcome
    """By the judge of the strata."""


def strata_of(candidates: Sequence[Candidate]) -> dict[int, str]:
    """Return the name of each answer's stratum, by its id.

    Near are the points whose distance from the origin is at most the median over the measured points; checkpoints of a
    trajectory are far.
    """
    distances = {candidate.point: _distance(candidate.point) for candidate in candidates}
    middle = float(np.median(list(distances.values()))) if distances else 0.0
    return {
        candidate.response: f"{'near' if distances[candidate.point] <= middle else 'far'}, {candidate.outcome.value}"
        for candidate in candidates
    }


def draw_sample(
    strata: Mapping[int, str], n: int, seed: int, sampled: Sequence[SampledAnswer] = ()
) -> tuple[SampledAnswer, ...]:
    """Return a sample of `n` answers, or of all if there are fewer, in the order in which they are shown.

    An earlier, smaller sample stays as it is, and is continued. The order mixes the strata at random, so that a person
    who stops early has labelled some of each, and cannot tell a stratum by an answer's place.

    Args:
        strata: The stratum of each answer, by the answer's id.
        n: Number of answers.
        seed: Of the random order.
        sampled: The earlier sample.

    """
    sizes = Counter(strata.values())
    have = {row.response for row in sampled}
    taken = Counter(strata[row.response] for row in sampled if row.response in strata)
    added: list[tuple[float, int]] = []
    for name, wanted in _allocation(sizes, min(n, len(strata))).items():
        left = sorted(response for response, stratum in strata.items() if stratum == name and response not in have)
        # seeded by the stratum's name: what one stratum gets does not depend on the others
        draw = np.random.default_rng([seed, *name.encode()])
        chosen = draw.permutation(left)[: max(0, wanted - taken[name])].tolist() if left else []
        added += [((place + float(draw.random())) / max(1, len(chosen)), row) for place, row in enumerate(chosen)]
    kept = tuple(row._replace(answers=sizes[row.stratum] or row.answers) for row in sampled)
    rows = sorted(added)[: max(0, n - len(kept))]
    return (*kept, *(SampledAnswer(row, strata[row], sizes[strata[row]]) for _, row in rows))


def sampled_strata(rows: Sequence[SampledAnswer], *, says_known: bool) -> tuple[Stratum, ...]:
    """Return the strata that a sample was drawn from.

    Args:
        rows: The sample.
        says_known: Whether the judge to be measured is the one of the strata, so that it calls every answer of a
            stratum the same. Strata of answers that it left unscored are then left out, unless a label is in them.

    """
    sizes = {row.stratum: row.answers for row in rows}
    labelled = {row.stratum for row in rows if row.label is not None}
    complied, unscored = Outcome.COMPLIED.value, Outcome.UNSCORED.value
    return tuple(
        Stratum(name, answers, name.endswith(f", {complied}") if says_known else None)
        for name, answers in sorted(sizes.items())
        if name in labelled or not (says_known and name.endswith(f", {unscored}"))
    )


def _distance(point: Point) -> float:
    return math.inf if point.waypoint is not None else math.hypot(*point.coords)


def _allocation(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """Return how many answers of each stratum are sampled; together `n`."""
    found = {name: min(size, _FEWEST) for name, size in sizes.items()}
    while sum(found.values()) > n:
        found[max(sorted(found), key=found.__getitem__)] -= 1
    while sum(found.values()) < n:
        # the stratum that is farthest below its share (Sainte-Laguë's method over the square roots)
        open_ = [name for name, size in sorted(sizes.items()) if found[name] < size]
        found[max(open_, key=lambda name: math.sqrt(sizes[name]) / (2 * found[name] + 1))] += 1
    return found
