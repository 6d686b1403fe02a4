"""python benchmarks/workers.py [--driver] [--model demo] [--points 24]

Measure the overhead of workers. First the driver alone, with simulated workers: points per second for 10 to 10,000
points, and with 1,000 workers that send heartbeats. Then two Ray workers against two independent processes, each on one
core, over the same points of a model. `--driver` runs only the first part.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from safescape.measure.dispatch import Closed, Dispatch, Done, Event, Heartbeat, Ready, cost_of
from safescape.measure.session import Measurement
from safescape.store import Store
from safescape.survey import (
    Answer,
    Finish,
    Lines,
    Outcome,
    Plane,
    Point,
    Position,
    PromptProbe,
    RandomAxis,
    Response,
    Survey,
    Verdict,
)


class NullPool:
    """Simulated workers that measure nothing and send heartbeats.

    Args:
        answers: Answers per point.
        takes: Seconds per point.
        beat: Seconds between two heartbeats of a worker.

    """

    def __init__(self, answers: Sequence[Answer], takes: float = 0.0, beat: float = 10.0) -> None:
        self._answers, self._takes, self._beat = answers, takes, beat
        self._events: deque[Event] = deque()
        self._assigned: deque[tuple[float, Done]] = deque()
        self._heartbeats: deque[tuple[float, int]] = deque()
        self._started = self.beats = 0

    def start(self) -> int:
        """Start a worker."""
        self._started += 1
        self._events.append(Ready(self._started, "sha256:0"))
        self._heartbeats.append((time.monotonic() + self._beat, self._started))
        return self._started

    def assign(self, worker: int, point: Point) -> None:
        """Finish a point."""
        found = Measurement(point, Position(point.coords, 0.0), {"harmful": self._answers}, {}, 0.0)
        self._assigned.append((time.monotonic() + self._takes, Done(worker, [found])))

    def close(self, worker: int) -> None:
        """Stop a worker."""
        self._events.append(Closed(worker, "sha256:0"))

    def kill(self, worker: int) -> None:
        """Do nothing: there is no process to end."""

    def wait(self, seconds: float) -> list[Event]:
        """Return the events since the last call."""
        events = [*self._events]
        self._events.clear()
        now = time.monotonic()
        if not events and self._assigned and self._assigned[0][0] > now:
            time.sleep(min(seconds, 0.001))
        while self._assigned and self._assigned[0][0] <= now:
            events.append(self._assigned.popleft()[1])
        while self._heartbeats and self._heartbeats[0][0] <= now:
            _, worker = self._heartbeats.popleft()
            self._heartbeats.append((now + self._beat, worker))
            events.append(Heartbeat(worker))
            self.beats += 1
        return events


def survey_of(points: int) -> Survey:
    """Return a survey of about this number of points, for a model that is never loaded."""
    prompts = tuple(f"request {number}" for number in range(80))
    side = int(points**0.5 / 2) * 2
    axis = RandomAxis(seed=0, span=0.5, steps=max(2, side))
    subspace = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=points // 2 * 2),)) if points < 100 else None
    return Survey(
        model="null",
        model_fingerprint="sha256:0",
        subspace=subspace or Plane(axes=(axis, axis)),
        probes=(PromptProbe(name="harmful", source="benchmark", prompts=prompts),),
    )


def driver() -> None:
    """Print the points per second that the driver assigns, and those that it assigns and stores."""
    answers = [
        Answer(Response("I can't help with that." * 4, Finish.SETTLED, 24), {"keyword": Verdict(Outcome.REFUSED)})
    ]
    answers *= 80
    print("points  workers  assigned per second  ms per point  assigned and stored per second")
    for points in (10, 100, 1_000, 10_000):
        survey = survey_of(points)
        todo = list(survey.points())
        handed, stored = dispatched(survey, todo, 8, NullPool(answers)), storing(survey, todo, 8, NullPool(answers))
        print(f"{len(todo):6,d}  {8:7,d}  {len(todo) / handed:19,.0f}  {1000 * handed / len(todo):12.3f}  "
              f"{len(todo) / stored:30,.0f}", flush=True)  # fmt: skip
    # 1,000 workers of 2 s per point request 500 points per second, with heartbeats ten times as frequent as real
    # ones: this shows whether the driver keeps up, and its share of a core
    survey = survey_of(10_000)
    todo, pool, busy = list(survey.points()), NullPool(answers, takes=2.0, beat=1.0), time.process_time()
    took = storing(survey, todo, 1_000, pool)
    share = (time.process_time() - busy) / took
    print(f"1,000 workers of 2 s per point: {len(todo) / took:,.0f} points per second assigned and stored, "
          f"{pool.beats / took:,.0f} heartbeats per second, {share:.0%} of a core")  # fmt: skip


def storing(survey: Survey, todo: Sequence[Point], workers: int, pool: NullPool) -> float:
    """Assign every point and store it; return the seconds."""
    with tempfile.TemporaryDirectory() as directory, Store.claim(Path(directory), survey) as store:
        store.verdicts.register("keyword", {})
        return dispatched(survey, todo, workers, pool, store)


def dispatched(
    survey: Survey, todo: Sequence[Point], workers: int, pool: NullPool, store: Store | None = None
) -> float:
    """Assign every point, and store it if a store is given; return the seconds."""
    start = time.monotonic()
    dispatch = Dispatch(pool, workers, todo, cost_of(survey))
    origin = dispatch.begin()
    session = store.begin_session(origin=origin, noise_device="cpu", versions={}) if store else 0
    for found in dispatch.measured():
        assert isinstance(found, Measurement)
        if store:
            store.points.add(found.point, position=found.position, seconds=0.0, session=session, answers=found.answers)
    dispatch.close()
    return time.monotonic() - start


def against_processes(model: str, points: int) -> None:
    """Print the speed of two workers against two independent processes, each with half of the lines."""
    # keyword only: one worker scores doubtful answers at the end, but each of the processes would
    settings = {"model": model, "limit": 20, "max_new_tokens": 32, "steps": points // 2, "judges": ["keyword"]}
    # the time to start is not compared: a run with the fewest points is subtracted
    least = {**settings, "steps": 2}
    ray = measured_by_workers(settings) - measured_by_workers(least)
    alone = measured_by_processes(settings) - measured_by_processes(least)
    print(f"two workers {ray:.1f} s, two processes {alone:.1f} s: {alone / ray:.2f} of their speed")


def measured_by_workers(settings: dict[str, object], workers: int = 2) -> float:
    """Return the seconds of a number of workers for two lines."""
    return seconds(lambda: spawned([(settings, [0, 1], workers)]))


def measured_by_processes(settings: dict[str, object]) -> float:
    """Return the seconds of two single-threaded processes for one line each."""
    return seconds(lambda: spawned([(settings, [0], None), (settings, [1], None)]))


def spawned(runs: Sequence[tuple[dict[str, object], list[int], int | None]]) -> None:
    """Run several scans in parallel, each in a separate process."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=scan, args=run) for run in runs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def scan(settings: dict[str, object], seeds: list[int], workers: int | None) -> None:
    """Scan one line per seed."""
    import safescape

    with tempfile.TemporaryDirectory() as out:
        safescape.scan(out=out, seed=seeds[0], directions=len(seeds), workers=workers, **settings)  # type: ignore[arg-type]


def seconds(work: Callable[[], None]) -> float:
    """Return the seconds that a call takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def main() -> None:
    """Time the driver, then the workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", action="store_true")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--points", type=int, default=24)
    given = parser.parse_args()
    driver()
    if not given.driver:
        against_processes(given.model, given.points)


if __name__ == "__main__":
    main()
