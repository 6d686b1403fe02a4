"""Dispatch: each point is measured once unless its worker is lost, and no worker waits for another."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.surveys import further, make_survey, path_line, trajectory
from safescape import Point, RunError
from safescape.measure.dispatch import (
    HEARTBEAT_TIMEOUT,
    START_TIMEOUT,
    Closed,
    Dispatch,
    Done,
    Event,
    Failed,
    Heartbeat,
    Lost,
    Ready,
    Started,
    cost_of,
)
from safescape.measure.session import Measurement
from safescape.survey import Lines, Plane, Position, RandomAxis

ORIGIN = "sha256:0"


class SimulatedPool:
    """Workers that measure nothing, or die, one event at a time.

    Args:
        dies: Called with the number of a worker and the point that it begins, None while it starts; returns whether
            the worker dies of it.
        choose: Called with the number of pending events; returns the index of the next one.

    """

    def __init__(
        self,
        dies: Callable[[int, Point | None], bool] = lambda worker, point: False,
        choose: Callable[[int], int] = lambda count: 0,
    ) -> None:
        self._dies, self._choose = dies, choose
        self._pending: deque[Event] = deque()
        self.started = 0
        self.alive: set[int] = set()
        self.assigned: list[tuple[int, Point]] = []
        self.killed: list[int] = []

    def start(self) -> int:
        self.started += 1
        self.alive.add(self.started)
        self._finish(self.started, None, Ready(self.started, ORIGIN))
        return self.started

    def assign(self, worker: int, point: Point) -> None:
        assert worker in self.alive
        assert not any(event.worker == worker for event in self._pending), "it holds one point at a time"
        self.assigned.append((worker, point))
        self._finish(worker, point, Done(worker, [Measurement(point, Position(point.coords, 0.0), {}, {}, 1.0)]))

    def close(self, worker: int) -> None:
        self._pending.append(Closed(worker, ORIGIN))

    def kill(self, worker: int) -> None:
        self.alive.remove(worker)
        self.killed.append(worker)
        self._pending = deque(event for event in self._pending if event.worker != worker)

    def wait(self, seconds: float) -> Sequence[Event]:
        assert self._pending, "an event must be pending, or dispatch would wait for ever"
        self._pending.rotate(-self._choose(len(self._pending)))
        event = self._pending.popleft()
        if isinstance(event, Closed):
            self.alive.remove(event.worker)
        return [event]

    def _finish(self, worker: int, point: Point | None, event: Event) -> None:
        self._pending.append(Lost(worker, f"died of {point}") if self._dies(worker, point) else event)


def line(count: int) -> list[Point]:
    return [Point(0, (0.1 * (number + 1),)) for number in range(count)]


def by_distance(point: Point) -> tuple[float, ...]:
    return (abs(point.coords[0]),)


def run(pool: SimulatedPool, workers: int, points: Sequence[Point]) -> tuple[list[Point], list[Failed]]:
    dispatch = Dispatch(pool, workers, points, by_distance)
    assert dispatch.begin() == ORIGIN
    found = list(dispatch.measured())
    assert dispatch.close() == ORIGIN
    assert not pool.alive, "all workers have ended"
    return [each.point for each in found if isinstance(each, Measurement)], [e for e in found if isinstance(e, Failed)]


@given(
    seed=st.integers(0),
    workers=st.integers(1, 6),
    count=st.integers(0, 25),
    lines=st.integers(1, 4),
    mortality=st.floats(0, 0.7),
)
@settings(deadline=None, max_examples=300)
def test_each_point_is_measured_once_or_loses_two_workers(
    seed: int, workers: int, count: int, lines: int, mortality: float
) -> None:
    points = [Point(number % lines, (0.1 * (1 + number // lines),)) for number in range(count)]
    draw, killed, stillborn = random.Random(seed), Counter[Point](), 0

    def dies(worker: int, point: Point | None) -> bool:
        nonlocal stillborn
        hit = draw.random() < mortality
        if point is not None:
            killed[point] += hit
            return hit
        # three in a row end the run, which is another test
        stillborn += hit
        return hit and stillborn <= 2

    pool = SimulatedPool(dies, draw.randrange)
    measured, failed = run(pool, workers, points)
    assert Counter(measured + [each.point for each in failed]) == Counter(points)
    tries = Counter(point for _, point in pool.assigned)
    for point in points:
        assert tries[point] == (killed[point] if killed[point] == 2 else killed[point] + 1)
    assert {each.point for each in failed} == {point for point in points if killed[point] == 2}
    assert all(each.reason == f"died of {each.point}" for each in failed)
    again = [
        worker
        for number, (worker, point) in enumerate(pool.assigned)
        if point in {p for _, p in pool.assigned[:number]}
    ]
    first_of = {worker: number for number, (worker, _) in reversed(list(enumerate(pool.assigned)))}
    assert all(pool.assigned[first_of[worker]][1] in killed for worker in again), (
        "a second try is a fresh worker's first"
    )


@given(
    seed=st.integers(0), workers=st.integers(1, 4), rounds=st.lists(st.integers(1, 8), max_size=5), dies=st.booleans()
)
@settings(deadline=None)
def test_workers_stay_between_rounds(seed: int, workers: int, rounds: list[int], dies: bool) -> None:
    draw, points = random.Random(seed), line(sum(rounds))
    doomed = draw.choice(points) if points and dies else None
    tried = Counter[Point]()

    def fails(worker: int, point: Point | None) -> bool:
        tried.update([point] if point else [])
        return point is not None and point == doomed and tried[point] == 1

    pool = SimulatedPool(fails, draw.randrange)
    first, *further = [points[sum(rounds[:n]) : sum(rounds[: n + 1])] for n in range(len(rounds))] or [[]]
    dispatch = Dispatch(pool, workers, first, by_distance, keep_idle=True)
    dispatch.begin()
    found = list(dispatch.measured())
    for more in further:
        dispatch.add(more)
        found += dispatch.measured()
    dispatch.close()
    assert not pool.alive
    assert Counter(each.point for each in found if isinstance(each, Measurement)) == Counter(points)
    # an idle worker may have been closed to make room for a fresh one
    assert pool.started <= workers + (2 if doomed else 0)


def test_a_returned_point_is_the_first_one_of_a_fresh_worker() -> None:
    pool = SimulatedPool(lambda worker, point: worker == 1 and point is not None)
    points = line(5)
    assert Counter(run(pool, 2, points)[0]) == Counter(points)
    lost = pool.assigned[0][1]
    tries = [worker for worker, point in pool.assigned if point == lost]
    assert tries == [1, 3]
    assert next(point for worker, point in pool.assigned if worker == 3) == lost


def test_the_most_expensive_points_come_first() -> None:
    pool = SimulatedPool()
    points = line(6)
    run(pool, 2, points)
    assert [point for _, point in pool.assigned] == points[::-1]


def test_a_worker_stays_on_its_line_then_takes_the_longest_one() -> None:
    pool = SimulatedPool()
    points = [Point(number, (0.1 * step,)) for number in range(3) for step in (1, 2, 3, 4)]
    run(pool, 2, points)
    by_worker = {worker: [point.line for w, point in pool.assigned if w == worker] for worker in (1, 2)}
    assert by_worker[1] == [0, 0, 0, 0, 2, 2]
    assert by_worker[2] == [1, 1, 1, 1, 2, 2]


def test_a_slow_worker_does_not_delay_the_others() -> None:
    """The first worker's point is done last; the other worker measures all other points."""
    pool = SimulatedPool()
    pool._choose = lambda count: next(
        (place for place, event in enumerate(pool._pending) if isinstance(event, Ready) or event.worker != 1), 0
    )
    measured, _ = run(pool, 2, line(20))
    assert len(measured) == 20
    counts = Counter(worker for worker, _ in pool.assigned)
    assert sorted(counts.values()) == [1, 19]


