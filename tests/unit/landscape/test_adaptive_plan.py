"""Adaptive surveys: a plan that depends on results alone, and figures whose intervals cover what is not measured."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from helpers.behaviours import by_keyword
from helpers.runs import comparison_in, landscape_in, make_run
from helpers.surveys import make_survey, path_line, random_plane
from safescape.landscape import is_settled, landscape_of, plan_of, stages_of
from safescape.landscape.adaptive import ERROR, Plan, plan_line
from safescape.landscape.estimates import JudgedSubspace
from safescape.landscape.measures import bounded, envelope, safety_auc, visage, visage_of
from safescape.survey import Adaptive, Lines, MeasuredPoint, Outcome, Plane, Point, Position, RandomAxis, Survey

Curve = Callable[[int], float]


def adaptive_survey(*, lines: int = 2, steps: int = 50, prompts: int = 80, interval: float | None = None) -> Survey:
    more = lines if interval is None else 3 * lines
    axes = tuple(RandomAxis(seed=n, span=0.5, steps=steps) for n in range(more))
    chosen = Adaptive(directions=lines, safe_below=10, interval=interval)
    return make_survey(subspace=Lines(axes=axes), prompts=prompts, adaptive=chosen)


# The plan of one line.


@given(
    side=st.integers(1, 200),
    left=st.floats(0.001, 1.3),
    right=st.floats(0.001, 1.3),
    width=st.sampled_from([1e-6, 0.02, 0.1, 0.4]),
    top=st.sampled_from([100.0, 97.5, 60.0]),
)
@settings(deadline=None)
def test_the_edges_of_a_monotone_line_are_found_to_one_step(
    side: int, left: float, right: float, width: float, top: float
) -> None:
    """On each side the ASR rises linearly from 0 at the edge to its maximum."""

    def asr_at(place: int) -> float:
        edge = left if place < 0 else right
        return float(np.clip((abs(place) / side - edge) / width, 0, 1)) * top

    found = plan_line(asr_at, 2 * side, safe_below=10.0, prompts=80)
    assert not found.open
    assert len(set(found.places)) == len(found.places), "no place is measured twice"
    assert all(abs(place) <= side for place in found.places)
    assert {0, -side, side} <= set(found.places)
    for sign in (-1, 1):
        safe = [place for place in range(side + 1) if asr_at(sign * place) <= 10.0]
        last = max(safe)
        assert sign * last in found.places, "the last safe place of the whole grid"
        assert last == side or sign * (last + 1) in found.places, "and the first unsafe one"
    # the coarse round and a bisection of what lies between on each side, or a third of the grid
    bisected = 7 + 2 * math.ceil(math.log2(side))
    assert len(found.places) <= max(bisected, (2 * side + 1) // 3)


@given(values=st.lists(st.sampled_from([0.0, 5.0, 20.0, 98.75, 100.0]), min_size=51, max_size=51))
def test_on_any_line_the_plan_ends_and_the_edges_are_one_step_wide(values: list[float]) -> None:
    found = plan_line(lambda place: values[place + 25], 50, safe_below=10.0, prompts=80)
    assert not found.open
    # a third of the grid, and on each side a bisection of half of it that the last stretch may have begun
    assert len(found.places) <= 17 + 2 * 4
    for sign in (-1, 1):
        distances = sorted(abs(place) for place in found.places if place * sign >= 0)
        unsafe = [far for far in distances if values[sign * far + 25] > 10.0]
        if unsafe and unsafe[0]:
            assert distances[distances.index(unsafe[0]) - 1] == unsafe[0] - 1


@pytest.mark.parametrize("asr", [0.0, 100.0])
def test_a_flat_line_needs_only_its_coarse_points(asr: float) -> None:
    found = plan_line(lambda place: asr, 50, safe_below=10.0, prompts=80)
    assert sorted(found.places) == [-25, -12, -6, 0, 6, 12, 25]


# The plan of a survey.


def asked(survey: Survey, share: Callable[[Point], float], point: Point) -> MeasuredPoint:
    """Measure a point as a session does: the prompts in their order until the point is settled."""
    prompts = len(survey.prompts.prompts)
    order = np.random.default_rng(7).permutation(prompts)
    complied = order < round(share(point) * prompts)
    n = prompts
    if not point.is_origin:
        n = next(n for n in stages_of(prompts) if is_settled(int(complied[:n].sum()), n, prompts, 10.0))
    outcomes = [Outcome.COMPLIED if each else Outcome.REFUSED for each in complied[:n]]
    return MeasuredPoint(point, Position(point.coords, 0.0), "harmful", {"keyword": outcomes})


def finished(survey: Survey, share: Callable[[Point], float]) -> tuple[Plan, dict[Point, MeasuredPoint]]:
    """Measure a survey round by round without interruption."""
    stored: dict[Point, MeasuredPoint] = {}
    while wanted := plan_of(survey, stored.values()).open:
        stored.update((point, asked(survey, share, point)) for point in wanted)
    return plan_of(survey, stored.values()), stored


def sloped(edges: tuple[float, ...]) -> Callable[[Point], float]:
    def share(point: Point) -> float:
        far = abs(point.coords[0]) - edges[(point.line or 0) % len(edges)]
        return float(np.clip(far / 0.05, 0, 1))

    return share


@given(
    seed=st.integers(0, 10**6),
    edges=st.tuples(st.floats(0.02, 0.6), st.floats(0.02, 0.6)),
    interval=st.sampled_from([None, 4.0]),
)
@settings(deadline=None, max_examples=15)
def test_in_any_order_and_after_any_interruption_the_points_are_the_same(
    seed: int, edges: tuple[float, float], interval: float | None
) -> None:
    survey, draw, share = adaptive_survey(steps=20, prompts=16, interval=interval), random.Random(seed), sloped(edges)
    plan, whole = finished(survey, share)
    stored: dict[Point, MeasuredPoint] = {}
    while wanted := plan_of(survey, stored.values()).open:
        # measure some of the open points in any order, then plan again
        for point in draw.sample(wanted, draw.randint(1, len(wanted))):
            assert point not in stored, "no point is measured twice"
            stored[point] = asked(survey, share, point)
    assert stored == whole
    assert plan_of(survey, list(stored.values())[::-1]) == plan
    assert list(plan.points) == [point for point in survey.points() if point in whole]


def test_a_survey_that_is_not_adaptive_is_one_round_of_all_its_points() -> None:
    survey = make_survey(lines=2, steps=4)
    points = tuple(survey.points())
    assert plan_of(survey, []).open == points
    some = [asked(survey, lambda point: 0.0, point) for point in points[:4]]
    assert plan_of(survey, some) == Plan(2, points, points[4:])


def test_directions_are_added_until_visage_is_known_or_none_is_left() -> None:
    # steep and alike: two directions suffice; different: the interval stays wide, and all directions are measured
    alike, apart = sloped((0.2,)), lambda point: 0.02 + 0.9 * ((point.line or 0) % 2) * (abs(point.coords[0]) > 0.1)
    survey = adaptive_survey(interval=30.0, steps=20)
    assert finished(survey, alike)[0].lines == 2
    plan, stored = finished(survey, apart)
    assert plan.lines == len(survey.subspace.axes) == 6
    landscape = landscape_of(survey, stored.values())
    assert landscape.complete
    visage = landscape.metrics["visage"]
    assert visage.low is not None
    assert visage.high is not None
    assert visage.high - visage.low > 30.0


def test_a_landscape_has_the_lines_that_were_begun() -> None:
    survey = adaptive_survey(interval=30.0, steps=20)
    _, stored = finished(survey, sloped((0.2,)))
    landscape = landscape_of(survey, stored.values())
    assert [axis.seed for axis in landscape.axes if axis.kind == "random"] == [0, 1]
    assert len(landscape.metrics["visage"].per_line) == 2


def test_an_origin_that_no_point_can_be_shown_to_be_worse_than_needs_no_edges() -> None:
    plan, _ = finished(adaptive_survey(), lambda point: 0.99)
    assert plan.lines == 2
    assert len(plan.points) == 1 + 2 * 6


def test_only_random_lines_adapt() -> None:
    chosen = Adaptive(directions=1, safe_below=10)
    for subspace in (random_plane(4), path_line()):
        assert isinstance(subspace, Lines | Plane)
        with pytest.raises(ValidationError, match="adaptive needs lines in random directions"):
            make_survey(subspace=subspace, adaptive=chosen)
    with pytest.raises(ValidationError, match="at least as many lines as it starts with"):
        make_survey(lines=1, adaptive=chosen.model_copy(update={"directions": 2}))


def test_a_survey_says_that_it_is_adaptive_only_if_it_is() -> None:
    assert "adaptive" not in make_survey().model_dump_json()
    survey = adaptive_survey()
    assert Survey.model_validate_json(survey.model_dump_json()) == survey
    differing = survey.differences(make_survey(lines=2, steps=50))
    assert [each.partition(":")[0] for each in differing] == ["adaptive"]


# Bounds between the points.


@given(
    asr=st.lists(st.sampled_from([0.0, 12.5, 50.0, 87.5, 100.0]), min_size=2, max_size=5),
    gaps=st.lists(st.integers(1, 3), min_size=5, max_size=5),
)
@settings(deadline=None)
def test_the_bounds_of_visage_are_those_of_all_possible_values_in_the_gaps(asr: list[float], gaps: list[int]) -> None:
    places = np.cumsum([0, *gaps[: len(asr) - 1]])
    between = envelope(np.array(asr), places)
    choices = []
    for low, high in zip(between.low, between.high, strict=True):
        # a mean is extreme if all its members are; below 100 there is one prompt of 8
        choices.append({low, high, *([87.5] if low < 87.5 and high == 100.0 else [])})
    every = np.array([visage(np.array(fill)) for fill in itertools.product(*choices)])
    found = visage_of(between, prompts=8)
    assert found.low == pytest.approx(every.min())
    assert found.high == pytest.approx(every.max())
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9


@given(st.lists(st.floats(0, 100), min_size=3, max_size=30))
def test_on_a_whole_grid_every_measure_is_exact(values: list[float]) -> None:
    asr = np.array(values)
    between = envelope(asr, np.arange(len(asr)))
    assert between.is_exact
    assert set(map(float, visage_of(between, 80))) == {float(visage(asr))}
    assert set(map(float, bounded(safety_auc, between))) == {float(safety_auc(asr))}


def test_the_value_of_the_auc_is_that_of_linear_interpolation() -> None:
    between = envelope(np.array([0.0, 80.0, 20.0]), np.array([0, 4, 6]))
    filled = np.interp(np.arange(7), [0, 4, 6], [0.0, 80.0, 20.0])
    assert float(bounded(safety_auc, between).value) == pytest.approx(float(safety_auc(filled)))
    assert between.low.tolist() == [0, 0, 0, 0, 80, 20, 20]
    assert between.high.tolist() == [0, 80, 80, 80, 80, 80, 20]


def test_with_every_point_measured_the_figures_are_those_of_the_grid() -> None:
    fixed = make_survey(lines=2, steps=20)
    survey = adaptive_survey(steps=20)
    stored = {("harmful", p): asked(fixed, sloped((0.1, 0.2)), p) for p in fixed.points()}
    # like a fixed run: all prompts
    for key, entry in stored.items():
        n = len(fixed.prompts.prompts) - len(entry.outcomes["keyword"])
        stored[key] = entry._replace(outcomes={"keyword": [*entry.outcomes["keyword"], *[Outcome.COMPLIED] * n]})
    on_lines = [survey.subspace.on_line(n) for n in range(2)] if isinstance(survey.subspace, Lines) else []
    mine = JudgedSubspace.of(survey, stored, survey.prompts, "keyword", 10.0, on_lines)
    theirs = JudgedSubspace.of(fixed, stored, fixed.prompts, "keyword", 10.0)
    assert mine.metrics() == theirs.metrics()
    assert mine.edges() == theirs.edges()


def test_an_interval_grows_with_what_is_not_measured() -> None:
    survey, share = adaptive_survey(lines=2), sloped((0.1, 0.1))
    grid = [asked(survey, share, point) for point in survey.points()]
    stored = {("harmful", entry.point): entry for entry in grid}

    def width(step: int) -> float:
        assert isinstance(survey.subspace, Lines)
        points = [survey.subspace.on_line(line)[::step] for line in range(2)]
        metric = JudgedSubspace.of(survey, stored, survey.prompts, "keyword", 10.0, points).metrics()["visage"]
        assert metric.low is not None
        assert metric.high is not None
        return metric.high - metric.low

    assert width(1) < width(5)


# The sequential test.


def error_of(successes: int, prompts: int, safe_below: float) -> float:
    """Return the probability, over all orders of the prompts, that a point is settled with the wrong verdict."""
    unsafe = 100.0 * successes / prompts > safe_below
    # the probability of each (asked, complied) that is reached without having stopped
    here, wrong, before = {0: 1.0}, 0.0, 0
    for n in stages_of(prompts):
        after: dict[int, float] = {}
        for complied, chance in here.items():
            left, good = successes - complied, prompts - before - (successes - complied)
            for more in range(n - before + 1):
                if more <= left and n - before - more <= good:
                    ways = math.comb(left, more) * math.comb(good, n - before - more)
                    step = chance * ways / math.comb(prompts - before, n - before)
                    after[complied + more] = after.get(complied + more, 0.0) + step
        here, before = {}, n
        for complied, chance in after.items():
            if not is_settled(complied, n, prompts, safe_below):
                here[complied] = chance
            elif (100.0 * complied / n > safe_below) != unsafe:
                wrong += chance
    assert not here
    return wrong


@pytest.mark.parametrize(("prompts", "safe_below"), [(80, 10.0), (40, 10.0), (12, 0.0), (80, 50.0), (33, 7.5), (1, 10)])
def test_the_error_is_bounded_at_any_rate(prompts: int, safe_below: float) -> None:
    errors = [error_of(successes, prompts, safe_below) for successes in range(prompts + 1)]
    assert max(errors) <= ERROR
    assert errors[0] == errors[-1] == 0.0


def test_in_a_simulation_of_bernoulli_curves_verdicts_err_rarely_and_deep_points_end_early() -> None:
    draw, wrong, total, spent = np.random.default_rng(0), 0, 0, dict.fromkeys(("deep", "out"), 0.0)
    for _ in range(300):
        for rate in (0.0, 0.01, 0.05, 0.1, 0.15, 0.3, 0.6, 1.0):
            complied = draw.random(80) < rate
            n = next(n for n in stages_of(80) if is_settled(int(complied[:n].sum()), n, 80, 10.0))
            wrong += bool(complied[:n].mean() > 0.1) != bool(complied.mean() > 0.1)
            total += 1
            spent["deep"] += n / 300 / 80 * (rate == 0.0)
            spent["out"] += n / 300 / 80 * (rate == 0.6)
    assert wrong / total <= ERROR
    assert spent["deep"] <= 0.5
    assert spent["out"] <= 0.3


def test_a_point_near_100_is_asked_everything() -> None:
    assert stages_of(80) == (20, 40, 80)
    assert not is_settled(20, 20, 80, 10.0)
    assert not is_settled(39, 40, 80, 10.0)
    assert is_settled(80, 80, 80, 10.0)
    assert is_settled(12, 20, 80, 10.0)


# Adaptive runs in other rooms.


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adaptive")


def test_an_adaptive_run_is_loaded_drawn_and_compared(directory: Path) -> None:
    from safescape.views import draw, render_page
    from safescape.views.series.curves import courses_of, curves_of
    from safescape.views.series.samples import extent_of

    survey = make_survey(steps=50, adaptive=Adaptive(directions=3, safe_below=10))
    with make_run(directory / "one", survey, opinion=by_keyword) as one, make_run(directory / "two", survey) as two:
        landscape = landscape_in(one)
        assert landscape.complete
        assert len(landscape.points) <= (1 + 3 * 50) / 3
        for curve in curves_of(landscape):
            assert curve.complete
            assert [s.coords for s in curve.samples] == sorted(s.coords for s in curve.samples)
        alphas = {point.coords[0] for point in landscape.points}
        assert len(courses_of(landscape)[0].readings) == len(alphas), "the mean stands wherever a line was measured"
        assert extent_of(landscape).points == f"{len(landscape.points)} of {len(landscape.points)} points"
        assert "points chosen by results" in "".join(text.get_text() for text in draw(landscape).texts)
        page = render_page(one, landscape)
        assert "chosen as results came in" in page
        assert {p.n for p in landscape.points} > {80}
        comparison = comparison_in(one, two)
        assert comparison.differences[1]["visage"].value == 0.0


def test_an_unfinished_run_says_how_far_it_is(directory: Path) -> None:
    from safescape.views.series.samples import extent_of

    survey = make_survey(steps=50, adaptive=Adaptive(directions=3, safe_below=10))
    with make_run(directory / "some", survey, points=25, origin_at_close=None) as store:
        landscape = landscape_in(store)
        assert not landscape.complete
        assert landscape.metrics["visage"].value is None
        assert extent_of(landscape).points == "25 points so far"


def test_an_adaptive_run_and_a_grid_are_not_compared(directory: Path) -> None:
    from safescape import InputError

    survey = make_survey(steps=50, adaptive=Adaptive(directions=3, safe_below=10))
    with (
        make_run(directory / "chosen", survey) as one,
        make_run(directory / "whole", make_survey(steps=50)) as two,
        pytest.raises(InputError, match="adaptive"),
    ):
        comparison_in(one, two)
