"""Handing out points: each is measured once unless its worker is lost, and nothing that a worker does is waited for."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.synthetic_runs import further, make_survey, path_line, trajectory
from safescape import Point, RunError
from safescape.measure.dispatch import (
    SILENCE,
    Alive,
    Dispatch,
    Done,
    Event,
    Failed,
    Left,
    Lost,
    Ready,
    cost_of,
)
from safescape.measure.session import Measured
from safescape.survey import Lines, Plane, Position, RandomAxis

ORIGIN = "sha256:0"


class Imagined:
    """Workers that do what they are told, or die of it, one event at a time.

    Args:
        dies: Asked at everything that a worker does, whether it dies of it: the number of the worker and its point;
            None: it starts.
        choose: Which of the things that are under way ends next, of so many.

    """

    def __init__(
        self,
        dies: Callable[[int, Point | None], bool] = lambda worker, point: False,
        choose: Callable[[int], int] = lambda count: 0,
    ) -> None:
        self._dies, self._choose = dies, choose
        self._under_way: deque[Event] = deque()
        self.hired = 0
        self.here: set[int] = set()
        self.sent: list[tuple[int, Point]] = []
        self.dropped: list[int] = []

    def hire(self) -> int:
        self.hired += 1
        self.here.add(self.hired)
        self._ends(self.hired, None, Ready(self.hired, ORIGIN))
        return self.hired

    def send(self, worker: int, point: Point) -> None:
        assert worker in self.here
        assert not any(event.worker == worker for event in self._under_way), "it holds one point at a time"
        self.sent.append((worker, point))
        self._ends(worker, point, Done(worker, [Measured(point, Position(point.coords, 0.0), {}, {}, 1.0)]))

    def dismiss(self, worker: int) -> None:
        self._under_way.append(Left(worker, ORIGIN))

    def drop(self, worker: int) -> None:
        self.here.remove(worker)
        self.dropped.append(worker)
        self._under_way = deque(event for event in self._under_way if event.worker != worker)

    def wait(self, seconds: float) -> Sequence[Event]:
        assert self._under_way, "something must be under way, or it would wait for ever"
        self._under_way.rotate(-self._choose(len(self._under_way)))
        event = self._under_way.popleft()
        if isinstance(event, Left):
            self.here.remove(event.worker)
        return [event]

    def _ends(self, worker: int, point: Point | None, event: Event) -> None:
        self._under_way.append(Lost(worker, f"died of {point}") if self._dies(worker, point) else event)


def line(count: int) -> list[Point]:
    return [Point(0, (0.1 * (number + 1),)) for number in range(count)]


def by_distance(point: Point) -> tuple[float, ...]:
    return (abs(point.coords[0]),)


def run(crew: Imagined, workers: int, points: Sequence[Point]) -> tuple[list[Point], list[Failed]]:
    dispatch = Dispatch(crew, workers, points, by_distance)
    assert dispatch.begin() == ORIGIN
    found = list(dispatch.measured())
    assert dispatch.close() == ORIGIN
    assert not crew.here, "all have left"
    return [each.point for each in found if isinstance(each, Measured)], [e for e in found if isinstance(e, Failed)]


@given(
    seed=st.integers(0),
    workers=st.integers(1, 6),
    count=st.integers(0, 25),
    lines=st.integers(1, 4),
    mortality=st.floats(0, 0.7),
)
@settings(deadline=None, max_examples=300)
def test_whoever_dies_whenever_each_point_is_measured_once_or_has_killed_two(
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

    crew = Imagined(dies, draw.randrange)
    measured, failed = run(crew, workers, points)
    assert Counter(measured + [each.point for each in failed]) == Counter(points)
    tries = Counter(point for _, point in crew.sent)
    for point in points:
        assert tries[point] == (killed[point] if killed[point] == 2 else killed[point] + 1)
    assert {each.point for each in failed} == {point for point in points if killed[point] == 2}
    assert all(each.reason == f"died of {each.point}" for each in failed)
    again = [worker for number, (worker, point) in enumerate(crew.sent) if point in {p for _, p in crew.sent[:number]}]
    first_of = {worker: number for number, (worker, _) in reversed(list(enumerate(crew.sent)))}
    assert all(crew.sent[first_of[worker]][1] in killed for worker in again), "a second try is a fresh worker's first"


@given(
    seed=st.integers(0), workers=st.integers(1, 4), rounds=st.lists(st.integers(1, 8), max_size=5), dies=st.booleans()
)
@settings(deadline=None)
def test_points_that_come_round_by_round_are_measured_by_workers_that_stay(
    seed: int, workers: int, rounds: list[int], dies: bool
) -> None:
    draw, points = random.Random(seed), line(sum(rounds))
    doomed = draw.choice(points) if points and dies else None
    tried = Counter[Point]()

    def falls(worker: int, point: Point | None) -> bool:
        tried.update([point] if point else [])
        return point is not None and point == doomed and tried[point] == 1

    crew = Imagined(falls, draw.randrange)
    first, *further = [points[sum(rounds[:n]) : sum(rounds[: n + 1])] for n in range(len(rounds))] or [[]]
    dispatch = Dispatch(crew, workers, first, by_distance, goes_on=True)
    dispatch.begin()
    found = list(dispatch.measured())
    for more in further:
        dispatch.add(more)
        found += dispatch.measured()
    dispatch.close()
    assert not crew.here
    assert Counter(each.point for each in found if isinstance(each, Measured)) == Counter(points)
    # a stale worker may have made room for the one that tries again
    assert crew.hired <= workers + (2 if doomed else 0)


def test_a_second_try_is_a_fresh_workers_first_point() -> None:
    crew = Imagined(lambda worker, point: worker == 1 and point is not None)
    points = line(5)
    assert Counter(run(crew, 2, points)[0]) == Counter(points)
    lost = crew.sent[0][1]
    tries = [worker for worker, point in crew.sent if point == lost]
    assert tries == [1, 3]
    assert next(point for worker, point in crew.sent if worker == 3) == lost


def test_the_largest_points_come_first() -> None:
    crew = Imagined()
    points = line(6)
    run(crew, 2, points)
    assert [point for _, point in crew.sent] == points[::-1]


def test_a_worker_stays_on_its_line_and_then_helps_where_most_is_left() -> None:
    crew = Imagined()
    points = [Point(number, (0.1 * step,)) for number in range(3) for step in (1, 2, 3, 4)]
    run(crew, 2, points)
    by_worker = {worker: [point.line for w, point in crew.sent if w == worker] for worker in (1, 2)}
    assert by_worker[1] == [0, 0, 0, 0, 2, 2]
    assert by_worker[2] == [1, 1, 1, 1, 2, 2]


def test_a_slow_worker_does_not_hold_the_others_up() -> None:
    """The first worker's point ends last of all: the other one measures everything else."""
    crew = Imagined()
    crew._choose = lambda count: next(
        (place for place, event in enumerate(crew._under_way) if isinstance(event, Ready) or event.worker != 1), 0
    )
    measured, _ = run(crew, 2, line(20))
    assert len(measured) == 20
    counts = Counter(worker for worker, _ in crew.sent)
    assert sorted(counts.values()) == [1, 19]


