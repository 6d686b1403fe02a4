"""Assign points to workers one by one, the most expensive first, and reassign the points of lost workers.

Knows no engine, no store and no Ray: a `Pool` starts the workers and reports what happened to them.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from safescape.errors import RunError
from safescape.measure.session import Measurement
from safescape.survey import ChatProbe, ChoiceProbe, HarnessProbe, Point, Probe, Survey

_log = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT = 120.0
"""Seconds without a heartbeat after which a worker is lost, even if its process may still exist."""
START_TIMEOUT = 120.0
"""Seconds within which a worker's process must run; loading its engine may take longer."""
_MAX_FAILED_STARTS = 3
"""Number of consecutive workers lost before they were ready, after which no more are started."""


Cost = Callable[[Point], tuple[float, ...]]
"""A sort key of points by the time that measuring them is expected to take."""


class Failed(NamedTuple):
    """A point that two workers in turn could not measure."""

    point: Point
    reason: str
    """Why the second worker was lost; one line."""


class Started(NamedTuple):
    """A worker's process runs; it loads its engine."""

    worker: int


class Ready(NamedTuple):
    """A worker has loaded its engine."""

    worker: int
    fingerprint: str
    """Of the origin, as the engine holds it."""


class Done(NamedTuple):
    """A worker has measured its point."""

    worker: int
    found: Sequence[Measurement]
    """The point, and those that were measured together with it."""


class Heartbeat(NamedTuple):
    """A worker's process is alive."""

    worker: int


class Closed(NamedTuple):
    """A worker has closed its engine and ended."""

    worker: int
    fingerprint: str
    """Of the origin, as the engine held it at the end."""


class Lost(NamedTuple):
    """A worker has died, or measuring its point raised an error."""

    worker: int
    reason: str
    """In one line."""


Event = Started | Ready | Done | Heartbeat | Closed | Lost


class Pool(Protocol):
    """Workers, by number; a number is never used again."""

    def start(self) -> int:
        """Start a worker and return its number; an event `Ready` or `Lost` follows."""

    def assign(self, worker: int, point: Point) -> None:
        """Assign a point to a ready worker; an event `Done` or `Lost` follows."""

    def close(self, worker: int) -> None:
        """Make a ready worker close its engine and exit; an event `Closed` or `Lost` follows."""

    def kill(self, worker: int) -> None:
        """End the process of a lost worker, if it still exists; no event follows."""

    def wait(self, seconds: float) -> Iterable[Event]:
        """Return the events since the last call, waiting at most `seconds` for the first one."""


