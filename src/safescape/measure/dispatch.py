"""Which worker measures which point: handed out one by one, given back by workers that die.

Knows no engine, no store and no Ray: a crew of workers is told what to do and says what happened.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from safescape.errors import RunError
from safescape.measure.session import Measured
from safescape.survey import ChoiceProbe, HarnessProbe, Point, Probe, PromptProbe, Survey

__all__ = [
    "SILENCE",
    "Alive",
    "Cost",
    "Crew",
    "Dispatch",
    "Done",
    "Event",
    "Failed",
    "Left",
    "Lost",
    "Ready",
    "cost_of",
]

SILENCE = 120.0
"""Seconds after which a worker of which nothing was heard is given up, though its process may still be there."""
_STILLBORN = 3
"""So many workers in a row may die before they are ready; then no more are started."""


class Failed(NamedTuple):
    """A point that two workers in turn could not measure."""

    point: Point
    reason: str
    """Of the second one, in one line."""


class Ready(NamedTuple):
    """A worker has loaded its engine."""

    worker: int
    fingerprint: str
    """Of the origin, as its engine holds it."""


class Done(NamedTuple):
    """A worker has measured its point."""

    worker: int
    found: Sequence[Measured]
    """What was measured in this place: the point, and those that are answered together with it."""


class Alive(NamedTuple):
    """A worker's heartbeat."""

    worker: int


class Left(NamedTuple):
    """A worker that was dismissed has left."""

    worker: int
    fingerprint: str
    """Of its origin at the end."""


class Lost(NamedTuple):
    """A worker has died, or could not measure its point."""

    worker: int
    reason: str
    """In one line."""


Event = Ready | Done | Alive | Left | Lost


class Crew(Protocol):
    """Workers, by number; a number is never used again."""

    def hire(self) -> int:
        """Start a worker; it will be ready, or lost."""
        ...

    def send(self, worker: int, point: Point) -> None:
        """Let a ready worker measure a point; it will be done, or lost."""
        ...

    def dismiss(self, worker: int) -> None:
        """Let a ready worker go back to its origin and leave; it will have left, or be lost."""
        ...

    def drop(self, worker: int) -> None:
        """End a worker that is lost, if there is still something to end; nothing more is heard of it."""
        ...

    def wait(self, seconds: float) -> Iterable[Event]:
        """Return what has happened, as soon as something has, but after so many seconds at the latest."""
        ...


Cost = Callable[[Point], tuple[float, ...]]
"""What measuring a point is expected to take, in no unit: the larger the longer."""


def cost_of(survey: Survey) -> Cost:
    """Return what a survey's points are expected to take: by what is asked there, then by how far out they lie.

    Far from the origin a model no longer refuses in a few words, and writes to the limit of tokens. A checkpoint costs
    more than a point of the subspace, because its place on it is computed too.
    """

    def cost(point: Point) -> tuple[float, ...]:
        items = sum(_items(probe) for probe in survey.asked_at(point))
        return float(items), float(point.waypoint is not None), math.hypot(*point.coords)

    return cost


def _items(probe: Probe) -> int:
    if isinstance(probe, PromptProbe):
        return len(probe.prompts)
    if isinstance(probe, ChoiceProbe):
        return len(probe.questions)
    if isinstance(probe, HarnessProbe):
        return probe.limit or 1000  # as many as such tasks have; only lm-eval knows
    return len(probe.texts)


_Row = tuple[int | None, tuple[float, ...]]


def _row_of(point: Point) -> _Row:
    """A line, or the row of a plane: its points share a direction, which an engine keeps in memory."""
    return point.line, point.coords[1:]


class _Queue:
    """Open points, row by row, and in each the largest first.

    A worker stays on its row as long as there are points on it, since another row is another direction to compute; then
    it takes the row with the largest point, and of those the longest. So the last points handed out are small ones,
    and no worker is long alone at the end.
    """

    def __init__(self, points: Iterable[Point], cost: Cost) -> None:
        self._rows: dict[_Row, deque[Point]] = {}
        self._cost = {point: cost(point) for point in points}
        for point in sorted(self._cost, key=self._cost.__getitem__, reverse=True):
            self._rows.setdefault(_row_of(point), deque()).append(point)
        self._length = len(self._cost)

    def take(self, row: _Row | None) -> Point | None:
        """Take out the next point for a worker that stands on a row; None if none is left."""
        if not self._rows:
            return None
        if row not in self._rows:
            row = max(self._rows, key=lambda row: (self._cost[self._rows[row][0]], len(self._rows[row])))
        points = self._rows[row]
        point = points.popleft()
        if not points:
            del self._rows[row]
        self._length -= 1
        return point

    def __len__(self) -> int:
        return self._length