def test_no_more_workers_than_points_and_none_where_nothing_is_left() -> None:
    crew = Imagined()
    run(crew, 10, line(3))
    assert crew.hired == 3
    crew = Imagined()
    run(crew, 10, [])
    assert crew.hired == 1, "the origin may have to be asked"


def test_workers_that_all_die_as_they_start_end_the_run_with_the_reason() -> None:
    with pytest.raises(RunError, match=r"3 workers in a row died before they were ready \(died of None\).*resumes"):
        run(Imagined(lambda worker, point: True), 2, line(4))


def test_one_worker_goes_on_where_no_other_can_start() -> None:
    """There is memory for one engine: the others die as they start, and it measures all, also what was given back."""
    points = line(5)
    tried: set[Point] = set()

    def dies(worker: int, point: Point | None) -> bool:
        if point is None:
            return worker not in (1, 2)
        first = worker == 2 and not tried
        tried.add(point)
        return first

    measured, failed = run(Imagined(dies), 3, points)
    assert Counter(measured) == Counter(points)
    assert not failed


def test_another_origin_is_refused() -> None:
    class Mixed(Imagined):
        def _ends(self, worker: int, point: Point | None, event: Event) -> None:
            self._under_way.append(Ready(worker, f"sha256:{worker}") if isinstance(event, Ready) else event)

    dispatch = Dispatch(Mixed(), 2, line(4), by_distance)
    with pytest.raises(RunError, match="worker 2 holds another origin than the first one"):
        [dispatch.begin(), *dispatch.measured()]


def test_a_worker_that_says_nothing_is_given_up_and_what_it_says_later_is_not_heard() -> None:
    now = 0.0

    class Silent(Imagined):
        """The first worker never ends its first point; the second one's heart beats, and nothing else happens."""

        late: Event | None = None

        def _ends(self, worker: int, point: Point | None, event: Event) -> None:
            if worker == 1 and point is not None:
                self.late = event
            else:
                super()._ends(worker, point, event)

        def wait(self, seconds: float) -> Sequence[Event]:
            nonlocal now
            now += seconds * 10
            heard = super().wait(seconds) if self._under_way else [Alive(2)]
            if self.dropped and self.late is not None:
                heard, self.late = [*heard, self.late], None
            return heard

    crew = Silent()
    dispatch = Dispatch(crew, 2, line(3), by_distance, clock=lambda: now)
    dispatch.begin()
    found = list(dispatch.measured())
    assert crew.dropped == [1]
    assert now >= SILENCE
    assert Counter(each.point for each in found) == Counter(line(3))
    assert all(isinstance(each, Measured) for each in found)


def test_what_costs_most() -> None:
    """What is asked there counts first, then whether it is a checkpoint, then the distance from the origin."""
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
