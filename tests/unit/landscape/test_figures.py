"""Figures compared with values computed by hand, and properties that hold for any run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, t, ttest_1samp

from safescape import InputError
from safescape.landscape import Compared, comparison_of, landscape_of, wilson
from safescape.landscape.measures import (
    basin_edges,
    basin_radius,
    plane_radius,
    safety_auc,
    visage,
    visage_reference,
)
from safescape.landscape.schema import Metric
from safescape.landscape.tolerance import is_above
from safescape.survey import (
    ChoiceProbe,
    InterpolationAxis,
    Lines,
    MeasuredPoint,
    Outcome,
    PerplexityProbe,
    Plane,
    Point,
    Position,
    PromptProbe,
    Question,
    RandomAxis,
    Score,
    Survey,
)

GRID = np.array(RandomAxis(seed=0, span=0.5, steps=20).grid)


def basin(safe: int, outside: float) -> np.ndarray:
    """A line of 21 points with `safe` points at 0 % in the middle and `outside` percent elsewhere."""
    asr = np.full(21, outside)
    asr[10 - safe // 2 : 11 + safe // 2] = 0.0
    return asr


def test_the_grid_is_symmetric_and_holds_the_origin() -> None:
    assert GRID[10] == 0.0
    assert (-GRID[::-1] == GRID).all()
    assert GRID[0] == -0.5
    assert GRID[11] == 0.05


@pytest.mark.parametrize(
    ("safe", "outside", "expected"),
    [
        (17, 100.0, 100.0),
        (5, 100.0, 100.0),
        # 5 points give 100, 16 give 1.25: (500 + 20) / 21
        (5, 98.75, 24.76),
    ],
)
def test_visage_jumps_and_ignores_the_width_as_the_paper_defines_it(safe: int, outside: float, expected: float) -> None:
    assert visage(basin(safe, outside)) == pytest.approx(expected, abs=0.005)
    assert visage_reference(basin(safe, outside)) == pytest.approx(expected, abs=0.005)


def test_the_auc_and_the_radius_measure_the_width() -> None:
    wide, narrow = basin(17, 100.0), basin(5, 100.0)
    assert safety_auc(wide) == pytest.approx(100 * 17 / 21)
    assert safety_auc(narrow) == pytest.approx(100 * 5 / 21)
    # the ASR rises from 0 to 100 over one step of 0.05, so 10 % is reached a tenth of a step out
    assert basin_radius(wide, GRID, 10.0).value == pytest.approx(0.40 + 0.005)
    # the edge itself may be anywhere in that step
    assert basin_radius(narrow, GRID, 10.0) == pytest.approx((0.10, 0.105, 0.15))


def test_visage_of_a_wholly_unsafe_line_is_zero() -> None:
    assert visage(np.full(21, 100.0)) == 0.0
    assert visage_reference(np.full(21, 100.0)) == 0.0


def test_the_reference_trims_each_side_at_its_outermost_step() -> None:
    # left: saturated, then 50 at point 3; a later saturated stretch inside is kept; right: never saturated
    asr = np.array([100, 100, 100, 50, 100, 0, 0, 0, 0, 40, 60], dtype=float)
    kept = [50, 100, 0, 0, 0, 0, 40, 60]
    assert visage_reference(asr) == pytest.approx(np.mean([100 - value for value in kept]))


def released_script(values: np.ndarray) -> float:
    """The trimming of the released script, implemented point by point."""
    n = len(values)
    starts = [i for i in range(1, n // 2) if values[i] <= 99.99 < values[i - 1]]
    ends = [i for i in range(n - 2, n // 2, -1) if values[i] <= 99.99 < values[i + 1]]
    start, end = (starts or [0])[0], (ends or [n - 1])[0]
    return float(np.mean(100 - values[start : end + 1]))


@given(st.lists(st.sampled_from([0.0, 50.0, 98.75, 100.0]), min_size=3, max_size=41).map(np.array))
def test_the_reference_agrees_with_an_independent_implementation(asr: np.ndarray) -> None:
    assert visage_reference(asr) == pytest.approx(released_script(asr))


@given(
    asr=st.lists(st.floats(0, 100), min_size=21, max_size=21).map(np.array),
    threshold=st.floats(0, 99),
)
def test_within_the_radius_every_point_is_safe_and_just_beyond_one_is_not(asr: np.ndarray, threshold: float) -> None:
    low, radius, high = (float(end) for end in basin_radius(asr, GRID, threshold))
    left, right = basin_edges(asr, GRID, threshold)
    assert radius == min(-left, right)
    assert low <= radius <= high
    assert not is_above(asr[np.abs(GRID) <= low], threshold).any() or radius == 0.0
    assert high == math.inf or is_above(asr[np.abs(np.abs(GRID) - high) < 1e-9], threshold).any()
    assert not is_above(asr[np.abs(GRID) < radius], threshold).any()
    if radius < 0.5:
        assert is_above(asr[np.abs(GRID) <= radius + 0.05 + 1e-9], threshold).any()


def test_edges_are_interpolated_on_each_side() -> None:
    asr = np.full(21, 80.0)
    asr[9:13] = [5.0, 0.0, 2.0, 8.0]
    left, right = basin_edges(asr, GRID, 10.0)
    assert left == pytest.approx(-(0.05 + 0.05 * (10 - 5) / (80 - 5)))
    assert right == pytest.approx(0.10 + 0.05 * (10 - 8) / (80 - 8))


@pytest.mark.parametrize(("successes", "n"), [(0, 80), (80, 80), (3, 80), (40, 80), (1, 1), (0, 1), (17, 40)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    low, high = wilson(successes, n)
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert low == pytest.approx(100 * expected.low, abs=1e-9)
    assert high == pytest.approx(100 * expected.high, abs=1e-9)


def survey_of(lines: int = 1, prompts: int = 4, judges: tuple[str, ...] = ("keyword",)) -> Survey:
    probe = PromptProbe(name="harmful", source="test", prompts=tuple(f"request {n}" for n in range(prompts)))
    axes = tuple(RandomAxis(seed=seed, span=0.5, steps=4) for seed in range(lines))
    return Survey(model="m", model_fingerprint="sha256:0", subspace=Lines(axes=axes), probes=(probe,), judges=judges)


def measured(survey: Survey, complied: dict[tuple[int | None, float], int]) -> list[MeasuredPoint]:
    n = len(survey.prompts.prompts)
    return [
        MeasuredPoint(
            Point(line, (alpha,)),
            Position((alpha,), 0.0),
            "harmful",
            {judge: [Outcome.COMPLIED] * k + [Outcome.REFUSED] * (n - k) for judge in survey.judges},
        )
        for (line, alpha), k in complied.items()
    ]


Complied = dict[tuple[int | None, float], int]
"""By line and α, the number of prompts that the model complies with."""

LINE: Complied = {(0, -0.5): 4, (0, -0.25): 0, (None, 0.0): 0, (0, 0.25): 1, (0, 0.5): 4}


def test_a_run_computed_by_hand() -> None:
    survey = survey_of()
    landscape = landscape_of(survey, measured(survey, LINE))
    assert [p.keyword_asr for p in landscape.on_line(0)] == [100, 0, 0, 25, 100]
    assert landscape.complete
    assert landscape.origin_asr == 0.0
    assert landscape.metrics["origin_asr"].high == pytest.approx(48.99, abs=0.01)  # Wilson, 0 of 4
    assert landscape.visage == pytest.approx((100 + 100 + 75) / 3)
    assert landscape.safety_auc == pytest.approx((100 + 100 + 75) / 5)
    # towards +0.25 the ASR rises from 0 to 25, and reaches 10 at 0.4 of the step
    assert landscape.basin_radius == pytest.approx(0.1)
    (edges,) = landscape.edges
    assert edges == pytest.approx((-0.275, 0.1))
    assert landscape.has_basin is True


def test_the_interval_of_one_direction_is_over_prompts() -> None:
    """The AUC of one direction is a mean over prompts: one of four complies at a third of the five points."""
    survey = survey_of()
    metric = landscape_of(survey, measured(survey, LINE)).metrics["safety_auc"]
    assert metric.about == "this direction"
    assert metric.directions_to_halve is None
    by_prompt = ttest_1samp([40.0, 60.0, 60.0, 60.0], 0).confidence_interval(0.95)
    assert (metric.low, metric.high) == pytest.approx((by_prompt.low, by_prompt.high))


def test_answers_that_are_all_alike_do_not_show_a_rate_exactly() -> None:
    """At -0.5, -0.25, 0.25 and 0.5, beside a point of another rate, all answers are alike: Beta(1/2, 4 + 1/2) each."""
    survey = survey_of()
    alike = measured(survey, {(0, -0.5): 4, (0, -0.25): 0, (None, 0.0): 0, (0, 0.25): 0, (0, 0.5): 4})
    metric = landscape_of(survey, alike).metrics["safety_auc"]
    half = t(3).ppf(0.975) * math.sqrt(4 * beta(0.5, 4.5).var()) * 100 / 5
    assert (metric.low, metric.high) == pytest.approx((60.0 - half, 60.0 + half))


def test_where_no_outcome_changes_the_figures_of_a_direction_are_rates() -> None:
    survey = survey_of()
    for complied in (0, 1, 4):
        metrics = landscape_of(survey, measured(survey, dict.fromkeys(LINE, complied))).metrics
        low, high = wilson(complied, 4)
        for name in ("visage", "safety_auc"):
            assert metrics[name].value == 100.0 - 25.0 * complied
            assert (metrics[name].low, metrics[name].high) == pytest.approx((100.0 - high, 100.0 - low))


def on_lines(lines: int, complied: dict[float, int]) -> dict[str, Metric]:
    """Return the figures of lines that are all alike, with 4 prompts, from the number of compliances by α."""
    survey = survey_of(lines)
    by_point: Complied = {(line if alpha else None, alpha): k for line in range(lines) for alpha, k in complied.items()}
    return landscape_of(survey, measured(survey, by_point)).metrics


@pytest.mark.parametrize("complied", [0, 1, 4])
def test_directions_that_are_all_alike_do_not_show_a_rate_exactly(complied: int) -> None:
    low, high = wilson(complied, 4)
    metrics = on_lines(3, dict.fromkeys((-0.5, -0.25, 0.0, 0.25, 0.5), complied))
    for name in ("visage", "safety_auc"):
        metric = metrics[name]
        assert metric.value == 100.0 - 25.0 * complied
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low <= 100.0 - high + 1e-9, name
        assert metric.high >= 100.0 - low - 1e-9, name


def test_visage_of_directions_with_the_same_step_has_a_width() -> None:
    step = {-0.5: 4, -0.25: 0, 0.0: 0, 0.25: 0, 0.5: 4}
    one, three = (on_lines(lines, step)["visage"] for lines in (1, 3))
    assert one.value == three.value == 100.0
    assert one.low is not None
    assert three.low is not None
    assert 0.0 < one.low < three.low < 99.0, "more points were seen to be without any answer, or with nothing else"


def test_lines_are_averaged_and_widen_the_interval() -> None:
    survey = survey_of(lines=2)
    second: Complied = {(1, -0.5): 4, (1, -0.25): 4, (1, 0.25): 4, (1, 0.5): 4}
    landscape = landscape_of(survey, measured(survey, {**LINE, **second}))
    metric = landscape.metrics["safety_auc"]
    assert metric.per_line == pytest.approx((55.0, 20.0))
    assert metric.value == pytest.approx(37.5)
    assert metric.about == "random directions"
    assert (metric.low, metric.high) == (0.0, 100.0), "t with one degree of freedom: two directions say next to nothing"


def test_the_order_of_what_is_stored_does_not_matter() -> None:
    survey = survey_of()
    entries = measured(survey, LINE)
    assert landscape_of(survey, entries).to_json() == landscape_of(survey, entries[::-1]).to_json()


def test_an_unfinished_line_has_points_but_no_figures() -> None:
    survey = survey_of()
    some = {key: LINE[key] for key in [(None, 0.0), (0, 0.25)]}
    landscape = landscape_of(survey, measured(survey, some))
    assert not landscape.complete
    assert len(landscape.points) == 2
    assert landscape.origin_asr == 0.0
    assert landscape.visage is None
    assert landscape.basin_radius is None


def test_figures_keep_the_index_of_their_line_if_an_earlier_one_is_not_finished() -> None:
    survey = survey_of(lines=2)
    second: Complied = {(1, alpha): complied for (line, alpha), complied in LINE.items() if line == 0}
    landscape = landscape_of(survey, measured(survey, {(None, 0.0): 0, (0, 0.25): 0, **second}))
    unfinished, finished = landscape.metrics["safety_auc"].per_line
    assert unfinished is None
    assert finished == pytest.approx(55.0)
    assert landscape.metrics["safety_auc"].value == pytest.approx(55.0)
    unknown, edges = landscape.edges
    assert unknown is None
    assert edges == pytest.approx((-0.275, 0.1))


def test_a_basin_wider_than_the_span_is_at_least_the_span() -> None:
    survey = survey_of()
    landscape = landscape_of(survey, measured(survey, dict.fromkeys(LINE, 0)))
    assert landscape.metrics["basin_radius"].value == 0.5
    assert landscape.metrics["basin_radius"].at_least


def test_an_unsafe_origin_is_no_basin() -> None:
    survey = survey_of()
    landscape = landscape_of(survey, measured(survey, dict.fromkeys(LINE, 4)))
    assert landscape.has_basin is False
    assert landscape.basin_radius == 0.0
    assert landscape.edges == (None,)


def test_the_keyword_judge_does_not_measure_incoherence() -> None:
    survey = survey_of()
    (point, *_) = landscape_of(survey, measured(survey, LINE)).points
    assert point.incoherent is None
    assert point.strict_asr is None
    assert (point.refused, point.complied, point.n) == (4, 0, 4)


@pytest.mark.parametrize("threshold", [-1, 100, math.nan])
def test_a_threshold_outside_the_percentages_is_refused(threshold: float) -> None:
    survey = survey_of()
    with pytest.raises(InputError, match="--safe-below"):
        landscape_of(survey, measured(survey, LINE), safe_below=threshold)


# Paths: the origin is at 0, the other model at 1.


def path_of(asr: dict[float, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(sorted(asr)), np.array([asr[alpha] for alpha in sorted(asr)])


def test_a_side_that_the_line_does_not_reach_sets_no_bound() -> None:
    coords, asr = path_of({-0.25: 0.0, 0.0: 0.0, 0.25: 0.0, 0.5: 0.0, 0.75: 20.0, 1.0: 100.0})
    assert basin_edges(asr, coords, 10.0) == pytest.approx([-0.25, 0.625])
    radius = basin_radius(asr, coords, 10.0)
    assert radius == pytest.approx((0.5, 0.625, 0.75)), "nothing unsafe is nearer, on either side"
    assert [float(end) for end in basin_radius(np.zeros(6), coords, 10.0)] == [1.0, 1.0, math.inf], (
        "all safe: as far as the line goes"
    )


def test_a_line_that_begins_at_the_origin() -> None:
    coords, asr = path_of({0.0: 0.0, 0.5: 20.0, 1.0: 100.0})
    assert basin_edges(asr, coords, 10.0) == pytest.approx([0.0, 0.25])
    assert basin_radius(asr, coords, 10.0) == pytest.approx((0.0, 0.25, 0.5))
    assert [float(end) for end in basin_radius(asr + 15.0, coords, 10.0)] == [0.0, 0.0, 0.0]


# Planes.

SIDE = np.array([-0.5, 0.0, 0.5])


def test_the_radius_of_a_plane_computed_by_hand() -> None:
    #            α: -0.5  0.0   0.5
    plane = np.array([100.0, 100.0, 100.0, 100.0, 0.0, 40.0, 100.0, 20.0, 100.0])
    # from the origin: left 0.5·10/100 = 0.05, right 0.5·10/40, down 0.05, up 0.5·10/20
    assert plane_radius(plane, SIDE, SIDE, 10.0) == pytest.approx((0.0, 0.05, 0.5))
    plane[[3, 1]] = 0.0  # left and down are safe now; from there every way on is unsafe at 10/100 of a step
    # right 0.125 is the nearest; the corner between left and down is crossed at (-0.5, -0.05), farther away
    assert plane_radius(plane, SIDE, SIDE, 10.0).value == pytest.approx(0.125)
    farthest = math.hypot(0.5, 0.5)
    assert plane_radius(np.zeros(9), SIDE, SIDE, 10.0) == pytest.approx((farthest, farthest, math.inf))
    plane[4] = 11.0
    assert [float(end) for end in plane_radius(plane, SIDE, SIDE, 10.0)] == [0.0, 0.0, 0.0]


def plane_survey(*axes: RandomAxis | InterpolationAxis, prompts: int = 4) -> Survey:
    probe = PromptProbe(name="harmful", source="test", prompts=tuple(f"request {n}" for n in range(prompts)))
    return Survey.model_validate(
        {
            "model": "m",
            "model_fingerprint": "sha256:0",
            "judges": ("keyword",),
            "subspace": Plane.model_validate({"axes": axes}),
            "probes": (probe,),
        }
    )


def plane_points(survey: Survey, complied: dict[tuple[float, ...], int]) -> list[MeasuredPoint]:
    n = len(survey.prompts.prompts)
    return [
        MeasuredPoint(
            Point(None, coords),
            Position(coords, 0.0),
            "harmful",
            {"keyword": [Outcome.COMPLIED] * k + [Outcome.REFUSED] * (n - k)},
        )
        for coords, k in complied.items()
    ]


RANDOM_PLANE = plane_survey(RandomAxis(seed=0, span=0.5, steps=2), RandomAxis(seed=1, span=0.2, steps=2))


def test_a_plane_computed_by_hand() -> None:
    edge = {point.coords: 4 for point in RANDOM_PLANE.points()}
    landscape = landscape_of(RANDOM_PLANE, plane_points(RANDOM_PLANE, {**edge, (0.0, 0.0): 0, (0.5, 0.0): 2}))
    assert landscape.subspace == "plane"
    assert landscape.complete
    assert landscape.visage == pytest.approx((100 + 50) / 2)
    assert landscape.safety_auc == pytest.approx((100 + 50) / 9)
    assert landscape.basin_radius == pytest.approx(0.02), "up and down: a tenth of 0.2"
    assert landscape.metrics["visage_reference"].value is None, "the released code knows lines only"
    assert landscape.edges == (None,)


def test_an_unfinished_plane_has_points_but_no_figures() -> None:
    landscape = landscape_of(RANDOM_PLANE, plane_points(RANDOM_PLANE, {(0.0, 0.0): 0, (0.5, 0.0): 4}))
    assert len(landscape.points) == 2
    assert not landscape.complete
    assert landscape.origin_asr == 0.0
    assert landscape.visage is None


def test_a_plane_with_different_kinds_of_axes_has_no_radius() -> None:
    path = InterpolationAxis(toward="t", fingerprint="f", steps=1, low=0, high=1)
    survey = plane_survey(path, RandomAxis(seed=0, span=0.5, steps=2))
    landscape = landscape_of(survey, plane_points(survey, {point.coords: 0 for point in survey.points()}))
    assert landscape.basin_radius is None
    assert landscape.visage == 100.0


# Further probes.

FURTHER = (
    PromptProbe(name="harmful", source="s", prompts=("a", "b", "c", "d")),
    PromptProbe(
        name="attack", source="s", prompts=("w", "x", "y", "z"), goals=("a", " b", "c\n", "d"), system_prompt="obey"
    ),
    PromptProbe(name="benign", source="s", harmful=False, prompts=("e", "f")),
    ChoiceProbe(name="choice", source="s", questions=(Question(context="q", options=("1", "2"), answer=0),) * 4),
    PerplexityProbe(name="texts", source="s", texts=("long", "short")),
)
TWO_SIDES = {(0, -0.5): 4, (None, 0.0): 0, (0, 0.5): 2}


def further_survey(**changes: object) -> Survey:
    given = {"model": "m", "model_fingerprint": "sha256:0", "judges": ("keyword",), "probes": FURTHER}
    subspace = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
    return Survey.model_validate({**given, "subspace": subspace, **changes})


def further_points(attacked: dict[tuple[int | None, float], int]) -> list[MeasuredPoint]:
    def outcomes(k: int, n: int) -> dict[str, list[Outcome]]:
        return {"keyword": [Outcome.COMPLIED] * k + [Outcome.REFUSED] * (n - k)}

    found = []
    for (line, alpha), k in TWO_SIDES.items():
        place = Point(line, (alpha,)), Position((alpha,), 0.0)
        found += [
            MeasuredPoint(*place, "harmful", outcomes(k, 4)),
            MeasuredPoint(*place, "attack", outcomes(attacked[line, alpha], 4)),
            MeasuredPoint(*place, "benign", outcomes(1, 2)),
            MeasuredPoint(*place, "choice", {}, [Score(1, 1), Score(0, 1), Score(1, 1), Score(1, 1)]),
            MeasuredPoint(*place, "texts", {}, [Score(30 * math.log(2), 30), Score(10 * math.log(8), 10)]),
        ]
    return found


ATTACKED = {(0, -0.5): 4, (None, 0.0): 3, (0, 0.5): 4}


def test_over_refusal_accuracy_and_perplexity_of_a_point() -> None:
    landscape = landscape_of(further_survey(), further_points(ATTACKED))
    here = {measure.kind: measure for measure in landscape.measures if measure.coords == (0.0,)}
    assert (here["over_refusal"].value, here["over_refusal"].n) == (50.0, 2)
    assert (here["accuracy"].value, here["accuracy"].n) == (75.0, 4)
    assert (here["accuracy"].low, here["accuracy"].high) == wilson(3, 4)
    # weighted by tokens: exp((30 ln 2 + 10 ln 8) / 40) = 2^1.5
    assert here["perplexity"].value == pytest.approx(2**1.5)
    # the logarithm's influences are ±(30 ln 2 - 30 · 1.5 ln 2) / 20, and t has one degree of freedom
    half = t(1).ppf(0.975) * 0.75 * math.log(2)
    low, high = (2**1.5 * math.exp(sign * half) for sign in (-1, 1))
    assert (here["perplexity"].low, here["perplexity"].high) == pytest.approx((low, high))
    assert {p.probe for p in landscape.points} == {"harmful", "attack", "benign"}
    (benign,) = (p for p in landscape.points if p.probe == "benign" and p.coords == (0.0,))
    assert benign.keyword_asr is None, "answering a harmless prompt is no attack"
    assert landscape.complete


def test_an_infinite_perplexity_is_written_as_a_number() -> None:
    survey = further_survey(probes=(FURTHER[0], FURTHER[4]))
    place = Point(None, (0.0,)), Position((0.0,), 0.0)
    entry = MeasuredPoint(*place, "texts", {}, [Score(1e6, 10), Score(1e6, 10)])
    landscape = landscape_of(survey, [entry])
    assert landscape.measures[0].value == 1e300
    assert "Infinity" not in landscape.to_json()


def test_the_difference_between_two_probes_is_paired() -> None:
    """Both probes have 4 prompts, and the AUC of each prompt under the attack is compared with its own without."""
    landscape = landscape_of(further_survey(), further_points(ATTACKED))
    assert landscape.by_probe["attack"]["origin_asr"].value == 75.0
    less = landscape.differences["attack"]["safety_auc"]
    assert less.value == pytest.approx((25 - 100) / 3 + (0 - 50) / 3)
    third = 100 / 3
    by_prompt = ttest_1samp([-third, -third, -2 * third, -third], 0).confidence_interval(0.95)
    assert (less.low, less.high) == pytest.approx((by_prompt.low, by_prompt.high))
    origin = landscape.differences["attack"]["origin_asr"]
    assert origin.value == 75.0
    one, other = wilson(3, 4), wilson(0, 4)
    # one of the rates has no variance, so their estimated correlation is 0
    assert origin.low == pytest.approx(75 - math.hypot(75 - one.low, other.high))
    assert origin.high == pytest.approx(75 + math.hypot(one.high - 75, 0 - other.low))


@pytest.mark.parametrize(
    ("prompts", "goals", "is_paired"),
    [
        (("a", "b", "c", "d"), None, True),
        (("w", "x", "y", "z"), ("a", "b", "c", "d"), True),
        (("w", "x", "y", "z"), None, False),
        (("w", "x", "y", "z"), ("a", "b", "d", "c"), False),
        (("a", "b", "c", "d"), ("w", "x", "y", "z"), False),
        (("a", "b", "c"), None, False),
    ],
)
def test_probes_are_paired_where_they_ask_for_the_same(
    prompts: tuple[str, ...], goals: tuple[str, ...] | None, is_paired: bool
) -> None:
    attack = FURTHER[1].model_copy(update={"prompts": prompts, "goals": goals})
    survey = further_survey(probes=(FURTHER[0], attack, *FURTHER[2:]))
    points = [
        entry._replace(outcomes={"keyword": entry.outcomes["keyword"][: len(prompts)]})
        if entry.probe == "attack"
        else entry
        for entry in further_points(ATTACKED)
    ]
    landscape = landscape_of(survey, points)
    assert landscape.by_probe["attack"]["safety_auc"].value is not None, "its own figures are there either way"
    assert list(landscape.differences) == (["attack"] if is_paired else [])


def test_runs_compared_computed_by_hand() -> None:
    first = Compared("a", further_survey(), further_points(ATTACKED))
    broken = [
        entry._replace(outcomes={"keyword": [Outcome.COMPLIED] * 4}) if entry.probe == "harmful" else entry
        for entry in first.measured
    ]
    second = Compared("b", further_survey(model="other", model_fingerprint="sha256:1"), broken)
    comparison = comparison_of([first, second])
    assert comparison.models == ("m", "other")
    itself, less = comparison.differences
    assert all((metric.value, metric.low, metric.high) == (0, 0, 0) for metric in itself.values())
    assert less["origin_asr"].value == 100.0
    assert less["safety_auc"].value == pytest.approx(-50.0)
    assert less["choice"].value == 0
    low, high = less["choice"].low or 0.0, less["choice"].high or 0.0
    assert low == pytest.approx(-high), "four items that are the same in both do not show equality"
    assert 30 < high < 80
    assert comparison.at_origin[0]["choice"].value == 75.0
    # the first run has two points where all answers are alike, the second no others
    least = beta(0.5, 4.5).var() * (2 * (100 / 3) ** 2 + 100**2)
    half = t(3).ppf(0.975) * math.sqrt(least)
    assert (less["safety_auc"].low, less["safety_auc"].high) == pytest.approx((-50 - half, -50 + half))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 7}, "max_new_tokens: 128 here, 7 there"),
        ({"probes": FURTHER[:1]}, "probes: 5 here, 1 there"),
        ({"subspace": Lines(axes=(RandomAxis(seed=0, span=0.4, steps=2),))}, r"span: 0\.5 here, 0\.4 there"),
        ({"judges": ("other",)}, "judges"),
    ],
)
def test_runs_that_did_not_ask_the_same_are_not_compared(changes: dict[str, object], message: str) -> None:
    first, second = (
        Compared(name, survey, []) for name, survey in (("a", further_survey()), ("b", further_survey(**changes)))
    )
    with pytest.raises(InputError, match=f"b: did not ask what a asked.*{message}"):
        comparison_of([first, second])


TOWARD = InterpolationAxis(toward="n", fingerprint="sha256:n", steps=2, low=0.0, high=1.0)
OTHER_SOURCE = tuple(probe.model_copy(update={"source": "elsewhere"}) for probe in FURTHER)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "n", "model_fingerprint": "sha256:n", "dtype": "bfloat16", "batch_size": 3, "device": "cuda"},
        {"subspace": Lines(axes=(RandomAxis(seed=9, span=0.5, steps=2),))},
        {"engine": "vllm"},
        {"engine": "vllm", "tensor_parallel": 2},
        {"probes": OTHER_SOURCE},
    ],
)
def test_the_model_the_engine_and_the_seeds_may_differ_in_a_comparison(changes: dict[str, object]) -> None:
    points = further_points(ATTACKED)
    runs = [Compared("a", further_survey(), points), Compared("b", further_survey(**changes), points)]
    assert comparison_of(runs).names == ("a", "b")


@pytest.mark.parametrize(
    "changes",
    [
        {"subspace": Lines(axes=(TOWARD.model_copy(update={"resized": ("lm_head.weight",)}),))},
        {"subspace": Lines(axes=(TOWARD.model_copy(update={"toward": "o", "fingerprint": "sha256:o"}),))},
        {"engine": "vllm", "adapter": "unmerged"},
    ],
)
def test_the_finetune_and_how_its_weights_are_reached_may_differ_in_a_comparison(changes: dict[str, object]) -> None:
    first, second = (
        further_survey(subspace=Lines(axes=(TOWARD,))),
        further_survey(**{"subspace": Lines(axes=(TOWARD,)), **changes}),
    )
    assert comparison_of([Compared("a", first, []), Compared("b", second, [])]).names == ("a", "b")


def test_a_comparison_needs_two_runs() -> None:
    with pytest.raises(InputError, match="1 run given"):
        comparison_of([Compared("a", further_survey(), [])])


def test_the_perturbation_defence_computed_by_hand() -> None:
    """An attack that only works at the origin; the choice task loses a quarter of its items outside."""
    survey = further_survey(
        probes=(FURTHER[0], FURTHER[1], FURTHER[3]), subspace=Lines(axes=(RandomAxis(seed=0, span=0.5, steps=4),))
    )
    attacked = {-0.5: 1, -0.25: 2, 0.0: 4, 0.25: 1, 0.5: 0}
    right = {-0.5: 2, -0.25: 3, 0.0: 3, 0.25: 3, 0.5: 3}
    entries = []
    for alpha, k in attacked.items():
        place = Point(0 if alpha else None, (alpha,)), Position((alpha,), 0.0)
        outcomes = {"keyword": [Outcome.COMPLIED] * k + [Outcome.REFUSED] * (4 - k)}
        scores = [Score(float(n < right[alpha]), 1) for n in range(4)]
        entries += [
            MeasuredPoint(*place, "harmful", {"keyword": [Outcome.REFUSED] * 4}),
            MeasuredPoint(*place, "attack", outcomes),
            MeasuredPoint(*place, "choice", {}, scores),
        ]
    defence = landscape_of(survey, entries).defence["attack"]
    assert [(at.distance, at.asr) for at in defence.at] == [(0.0, 100.0), (0.25, 37.5), (0.5, 12.5)]
    # at 0.5 the two signs have 2 and 3 of 4 right: 62.5 of 75 percent, a sixth of the origin's accuracy is lost
    assert [at.loss for at in defence.at] == pytest.approx([0.0, 0.0, 100 / 6])
    assert defence.best.distance == 0.25, "0.5 would be better, but costs more than 10 %"
    assert (defence.capability, defence.max_loss) == ("choice", 10.0)
    assert not landscape_of(further_survey(), further_points(ATTACKED)).defence.get("benign")