class Dispatch:
    """Hands a survey's open points to workers until each is measured or has failed.

    A worker holds one point at a time. A worker that dies, that says nothing for `SILENCE`, or in which measuring
    raises, gives its point back and is replaced; the point goes to a worker that has measured nothing yet, once, and
    has failed if that one is lost with it as well. No point is ever held by two workers. A worker with nothing left to
    do leaves, so that what it occupied is free for a replacement, or for others; unless more points may come.

    Args:
        crew: The workers.
        workers: How many there should be, at most.
        points: To be measured.
        cost: What each is expected to take.
        clock: Seconds that never go back.
        goes_on: More points may be added when these are measured.

    """

    def __init__(
        self,
        crew: Crew,
        workers: int,
        points: Sequence[Point],
        cost: Cost,
        clock: Callable[[], float] = time.monotonic,
        *,
        goes_on: bool = False,
    ) -> None:
        self._crew, self._workers, self._clock = crew, workers, clock
        self._cost, self._goes_on = cost, goes_on
        self._queue = _Queue(points, cost)
        self._given_back: deque[Point] = deque()
        self._tried: set[Point] = set()
        self._starting: set[int] = set()
        self._free: dict[int, None] = {}
        self._holding: dict[int, Point] = {}
        self._leaving: set[int] = set()
        self._stands: dict[int, _Row] = {}
        self._heard: dict[int, float] = {}
        self._stillborn, self._reason = 0, ""
        self._fingerprint: str | None = None

    def begin(self) -> str:
        """Start as many workers as there is work for, at least one; return the first one's origin's fingerprint.

        Raises:
            RunError: none could be started.

        """
        for _ in range(max(1, min(self._workers, len(self._queue)))):
            self._hire()
        self.anyone()
        assert self._fingerprint is not None
        return self._fingerprint

    def measured(self) -> Iterator[Measured | Failed]:
        """Every point as it is measured, or has failed, in the order in which that happens.

        Raises:
            RunError: no worker is left and none can be started, or a worker's origin is not that of the others.

        """
        while self._queue or self._given_back or self._holding:
            self._hand_out()
            heard = self._listen()
            # the workers go on before anything is stored
            self._hand_out()
            yield from heard

    def add(self, points: Sequence[Point]) -> None:
        """Take further points, when all that there were are measured or have failed."""
        self._queue = _Queue(points, self._cost)

    def anyone(self) -> int:
        """Return a worker that is ready and holds nothing; one is started if there is none.

        Raises:
            RunError: none could be started.

        """
        while not self._free:
            if not self._starting:
                self._hire()
            self._listen()
        return next(iter(self._free))

    def close(self) -> str:
        """Let all workers leave, and return their origin's fingerprint.

        Raises:
            RunError: a worker did not come back to its origin.

        """
        for worker in list(self._starting):
            self._forget(worker)
            self._crew.drop(worker)
        for worker in list(self._free):
            self._dismiss(worker)
        while self._leaving:
            self._listen()
        assert self._fingerprint is not None
        return self._fingerprint

    def _hand_out(self) -> None:
        for worker in list(self._free):
            point = self._next_for(worker)
            if point is not None:
                del self._free[worker]
                self._holding[worker] = point
                self._stands[worker] = _row_of(point)
                self._crew.send(worker, point)
            elif (self._holding or self._given_back) and not self._goes_on:
                self._dismiss(worker)
        staff = len(self._starting) + len(self._free) + len(self._holding)
        missing = len(self._queue) + len(self._given_back) - len(self._starting)
        for _ in range(min(self._workers - staff, missing)):
            if self._stillborn < _STILLBORN:
                self._hire()
        if (self._queue or self._given_back) and not (self._starting or self._holding):
            raise self._nobody()

    def _next_for(self, worker: int) -> Point | None:
        is_fresh = worker not in self._stands
        if self._given_back and (is_fresh or self._stillborn >= _STILLBORN):
            return self._given_back.popleft()
        return self._queue.take(self._stands.get(worker))

    def _hire(self) -> None:
        if self._stillborn >= _STILLBORN:
            raise self._nobody()
        worker = self._crew.hire()
        self._starting.add(worker)

    def _nobody(self) -> RunError:
        return RunError(
            f"{_STILLBORN} workers in a row died before they were ready ({self._reason}); give fewer --workers or mend "
            "that, then repeat the command: it resumes where it stopped"
        )

    def _dismiss(self, worker: int) -> None:
        del self._free[worker]
        self._leaving.add(worker)
        self._crew.dismiss(worker)

    def _listen(self) -> list[Measured | Failed]:
        """Wait for what happens, and return the points that are done with."""
        found = [each for event in self._crew.wait(1.0) for each in self._heed(event)]
        overdue = self._clock() - SILENCE
        for worker in [worker for worker, heard in self._heard.items() if heard < overdue]:
            found += self._heed(Lost(worker, f"nothing was heard of the worker for {SILENCE:g} s"))
        return found

    def _heed(self, event: Event) -> Sequence[Measured | Failed]:
        worker = event.worker
        if worker not in self._starting and worker not in self._heard:
            return ()  # a lost worker's last words
        if isinstance(event, Lost):
            return self._lose(event)
        self._heard[worker] = self._clock()
        if isinstance(event, Ready):
            self._starting.remove(worker)
            self._stillborn = 0
            self._compare(event)
            self._free[worker] = None
        elif isinstance(event, Done):
            del self._holding[worker]
            self._free[worker] = None
            return event.found
        elif isinstance(event, Left):
            self._forget(worker)
            self._compare(event)
        return ()

    def _compare(self, event: Ready | Left) -> None:
        self._fingerprint = self._fingerprint or event.fingerprint
        if event.fingerprint != self._fingerprint:
            raise RunError(
                f"worker {event.worker} holds another origin than the first one ({event.fingerprint[:19]}…, not "
                f"{self._fingerprint[:19]}…): use machines of one kind, with the same versions installed"
            )

    def _lose(self, event: Lost) -> Sequence[Failed]:
        worker, point = event.worker, self._holding.get(event.worker)
        if worker in self._starting:
            self._stillborn, self._reason = self._stillborn + 1, event.reason
        self._forget(worker)
        self._crew.drop(worker)
        if point is None:
            return ()
        if point in self._tried:
            return (Failed(point, event.reason),)
        self._tried.add(point)
        self._given_back.append(point)
        return ()

    def _forget(self, worker: int) -> None:
        self._starting.discard(worker)
        self._leaving.discard(worker)
        self._free.pop(worker, None)
        self._holding.pop(worker, None)
        self._stands.pop(worker, None)
        self._heard.pop(worker, None)
