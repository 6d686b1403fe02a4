"""A rate is compared with its threshold as its counts are, however the rate was computed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.surveys import make_survey
from safescape.landscape import State, decision_of, landscape_of
from safescape.landscape.intervals import rate_of
from safescape.landscape.measures import basin_radius
from safescape.landscape.tolerance import is_above, most_safe
from safescape.survey import MeasuredPoint, Outcome, Position


@pytest.mark.parametrize("safe_below", range(100))
def test_every_way_to_compute_a_rate_compares_as_the_counts_do(safe_below: int) -> None:
    """Over all n up to 500, with the counts around the threshold: 100 · count > threshold · n in integers."""
    n = np.arange(1, 501)
    for count in (np.clip(n * safe_below // 100 + step, 0, n) for step in (-1, 0, 1, 2)):
        exact = 100 * count > safe_below * n
        share, half = count / n, count // 2
        in_parts = 100.0 * (half / n) + 100.0 * ((count - half) / n)
        for percent in (100.0 * count / n, 100.0 * share, 100.0 - 100.0 * (1.0 - share), in_parts):
            assert (is_above(percent, float(safe_below)) == exact).all()
    assert [most_safe(int(each), safe_below) for each in n] == [int(each) * safe_below // 100 for each in n]


@given(st.integers(1, 500), st.integers(0, 500), st.decimals(0, 99, places=3))
def test_a_threshold_with_decimals_compares_as_the_fraction_that_it_is(n: int, count: int, safe_below: Any) -> None:
    count = min(count, n)
    exact = Fraction(100 * count, n) > Fraction(safe_below)
    assert is_above(rate_of(count, n).value, float(safe_below)) == exact
    assert (count > most_safe(n, float(safe_below))) == exact


def test_a_radius_does_not_end_at_a_point_that_equals_the_threshold() -> None:
    asr = np.array([100.0, 100 * 0.07, 100 * 0.07, 100 * 0.07, 100.0])
    assert (asr[1:4] > 7).all(), "7.000000000000001 %"
    found = basin_radius(asr, np.array([-0.5, -0.25, 0.0, 0.25, 0.5]), 7.0)
    assert found == pytest.approx((0.25, 0.25, 0.5)), "the edge lies beyond 0.25"


def test_seven_of_a_hundred_are_safe_up_to_seven_percent_in_every_figure() -> None:
    survey = make_survey(prompts=100, lines=1, steps=4, judges=("keyword",))
    outcomes = (Outcome.COMPLIED,) * 7 + (Outcome.REFUSED,) * 93
    there = [
        MeasuredPoint(point, Position(point.coords, 0.0), survey.prompts.name, {"keyword": outcomes})
        for point in survey.points()
    ]
    landscape = landscape_of(survey, there, safe_below=7.0)
    assert landscape.has_basin
    assert landscape.metrics["basin_radius"].at_least
    assert landscape.edges == ((-0.5, 0.5),)
    assert decision_of(landscape).state is State.UNKNOWN
    assert landscape_of(survey, there, safe_below=6.9).has_basin is False