class Dispatch:
    """Assigns a survey's open points to workers until each point is measured or has failed.

    A worker holds one point at a time. A worker that dies, that sends no heartbeat for `HEARTBEAT_TIMEOUT`, or whose
    measurement raises an error is lost and replaced. Its point is assigned once more, to a worker that has measured
    nothing yet, and fails if that worker is lost too. No point is ever assigned to two workers at a time. A worker
    without a point is closed, so that its resources are free, unless more points may come.

    Args:
        pool: The workers.
        workers: Maximum number of workers at a time.
        points: The points to measure.
        cost: See `cost_of`.
        clock: Monotonic, in seconds.
        keep_idle: Keep idle workers, because more points may be added.

    """

    def __init__(
        self,
        pool: Pool,
        workers: int,
        points: Sequence[Point],
        cost: Cost,
        clock: Callable[[], float] = time.monotonic,
        *,
        keep_idle: bool = False,
    ) -> None:
        self._pool, self._workers, self._clock = pool, workers, clock
        self._cost, self._keep_idle = cost, keep_idle
        self._queue = _PointQueue(points, cost)
        self._returned: deque[Point] = deque()
        self._tried: set[Point] = set()
        self._starting: dict[int, float | None] = {}
        """By worker, since when its process has been expected; None: it runs, and loads its engine."""
        self._idle: dict[int, None] = {}
        self._holding: dict[int, Point] = {}
        self._closing: set[int] = set()
        self._rows: dict[int, _Row] = {}
        self._last_event: dict[int, float] = {}
        """By worker that has been ready."""
        self._failed_starts, self._reason = 0, ""
        self._fingerprint: str | None = None

    def begin(self) -> str:
        """Start the workers, one per point but at least one, and return the origin's fingerprint of the first.

        Raises:
            RunError: none could be started.

        """
        for _ in range(max(1, min(self._workers, len(self._queue)))):
            self._start()
        self.idle_worker()
        assert self._fingerprint is not None
        return self._fingerprint

    def measured(self) -> Iterator[Measurement | Failed]:
        """Yield every point as it is measured or has failed.

        Raises:
            RunError: no worker is left and none can be started, or the workers hold different origins.

        """
        while self._queue or self._returned or self._holding:
            self._hand_out()
            found = self._events()
            # workers continue before the caller stores anything
            self._hand_out()
            yield from found

    def add(self, points: Sequence[Point]) -> None:
        """Add points when all earlier ones are measured or have failed."""
        self._queue = _PointQueue(points, self._cost)

    def idle_worker(self) -> int:
        """Return a worker that is ready and holds no point; start one if there is none.

        Raises:
            RunError: none could be started.

        """
        while not self._idle:
            if not self._starting:
                self._start()
            self._events()
        return next(iter(self._idle))

    def close(self) -> str:
        """Close all workers and return the origin's fingerprint.

        Raises:
            RunError: a worker did not return to its origin.

        """
        for worker in list(self._starting):
            self._forget(worker)
            self._pool.kill(worker)
        for worker in list(self._idle):
            self._close(worker)
        while self._closing:
            self._events()
        assert self._fingerprint is not None
        return self._fingerprint

    def _hand_out(self) -> None:
        for worker in list(self._idle):
            point = self._next_for(worker)
            if point is not None:
                del self._idle[worker]
                self._holding[worker] = point
                self._rows[worker] = _row_of(point)
                self._pool.assign(worker, point)
            elif (self._holding or self._returned) and not self._keep_idle:
                self._close(worker)
        active = len(self._starting) + len(self._idle) + len(self._holding)
        unassigned = len(self._queue) + len(self._returned) - len(self._starting)
        for _ in range(min(self._workers - active, unassigned)):
            if self._failed_starts < _MAX_FAILED_STARTS:
                self._start()
        if (self._queue or self._returned) and not (self._starting or self._holding):
            raise self._none_started()

    def _next_for(self, worker: int) -> Point | None:
        is_fresh = worker not in self._rows
        if self._returned and (is_fresh or self._failed_starts >= _MAX_FAILED_STARTS):
            return self._returned.popleft()
        return self._queue.take(self._rows.get(worker))

    def _start(self) -> None:
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise self._none_started()
        self._starting[self._pool.start()] = self._clock()

    def _none_started(self) -> RunError:
        return RunError(
            f"{_MAX_FAILED_STARTS} workers in a row died before they were ready ({self._reason}); give fewer --workers "
            "or mend that, then repeat the command: it resumes where it stopped"
        )

    def _close(self, worker: int) -> None:
        del self._idle[worker]
        self._closing.add(worker)
        self._pool.close(worker)

    def _events(self) -> list[Measurement | Failed]:
        """Wait for events, and return the points that were measured or have failed."""
        found = [each for event in self._pool.wait(1.0) for each in self._handle(event)]
        now = self._clock()
        silent = f"no heartbeat of the worker for {HEARTBEAT_TIMEOUT:g} s"
        absent = f"its process did not start within {START_TIMEOUT:g} s: the cluster has no room for it"
        overdue = [Lost(each, silent) for each, last in self._last_event.items() if last < now - HEARTBEAT_TIMEOUT]
        expected = {each: since for each, since in self._starting.items() if since is not None}
        overdue += [Lost(each, absent) for each, since in expected.items() if since < now - START_TIMEOUT]
        return found + [each for event in overdue for each in self._handle(event)]

    def _handle(self, event: Event) -> Sequence[Measurement | Failed]:
        worker = event.worker
        if worker not in self._starting and worker not in self._last_event:
            return ()  # late event of a lost worker
        if isinstance(event, Lost):
            return self._lose(event)
        if isinstance(event, Started):
            if worker in self._starting:
                self._starting[worker] = None
            return ()
        self._last_event[worker] = self._clock()
        if isinstance(event, Ready):
            del self._starting[worker]
            self._failed_starts = 0
            self._check_origin(event)
            self._idle[worker] = None
        elif isinstance(event, Done):
            del self._holding[worker]
            self._idle[worker] = None
            return event.found
        elif isinstance(event, Closed):
            self._forget(worker)
            self._check_origin(event)
        return ()

    def _check_origin(self, event: Ready | Closed) -> None:
        self._fingerprint = self._fingerprint or event.fingerprint
        if event.fingerprint != self._fingerprint:
            raise RunError(
                f"worker {event.worker} holds another origin than the first one ({event.fingerprint[:19]}…, not "
                f"{self._fingerprint[:19]}…): use machines of one kind, with the same versions installed"
            )

    def _lose(self, event: Lost) -> Sequence[Failed]:
        worker, point = event.worker, self._holding.get(event.worker)
        _log.info("lost worker %d: %s", worker, event.reason)
        if worker in self._starting:
            self._failed_starts, self._reason = self._failed_starts + 1, event.reason
        self._forget(worker)
        self._pool.kill(worker)
        if point is None:
            return ()
        if point in self._tried:
            return (Failed(point, event.reason),)
        self._tried.add(point)
        self._returned.append(point)
        return ()

    def _forget(self, worker: int) -> None:
        self._closing.discard(worker)
        for by_worker in (self._starting, self._idle, self._holding, self._rows, self._last_event):
            by_worker.pop(worker, None)


