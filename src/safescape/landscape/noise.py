"""How often a verdict would be another if answers that ended as noise had been written to their end.

A random one percent of them was asked again (`measure.noise`): some points, drawn in proportion to the number of such
answers, and some answers at each. The share that changes is the mean over the draws of each point's own share
(Hansen and Hurwitz 1943, On the theory of sampling from finite populations, Annals of Mathematical Statistics
14:333-362). Its interval is Wilson's, at the number of answers that would say as much if they were independent, n / (1
+ (m - 1) ρ) for m answers at a point (Kish 1965, Survey Sampling), with ρ = `_ALIKE`, since a handful of points cannot
show how alike their answers are. A test simulates how often it holds the true share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from safescape.landscape.intervals import wilson
from safescape.landscape.schema import EndedNoise, Landscape, Metric
from safescape.survey import Outcome, Point

_ONE_IN = 100
_AT_A_POINT = 8
"""Answers that are asked again at one point, since each point is a move of the weights."""
_ALIKE = 0.1
"""ρ, the assumed correlation within a point between answers whose verdicts change."""


class Design(NamedTuple):
    """How many answers are asked again."""

    draws: int
    """Points that are drawn; one with many such answers may be drawn more than once."""
    each: int
    """Answers for each draw, as far as the point has as many."""


def sample_design(ended: int) -> Design:
    """Return the design of the sample among a number of answers that ended as noise: one percent of them."""
    number = -(-ended // _ONE_IN)
    draws = -(-number // _AT_A_POINT)
    return Design(draws, -(-number // draws))


class AskedAgain(NamedTuple):
    """An answer that ended as noise and was asked again."""

    point: Point
    early: Mapping[str, Outcome]
    """By judge, of the answer that ended as noise."""
    whole: Mapping[str, Outcome]
    """By judge, of the answer that was written to its end."""


def with_noise(landscape: Landscape, count: tuple[int, int], again: Sequence[AskedAgain]) -> Landscape:
    """Return a landscape with the account of the answers that ended as noise.

    Args:
        landscape: Of a survey that lets noise end.
        count: How many answers ended as noise, and how many answers there are.
        again: The sample that was asked again; empty if none was yet.

    """
    judges = dict.fromkeys(judge for answer in again for judge in answer.whole)
    changed = {judge: sum(answer.early.get(judge) != answer.whole[judge] for answer in again) for judge in judges}
    noise = EndedNoise(
        answers=count[0], asked=count[1], again=len(again), changed=changed, share=_share(again, count[0])
    )
    return landscape.model_copy(update={"noise": noise})


def _share(again: Sequence[AskedAgain], ended: int) -> Metric:
    if not again:
        return Metric()
    points: dict[Point, list[bool]] = {}
    for answer in again:
        changes = any(answer.early.get(judge) != outcome for judge, outcome in answer.whole.items())
        points.setdefault(answer.point, []).append(changes)
    each = sample_design(ended).each
    draws = [-(-len(there) // each) for there in points.values()]
    rates = [sum(there) / len(there) for there in points.values()]
    share = sum(times * rate for times, rate in zip(draws, rates, strict=True)) / sum(draws)
    count = len(again) / (1.0 + (len(again) / len(points) - 1.0) * _ALIKE)
    low, high = wilson(share * count, count)
    return Metric(value=100.0 * share, low=low, high=high)