def test_no_more_workers_than_points_but_at_least_one() -> None:
    pool = SimulatedPool()
    run(pool, 10, line(3))
    assert pool.started == 3
    pool = SimulatedPool()
    run(pool, 10, [])
    assert pool.started == 1, "the origin may have to score answers"


def test_workers_that_all_die_as_they_start_end_the_run_with_the_reason() -> None:
    with pytest.raises(RunError, match=r"3 workers in a row died before they were ready \(died of None\).*resumes"):
        run(SimulatedPool(lambda worker, point: True), 2, line(4))


def test_one_worker_continues_if_no_other_can_start() -> None:
    """There is memory for one engine: the others die while they start, and it measures the returned points too."""
    points = line(5)
    tried: set[Point] = set()

    def dies(worker: int, point: Point | None) -> bool:
        if point is None:
            return worker not in (1, 2)
        first = worker == 2 and not tried
        tried.add(point)
        return first

    measured, failed = run(SimulatedPool(dies), 3, points)
    assert Counter(measured) == Counter(points)
    assert not failed


def test_another_origin_is_refused() -> None:
    class Mixed(SimulatedPool):
        def _finish(self, worker: int, point: Point | None, event: Event) -> None:
            self._pending.append(Ready(worker, f"sha256:{worker}") if isinstance(event, Ready) else event)

    dispatch = Dispatch(Mixed(), 2, line(4), by_distance)
    with pytest.raises(RunError, match="worker 2 holds another origin than the first one"):
        [dispatch.begin(), *dispatch.measured()]


