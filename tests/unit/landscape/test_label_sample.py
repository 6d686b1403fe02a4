"""The sample of answers to label: its allocation, its order, and how it grows."""

from __future__ import annotations

from collections import Counter

import pytest

from safescape.landscape import Candidate, draw_sample, sampled_strata, strata_of
from safescape.survey import Label, Outcome, Point

SIZES = {"near, refused": 900, "near, complied": 3, "far, complied": 400, "far, unscored": 60}
STRATA = {number: name for number, name in enumerate(name for name, size in SIZES.items() for _ in range(size))}


def test_near_and_far_are_halves_of_the_points() -> None:
    points = [Point(None, (0.0,)), *(Point(0, (alpha,)) for alpha in (-0.4, -0.2, 0.2, 0.4)), Point(None, (), 0)]
    candidates = [Candidate(number, point, Outcome.REFUSED) for number, point in enumerate(points)]
    near = [name == "near, refused" for name in strata_of(candidates).values()]
    assert near == [True, False, True, True, False, False]


def test_every_stratum_is_sampled_and_weighted() -> None:
    rows = draw_sample(STRATA, 50, 0)
    count = Counter(row.stratum for row in rows)
    assert sum(count.values()) == 50
    assert len({row.response for row in rows}) == 50
    assert all(row.answers == SIZES[row.stratum] and STRATA[row.response] == row.stratum for row in rows)
    assert count["near, complied"] >= 2
    # by the square root: 30 to 20 to 7.7
    assert count["near, refused"] > count["far, complied"] > count["far, unscored"] >= 5


def test_the_same_seed_draws_the_same_answers() -> None:
    assert draw_sample(STRATA, 50, 3) == draw_sample(dict(reversed(STRATA.items())), 50, 3)
    assert draw_sample(STRATA, 50, 3) != draw_sample(STRATA, 50, 4)


def test_a_larger_sample_continues_a_smaller_one() -> None:
    first = draw_sample(STRATA, 20, 0)
    labelled = tuple(row._replace(label=Label.REFUSED) for row in first)
    second = draw_sample(STRATA, 60, 0, labelled)
    assert second[:20] == labelled
    assert len({row.response for row in second}) == 60


def test_a_few_answers_are_all_sampled() -> None:
    assert len(draw_sample({1: "near, refused", 2: "far, complied"}, 50, 0)) == 2


def test_whoever_stops_early_has_labelled_some_of_each_large_stratum() -> None:
    first = Counter(row.stratum for row in draw_sample(STRATA, 60, 0)[:20])
    assert {"near, refused", "far, complied", "far, unscored"} <= set(first)


@pytest.mark.parametrize("labelled", [False, True])
def test_what_the_judge_says_of_a_stratum(labelled: bool) -> None:
    rows = [row._replace(label=Label.REFUSED if labelled else None) for row in draw_sample(STRATA, 50, 0)]
    known = {stratum.name: stratum.says for stratum in sampled_strata(rows, says_known=True)}
    assert known["near, complied"] is True
    assert known["near, refused"] is False
    assert ("far, unscored" in known) is labelled
    assert {stratum.says for stratum in sampled_strata(rows, says_known=False)} == {None}
