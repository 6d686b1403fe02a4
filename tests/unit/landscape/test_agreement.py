"""Agreement of judges, compared with values computed by hand and with an independent formula."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from helpers.behaviours import by_keyword, four_outcomes
from helpers.runs import landscape_in, make_run
from helpers.surveys import further, make_survey
from safescape.landscape import Landscape
from safescape.landscape.agreement import agreed, agreements_of, kappa
from safescape.landscape.schema import Agreement
from safescape.survey import MeasuredPoint, Outcome, Point, Position, Verdict

R, C, NOISE, U = Outcome.REFUSED, Outcome.COMPLIED, Outcome.INCOHERENT, Outcome.UNSCORED


def entry(alpha: float, **outcomes: list[Outcome]) -> MeasuredPoint:
    return MeasuredPoint(Point(0 if alpha else None, (alpha,)), Position((alpha,), 0.0), "harmful", outcomes)


def of_pair(*entries: MeasuredPoint) -> Agreement:
    (found,) = agreements_of("harmful", entries, ("a", "b"))
    return found


def test_kappa_of_a_table_from_a_textbook() -> None:
    # 20 and 15 of 50 agree: p_o = 0.7; by chance 0.5 · 0.6 + 0.5 · 0.4 = 0.5; κ = 0.2 / 0.5
    assert kappa(np.array([[20.0, 5.0], [10.0, 15.0]])) == pytest.approx(0.4)
    assert agreed(np.array([[20.0, 5.0], [10.0, 15.0]])) == pytest.approx(70.0)


def test_kappa_is_not_defined_if_both_judges_use_one_category() -> None:
    assert np.isnan(kappa(np.array([[7.0, 0.0], [0.0, 0.0]])))
    assert np.isnan(kappa(np.zeros((2, 2))))
    # one of the two uses a single category, so they agree by chance only
    assert kappa(np.array([[3.0, 4.0], [0.0, 0.0]])) == 0.0


tables = arrays.arrays(np.float64, (3, 3), elements=st.integers(0, 40).map(float))


@given(tables)
def test_kappa_is_symmetric_bounded_and_independent_of_the_order_of_categories(table: np.ndarray) -> None:
    found = kappa(table)
    assert np.isnan(found) or -1.0 <= found <= 1.0
    np.testing.assert_array_equal(found, kappa(table.T))
    np.testing.assert_array_equal(found, kappa(table[::-1, ::-1]))
    # and depends on shares only
    np.testing.assert_allclose(found, kappa(7 * table))


@given(tables)
def test_kappa_is_1_exactly_where_no_two_verdicts_differ(table: np.ndarray) -> None:
    equal = np.diag(np.diag(table))
    assert (kappa(table) == 1.0) == (bool((table == equal).all()) and np.count_nonzero(equal) > 1)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_kappa_is_0_where_judges_are_independent(rows: list[int], columns: list[int]) -> None:
    size = min(len(rows), len(columns))
    table = np.outer(rows[:size], columns[:size]).astype(float)
    assert kappa(table) == 0.0


outcomes = st.lists(st.tuples(st.sampled_from(list(Outcome)), st.sampled_from(list(Outcome))), min_size=1, max_size=40)


@given(outcomes)
def test_kappa_of_success_is_that_of_the_formula_for_two_categories(pairs: list[tuple[Outcome, Outcome]]) -> None:
    found = of_pair(entry(0.0, a=[a for a, _ in pairs], b=[b for _, b in pairs]))
    both = [(a is C, b is C) for a, b in pairs if U not in (a, b)]
    assert found.n == len(both)
    # the phi-like form: 2 (ad - bc) / ((a + b)(b + d) + (a + c)(c + d))
    yes, a_only = both.count((True, True)), both.count((True, False))
    b_only, no = both.count((False, True)), both.count((False, False))
    below = (yes + a_only) * (a_only + no) + (yes + b_only) * (b_only + no)
    if below:
        assert found.kappa.value == pytest.approx(2 * (yes * no - a_only * b_only) / below)
        assert found.kappa.low is not None
        assert found.kappa.high is not None
        assert -1 <= found.kappa.low <= found.kappa.high <= 1
    else:
        assert found.kappa.value is None
    assert found.agree.value == (pytest.approx(100 * (yes + no) / len(both)) if both else None)


def test_noise_that_one_judge_calls_compliance_is_disagreement() -> None:
    keyword, refusal = [R, C, C, C], [R, C, NOISE, NOISE]
    found = of_pair(entry(0.0, a=keyword, b=refusal))
    # of the attack: refused, success, and twice success against failure; p_o = 1/2, p_e = 1/4 · 3/4 + 3/4 · 1/4
    assert found.agree.value == 50.0
    assert found.kappa.value == pytest.approx((1 / 2 - 3 / 8) / (1 - 3 / 8))
    # of the outcomes: p_e = 1/4 · 1/4 (refused) + 3/4 · 1/4 (complied)
    assert found.agree_outcomes.value == 50.0
    assert found.kappa_outcomes.value == pytest.approx((1 / 2 - 1 / 4) / (1 - 1 / 4))
    assert found.table == ((1, 0, 0, 0), (0, 1, 2, 0), (0, 0, 0, 0), (0, 0, 0, 0))


def test_refused_and_incoherent_are_one_category_of_the_attack() -> None:
    found = of_pair(entry(0.0, a=[R, NOISE, C], b=[NOISE, R, C]))
    assert (found.agree.value, found.kappa.value) == (100.0, 1.0)
    assert found.agree_outcomes.value == pytest.approx(100 / 3)


def test_an_unscored_answer_is_in_the_table_only() -> None:
    found = of_pair(entry(0.0, a=[R, C, U, C], b=[R, C, C, U]))
    assert (found.n, found.agree.value, found.kappa.value) == (2, 100.0, 1.0)
    assert sum(map(sum, found.table)) == 4
    assert found.table[3] == (0, 1, 0, 0)


def test_every_point_has_its_own_agreement() -> None:
    same, apart = [R, R, C, C], [C, C, R, R]
    found = of_pair(entry(0.0, a=[R] * 4, b=[R] * 4), entry(0.1, a=same, b=apart), entry(0.2, a=same, b=same))
    assert found.n_at == (4, 4, 4)
    assert found.agree_at == (100.0, 0.0, 100.0)
    assert found.kappa_at == (None, -1.0, 1.0)
    assert found.n == 12


def test_a_point_that_one_judge_has_not_read_has_no_agreement() -> None:
    found = of_pair(entry(0.0, a=[R, C], b=[R, C]), entry(0.1, a=[R, C]))
    assert (found.n, found.n_at, found.agree_at, found.kappa_at) == (2, (2, 0), (100.0, None), (1.0, None))
    assert agreements_of("harmful", [entry(0.0, a=[R])], ("a", "b")) == ()


def test_judges_that_use_one_category_agree_without_a_kappa() -> None:
    found = of_pair(entry(0.0, a=[R] * 5, b=[R] * 5))
    assert (found.agree.value, found.agree.low, found.agree.high) == (100.0, 100.0, 100.0)
    assert found.kappa.value is found.kappa.low is None


def test_the_interval_is_a_bootstrap_over_prompts_not_over_answers() -> None:
    # 10 prompts with one and the same pair of verdicts at each of 50 points are 10 independent observations, not 500
    a, b = [R, C] * 5, [R, C] * 4 + [C, R]
    one, many = of_pair(entry(0.0, a=a, b=b)), of_pair(*(entry(n / 10, a=a, b=b) for n in range(50)))
    assert many.n == 500
    assert (many.agree, many.kappa) == (one.agree, one.kappa)
    # 2 of 10 differ: the binomial distribution's quantiles
    assert (one.agree.low, one.agree.high) == (50.0, 100.0)


def test_a_landscape_has_every_pair_on_every_probe_of_harmful_prompts(tmp_path: Path) -> None:
    survey = make_survey(
        lines=1, steps=4, prompts=20, judges=("keyword", "refusal"), also=further("attack:a.csv", "benign", items=8)
    )
    with make_run(tmp_path / "run", survey, opinion=four_outcomes, later=("majority(keyword,refusal)",)) as store:
        landscape = landscape_in(store)
    three = ("keyword", "refusal", "majority(keyword,refusal)")
    pairs = [(three[0], three[1]), (three[0], three[2]), (three[1], three[2])]
    assert [(a.probe, a.judges) for a in landscape.agreement] == [
        (probe, pair) for probe in ("harmful", "attack:a.csv") for pair in pairs
    ]
    first = landscape.agreement[0]
    assert len(first.n_at) == sum(p.probe == "harmful" for p in landscape.points) == 5
    assert first.agree_at[0] == 100.0
    # at |α| = 0.5 the one says complied of all 20; the other leaves 1 unscored, and says so of numbers 0, 11 and 19
    assert first.n_at[1] == 19
    assert first.agree_at[1] == pytest.approx(100 * 3 / 19)
    document = json.loads(landscape.to_json())
    assert document["agreement"][0]["judges"] == ["keyword", "refusal"]
    assert document["agreement"][0]["kappa"]["value"] == first.kappa.value
    (tmp_path / "landscape.json").write_text(landscape.to_json(), encoding="utf-8")
    assert Landscape.load(tmp_path / "landscape.json") == landscape


def test_one_judge_has_no_agreement(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(lines=1, steps=2, prompts=4)) as store:
        assert landscape_in(store).agreement == ()


def test_a_judge_that_read_some_of_the_points_later(tmp_path: Path) -> None:
    def some(judge: str, point: Point, number: int, complied: bool) -> Verdict | None:
        read = judge == "keyword" or math.hypot(*point.coords) < 0.3
        return by_keyword(judge, point, number, complied) if read else None

    survey = make_survey(lines=1, steps=4, prompts=10)
    with make_run(tmp_path / "run", survey, opinion=some, later=("refusal",)) as store:
        (found,) = landscape_in(store).agreement
    assert found.n_at == (10, 0, 10, 10, 0)
    assert found.n == 30