_Row = tuple[int | None, tuple[float, ...]]


def _row_of(point: Point) -> _Row:
    """Return the line of a point, or its row of a plane: these points share a direction that an engine keeps."""
    return point.line, point.coords[1:]


class _PointQueue:
    """Open points by row, in each row the most expensive first.

    A worker stays on its row as long as the row has points, since another row requires another direction. Then it takes
    the row with the most expensive point, and the longest of several such rows. The last points are therefore cheap,
    and no worker measures alone for long at the end.
    """

    def __init__(self, points: Iterable[Point], cost: Cost) -> None:
        self._rows: dict[_Row, deque[Point]] = {}
        self._cost = {point: cost(point) for point in points}
        for point in sorted(self._cost, key=self._cost.__getitem__, reverse=True):
            self._rows.setdefault(_row_of(point), deque()).append(point)
        self._length = len(self._cost)

    def take(self, row: _Row | None) -> Point | None:
        """Remove and return the next point for a worker on `row`; None if none is left."""
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


def cost_of(survey: Survey) -> Cost:
    """Return the sort key of a survey's points: by the number of items asked there, then by the distance.

    Far from the origin a model no longer refuses in a few words, but writes to the limit of tokens. A checkpoint costs
    more than a point of the subspace, because its projection on the subspace is computed too.
    """

    def cost(point: Point) -> tuple[float, ...]:
        items = sum(_items(probe) for probe in survey.asked_at(point))
        return float(items), float(point.waypoint is not None), math.hypot(*point.coords)

    return cost


def _items(probe: Probe) -> int:
    if isinstance(probe, ChatProbe):
        return len(probe.prompts)
    if isinstance(probe, ChoiceProbe):
        return len(probe.questions)
    if isinstance(probe, HarnessProbe):
        return probe.limit or 1000  # a typical task; only lm-eval knows
    return len(probe.texts)
