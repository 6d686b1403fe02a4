"""A judge's agreement with labels: the figures, their coverage, the sampling weights, and the agreement file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from safescape import InputError
from safescape.landscape import JudgeError, Origin, judge_error_of
from safescape.landscape.judge_error import clopper_pearson
from safescape.survey import Label, LabelledAnswer, Outcome, Stratum

C, R, N, U = Outcome.COMPLIED, Outcome.REFUSED, Outcome.INCOHERENT, Outcome.UNSCORED


def answers(*counts: tuple[Label, Outcome, int], stratum: str = "") -> list[LabelledAnswer]:
    return [LabelledAnswer(label, outcome, stratum) for label, outcome, count in counts for _ in range(count)]


def measured(labelled: Sequence[LabelledAnswer], strata: Sequence[Stratum] = ()) -> JudgeError:
    return judge_error_of(
        "mine", {"version": "1"}, labelled, origin=Origin.FILE, about="labels.csv", given="labels.csv", strata=strata
    )


def two_by_two(tp: int, fn: int, fp: int, tn: int) -> list[LabelledAnswer]:
    return answers((Label.COMPLIED, C, tp), (Label.COMPLIED, R, fn), (Label.REFUSED, C, fp), (Label.INCOHERENT, N, tn))


def test_the_figures_are_those_of_the_table() -> None:
    error = measured(two_by_two(18, 2, 3, 27))
    assert error.sensitivity.value == pytest.approx(90.0)
    assert error.specificity.value == pytest.approx(90.0)
    # p_o = 45/50, p_e = (20 · 21 + 30 · 29) / 2500
    chance = (20 * 21 + 30 * 29) / 2500
    assert error.kappa.value == pytest.approx((0.9 - chance) / (1 - chance), abs=1e-4)


@pytest.mark.parametrize(("right", "n"), [(18, 20), (0, 7), (7, 7), (1, 800), (399, 400)])
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(right: int, n: int) -> None:
    low = beta.ppf(0.025, right, n - right + 1) if right else 0.0
    high = beta.ppf(0.975, right + 1, n - right) if right < n else 1.0
    assert clopper_pearson(right, n) == pytest.approx((100 * low, 100 * high), abs=1e-6)


def test_the_draws_are_those_of_jeffreys() -> None:
    drawn = measured(two_by_two(18, 2, 3, 27)).draws()
    assert np.quantile(drawn.sensitivity, 0.025) == pytest.approx(beta.ppf(0.025, 18.5, 2.5), abs=0.01)
    assert np.quantile(drawn.specificity, 0.975) == pytest.approx(beta.ppf(0.975, 27.5, 3.5), abs=0.01)


def test_unscored_and_partial_answers_are_counted_apart() -> None:
    more = answers((Label.COMPLIED, U, 4), (Label.REFUSED, U, 1), (Label.PARTIAL, C, 5))
    plain, error = measured(two_by_two(18, 2, 3, 27)), measured([*two_by_two(18, 2, 3, 27), *more])
    assert (error.sensitivity, error.specificity, error.kappa) == (plain.sensitivity, plain.specificity, plain.kappa)
    assert (error.n, error.unscored) == (60, 5)
    assert error.outcomes[Label.PARTIAL][C] == 5


def test_perfect_agreement_is_not_certain() -> None:
    error = measured(two_by_two(25, 0, 0, 25))
    for figure, most in ((error.sensitivity, 100.0), (error.specificity, 100.0), (error.kappa, 1.0)):
        assert figure.value == figure.high == most
        assert figure.low is not None
        assert figure.low < 0.95 * most


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((4, 0, 0, 5), "has 9 labels; expected at least 10"),
        ((0, 0, 10, 10), "no answer is labelled complied; an agreement needs labels of both classes"),
        ((10, 10, 0, 0), "no answer is labelled refused or incoherent"),
    ],
)
def test_too_few_labels_are_refused(counts: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=f"^labels.csv: {message}"):
        measured(two_by_two(*counts))


def test_a_class_without_scored_answers_is_refused() -> None:
    with pytest.raises(InputError, match="left every answer of one class unscored"):
        measured(answers((Label.COMPLIED, U, 10), (Label.REFUSED, R, 10)))


@pytest.mark.parametrize(("counts", "corrects"), [((18, 2, 3, 27), True), ((10, 10, 15, 15), False)])
def test_a_judge_that_tells_nothing_corrects_nothing(counts: tuple[int, int, int, int], corrects: bool) -> None:
    assert measured(two_by_two(*counts)).corrects is corrects


def test_strata_count_by_their_size_in_the_run() -> None:
    """Of 1000 refusals as the judge has it, 20 are labelled and 1 complied: 50 of them; of 100 compliances, all did."""
    strata = [Stratum("near, refused", 1000, says=False), Stratum("far, complied", 100, says=True)]
    labelled = [
        *answers((Label.REFUSED, R, 19), (Label.COMPLIED, R, 1), stratum="near, refused"),
        *answers((Label.COMPLIED, C, 20), stratum="far, complied"),
    ]
    error = measured(labelled, strata)
    assert error.sensitivity.value == pytest.approx(100 * 100 / 150, abs=1e-3)
    assert error.specificity.value == pytest.approx(100.0)
    # without the weights it would be 20 of 21
    assert measured([answer._replace(stratum="") for answer in labelled]).sensitivity.value == pytest.approx(95.2381)


def test_an_agreement_file_is_read_again(tmp_path: Path) -> None:
    error = measured(two_by_two(18, 2, 3, 27))
    (tmp_path / "a.json").write_text(error.to_json())
    assert JudgeError.load(tmp_path / "a.json", "--agreement a.json") == error


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sensitivity", {"value": 99.0, "low": 98.0, "high": 99.9}, "figures are not those of its counts"),
        ("n", 51, "figures are not those of its counts"),
        ("schema", 2, "no agreement file of this version"),
        ("strata", [], "figures are not those of its counts"),
    ],
)
def test_an_edited_agreement_file_is_refused(key: str, value: object, message: str) -> None:
    document = {**json.loads(measured(two_by_two(18, 2, 3, 27)).to_json()), key: value}
    with pytest.raises(InputError, match=f"^--agreement a.json: .*{message}"):
        JudgeError.parse(json.dumps(document), "--agreement a.json")


@pytest.mark.parametrize("labels", [50, 200])
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.95, 0.9), (0.8, 0.98)])
def test_intervals_cover(labels: int, sensitivity: float, specificity: float) -> None:
    draw = np.random.default_rng(1)
    chance = 0.5 * sensitivity + 0.5 * (1 - specificity)
    expected = 0.5 * chance + 0.5 * (1 - chance)
    kappa = ((sensitivity + specificity) / 2 - expected) / (1 - expected)
    truths, hits, repetitions = (100 * sensitivity, 100 * specificity, kappa), np.zeros(3), 300
    for _ in range(repetitions):
        complied = draw.binomial(labels, 0.5)
        tp, tn = draw.binomial(complied, sensitivity), draw.binomial(labels - complied, specificity)
        error = measured(two_by_two(tp, complied - tp, labels - complied - tn, tn))
        for place, (figure, truth) in enumerate(
            zip((error.sensitivity, error.specificity, error.kappa), truths, strict=True)
        ):
            assert figure.low is not None
            assert figure.high is not None
            hits[place] += figure.low <= truth <= figure.high
    # 95 % nominal; three standard errors of 300 repetitions are 3.8 points
    assert (hits / repetitions >= 0.912).all()
    assert hits[2] / repetitions <= 0.988
