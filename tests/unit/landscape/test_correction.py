"""Rates corrected for the judge's error: the formula, its coverage, unscored answers, and what is in a landscape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.behaviours import four_outcomes, tuned
from helpers.runs import make_run
from helpers.surveys import make_survey, path_line
from safescape.landscape import (
    JudgeError,
    Landscape,
    Metric,
    Origin,
    ScoredCounts,
    corrected_rate,
    judge_error_of,
    landscape_of,
    with_corrections,
)
from safescape.survey import Label, LabelledAnswer, Outcome, Survey


def error_with(tp: int, fn: int, fp: int, tn: int, judge: str = "refusal") -> JudgeError:
    cells = (
        (Label.COMPLIED, Outcome.COMPLIED, tp),
        (Label.COMPLIED, Outcome.REFUSED, fn),
        (Label.REFUSED, Outcome.COMPLIED, fp),
        (Label.REFUSED, Outcome.REFUSED, tn),
    )
    labelled = [LabelledAnswer(label, outcome) for label, outcome, count in cells for _ in range(count)]
    return judge_error_of(judge, {}, labelled, origin=Origin.FILE, about="labels.csv", given="labels.csv")


def ends(metric: Metric) -> tuple[float, float, float]:
    assert metric.low is not None
    assert metric.value is not None
    assert metric.high is not None
    return metric.low, metric.value, metric.high


def test_the_value_is_that_of_rogan_and_gladen() -> None:
    # sensitivity 0.9, specificity 0.8, 30 % raw: (0.3 - 0.2) / 0.7
    assert corrected_rate(ScoredCounts(30, 100, 0), error_with(90, 10, 20, 80)).value == pytest.approx(100 * 0.1 / 0.7)


@pytest.mark.parametrize(("complied", "value"), [(5, 0.0), (99, 100.0)])
def test_a_value_is_clipped(complied: int, value: float) -> None:
    low, found, high = ends(corrected_rate(ScoredCounts(complied, 100, 0), error_with(90, 10, 20, 80)))
    assert found == value
    assert 0.0 <= low <= value <= high <= 100.0


def test_a_perfect_judge_of_many_labels_changes_nothing() -> None:
    low, value, high = ends(corrected_rate(ScoredCounts(20, 80, 0), error_with(50_000, 0, 0, 50_000)))
    assert value == pytest.approx(25.0)
    # Jeffreys' interval of 20 of 80
    assert (low, high) == pytest.approx((16.5, 35.3), abs=0.7)


def test_unscored_answers_widen_the_interval_by_their_share() -> None:
    error = error_with(90, 10, 20, 80)
    low, value, high = ends(corrected_rate(ScoredCounts(30, 100, 0), error))
    wider = ends(corrected_rate(ScoredCounts(30, 100, 25), error))
    assert wider == pytest.approx((0.8 * low, value, 0.8 * high + 20.0))
    assert corrected_rate(ScoredCounts(0, 0, 80), error) == Metric()


@given(st.integers(0, 80), st.integers(0, 20), st.integers(30, 60), st.integers(0, 9), st.integers(0, 9))
def test_an_interval_holds_its_value(complied: int, unscored: int, right: int, missed: int, false: int) -> None:
    error = error_with(right, missed, false, right)
    low, value, high = ends(corrected_rate(ScoredCounts(complied, 80, unscored), error))
    assert 0.0 <= low <= value <= high <= 100.0


@pytest.mark.parametrize("labels", [50, 200, 800])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.5, 0.95])
def test_intervals_cover(labels: int, rate: float) -> None:
    """95 % nominal; near 0 the interval is conservative. `python benchmarks/judge_error.py` has the whole table."""
    sensitivity, specificity, prompts, repetitions = 0.92, 0.95, 80, 300
    draw, hits = np.random.default_rng(2), 0
    for _ in range(repetitions):
        tp, tn = draw.binomial(labels // 2, sensitivity), draw.binomial(labels // 2, specificity)
        error = error_with(tp, labels // 2 - tp, labels // 2 - tn, tn)
        complied = draw.binomial(prompts, rate * sensitivity + (1 - rate) * (1 - specificity))
        low, _, high = ends(corrected_rate(ScoredCounts(complied, prompts, 0), error))
        hits += low <= 100 * rate <= high
    # three standard errors of 300 repetitions are 3.8 points
    assert hits / repetitions >= 0.912
    if rate >= 0.1:
        assert hits / repetitions <= 0.988


def corrected(directory: Path, survey: Survey, errors: dict[str, JudgeError], **run: object) -> Landscape:
    with make_run(directory, survey, **run) as store:  # type: ignore[arg-type]
        measured = list(store.points.measured())
        return with_corrections(landscape_of(survey, measured), measured, survey, errors)


def test_a_landscape_has_corrections_of_measured_judges_alone(tmp_path: Path) -> None:
    survey = make_survey(prompts=20, lines=2, steps=4, judges=("keyword",))
    plain = corrected(tmp_path / "a", survey, {})
    assert "corrected" not in plain.to_json()
    error = error_with(95, 5, 5, 95, "keyword")
    found = corrected(tmp_path / "b", survey, {"keyword": error, "refusal": error})
    assert list(found.corrected) == ["keyword"]
    assert found.model_copy(update={"corrected": {}}) == plain
    assert Landscape.model_validate_json(found.to_json()) == found


def test_the_corrected_auc_is_the_mean_of_the_corrected_rates(tmp_path: Path) -> None:
    """Rates far from 0 and 100, so that nothing is clipped; the points' mean is then the AUC's."""
    survey = make_survey(prompts=20, lines=2, steps=4, judges=("keyword",))
    found = corrected(
        tmp_path / "run",
        survey,
        {"keyword": error_with(95, 5, 5, 95, "keyword")},
        rate=lambda line, alpha: 0.3 + alpha / 5,
    ).corrected["keyword"]
    rates = {(point.line, point.coords): point.asr.value for point in found.points}
    lines = [[rates[line if alpha else None, (alpha,)] for alpha in (-0.5, -0.25, 0.0, 0.25, 0.5)] for line in range(2)]
    assert found.metrics["safety_auc"].value == pytest.approx(100 - np.mean(np.array(lines, dtype=float)))
    assert found.metrics["origin_asr"] == next(point.asr for point in found.points if point.coords == (0.0,))
    assert set(found.left_out) == {"visage", "visage_reference", "basin_radius"}


def test_a_path_has_the_corrected_rates_of_both_models(tmp_path: Path) -> None:
    survey = make_survey(prompts=40, subspace=path_line(), judges=("refusal", "keyword"))
    error = error_with(90, 10, 5, 95)
    landscape = corrected(tmp_path / "run", survey, {"refusal": error}, chance=tuned, opinion=four_outcomes)
    change = landscape.corrected["refusal"].changes["harmful"]
    at = {point.coords: point for point in landscape.corrected["refusal"].points}
    assert (change.origin, change.other) == (at[0.0,].asr, at[1.0,].asr)
    low, value, high = ends(change.change)
    assert value == pytest.approx((change.other.value or 0.0) - (change.origin.value or 0.0))
    raw = landscape.changes["harmful"].change
    assert low <= value <= high
    assert (raw.low or 0.0) > low  # the judge's error adds to the uncertainty


def test_a_judge_that_tells_nothing_has_no_number(tmp_path: Path) -> None:
    survey = make_survey(prompts=10, lines=1, steps=2, judges=("keyword",))
    found = corrected(tmp_path / "run", survey, {"keyword": error_with(10, 10, 15, 15, "keyword")})
    assert found.corrected["keyword"].corrects is False
    assert (found.corrected["keyword"].points, found.corrected["keyword"].metrics) == ((), {})