def test_a_worker_without_heartbeat_is_lost_and_its_late_events_are_ignored() -> None:
    now = 0.0

    class Silent(SimulatedPool):
        """The first worker never finishes its first point; the second one sends heartbeats."""

        late: Event | None = None

        def _finish(self, worker: int, point: Point | None, event: Event) -> None:
            if worker == 1 and point is not None:
                self.late = event
            else:
                super()._finish(worker, point, event)

        def wait(self, seconds: float) -> Sequence[Event]:
            nonlocal now
            now += seconds * 10
            heard = super().wait(seconds) if self._pending else [Heartbeat(2)]
            if self.killed and self.late is not None:
                heard, self.late = [*heard, self.late], None
            return heard

    pool = Silent()
    dispatch = Dispatch(pool, 2, line(3), by_distance, clock=lambda: now)
    dispatch.begin()
    found = list(dispatch.measured())
    assert pool.killed == [1]
    assert now >= HEARTBEAT_TIMEOUT
    assert Counter(each.point for each in found) == Counter(line(3))
    assert all(isinstance(each, Measurement) for each in found)


def test_a_worker_whose_process_never_runs_is_lost_and_the_run_ends_with_the_reason() -> None:
    """A cluster gives the process no resources; the run must not wait for ever."""
    now = 0.0

    class Full(SimulatedPool):
        def start(self) -> int:
            self.started += 1
            self.alive.add(self.started)
            return self.started

        def wait(self, seconds: float) -> Sequence[Event]:
            nonlocal now
            now += 10 * seconds
            return []

    pool = Full()
    with pytest.raises(
        RunError, match=r"3 workers in a row died .*its process did not start within 120 s: the cluster"
    ):
        Dispatch(pool, 1, line(2), by_distance, clock=lambda: now).begin()
    assert pool.killed == [1, 2, 3]
    assert 3 * START_TIMEOUT <= now <= 3 * START_TIMEOUT + 60


def test_an_engine_may_take_long_to_load_once_its_process_runs() -> None:
    now = 0.0

    class Slow(SimulatedPool):
        def _finish(self, worker: int, point: Point | None, event: Event) -> None:
            if point is None:
                self._pending.append(Started(worker))
            super()._finish(worker, point, event)

        def wait(self, seconds: float) -> Sequence[Event]:
            nonlocal now
            now += 100.0
            return super().wait(seconds)

    pool = Slow()
    dispatch = Dispatch(pool, 1, line(1), by_distance, clock=lambda: now)
    dispatch.begin()
    assert [found.point for found in dispatch.measured()] == line(1)
    assert not pool.killed


def test_points_are_ordered_by_items_then_checkpoints_then_distance() -> None:
    lines = make_survey(subspace=Lines(axes=(RandomAxis(seed=0, span=0.5, steps=4),)))
    assert sorted(lines.points(), key=cost_of(lines))[0].is_origin
    axis = RandomAxis(seed=0, span=0.5, steps=2)
    plane = make_survey(subspace=Plane(axes=(axis, axis)))
    assert abs(max(plane.points(), key=cost_of(plane)).coords[1]) == 0.5
    path = make_survey(subspace=path_line(4), through=trajectory(1))
    assert max(path.points(), key=cost_of(path)).waypoint == 0
    probes = tuple(probe.model_copy(update={"only_at": "models"}) for probe in further("accuracy", "perplexity"))
    path = make_survey(subspace=path_line(4), also=probes)
    assert {point.coords for point in sorted(path.points(), key=cost_of(path))[-2:]} == {(0.0,), (1.0,)}
