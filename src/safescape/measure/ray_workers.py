"""Workers as actors of a Ray cluster: one engine each, in processes on this machine or on several.

Which worker gets which point is decided in `dispatch`. Only this process writes the store: if it is killed, the actors
end with it, the points in flight are lost, and the run directory can be resumed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from safescape.engines import Likelihood, TellsNoise
from safescape.errors import RunError, SafescapeError
from safescape.measure.chats import RenderedPrompts
from safescape.measure.dispatch import Closed, Dispatch, Done, Event, Failed, Heartbeat, Lost, Ready, Started, cost_of
from safescape.measure.evidence import Origin
from safescape.measure.session import Measurement, MeasuringSession, find_model, groups_of
from safescape.placement import Placement
from safescape.placement.ray_cluster import Reservation, connected, errors_as_values, prepare_worker, reason_of, reserve
from safescape.survey import Answer, Point, Response, Survey, Thinking
from safescape.weights import Model

_HEARTBEAT = 10.0
"""Seconds between two heartbeats of a worker."""

_Groups = Mapping[Point, Sequence[Point]]
"""Points that are measured together, by the first of them."""


@contextlib.contextmanager
def ray_workers(
    survey: Survey,
    model: Model,
    run: Path,
    placement: Placement,
    points: Sequence[Point],
    on_wait: Callable[[str], None],
) -> Iterator[RayWorkers]:
    """Start workers on a Ray cluster; see `workers.open_workers`."""
    with connected(placement):
        reserved = reserve(placement, survey.device, tensor_parallel=survey.tensor_parallel, on_wait=on_wait)
        groups = {group[0]: group for group in groups_of(survey, points)}
        pool = _ActorPool(survey, run, reserved, groups)
        cost, keep_idle = cost_of(survey), survey.adaptive is not None
        dispatch = Dispatch(pool, reserved.workers, list(groups), cost, keep_idle=keep_idle)
        try:
            yield RayWorkers(survey, model, pool, dispatch, reserved, groups, points)
        finally:
            pool.end()


class RayWorkers:
    """Several engines, on actors; see `workers.Workers`."""

    def __init__(
        self,
        survey: Survey,
        model: Model,
        pool: _ActorPool,
        dispatch: Dispatch,
        reserved: Reservation,
        groups: _Groups,
        points: Sequence[Point],
    ) -> None:
        self._pool, self._dispatch = pool, dispatch
        self._groups, self._points = groups, set(points)
        self._survey, self._model = survey, model
        self.fingerprint_at_start = dispatch.begin()
        self.environment: Mapping[str, str] = {
            "ray": ray.__version__,
            "workers": str(reserved.workers),
            "threads": str(reserved.cpus),
        }

    def stop_at(self, safe_below: float | None) -> None:
        """Set the ASR at which points are stopped early; it is sent with every point."""
        self._pool.safe_below = safe_below

    def measured(self) -> Iterator[Measurement | Failed]:
        """Yield every point as it is measured or has failed, not those that a group measures again."""
        for found in self._dispatch.measured():
            if isinstance(found, Failed):
                group = self._groups.get(found.point, (found.point,))
                yield from (Failed(point, found.reason) for point in group if point in self._points)
            elif found.point in self._points:
                yield found

    def add(self, points: Sequence[Point]) -> None:
        """Add the points of an adaptive survey's next round, which has no groups."""
        self._points.update(points)
        self._dispatch.add(points)

    def at_origin(self) -> Origin:
        """Move one worker to the origin."""
        worker = self._dispatch.idle_worker()
        self._pool.call(worker, "to_origin")
        scored = RenderedPrompts.of(self._survey, self._model).without_thoughts(self._survey)
        return Origin(_RemoteVoice(self._pool, worker), scored.chats, scored.calibration)

    def ask_whole(self, point: Point, name: str, numbers: Sequence[int]) -> list[Answer]:
        """Ask prompts of a probe again, at one worker."""
        answers: list[Answer] = self._pool.call(self._dispatch.idle_worker(), "ask_whole", point, name, numbers)
        return answers

    def close(self) -> str:
        """Close all workers and return the origin's fingerprint."""
        return self._dispatch.close()


class _Worker:
    """An engine in a process of its own."""

    def running(self) -> None:
        """Return when the process runs."""

    @errors_as_values
    def open(self, survey: str, run: str, directory: str, threads: int) -> str:
        """Load the engine of a survey, given as JSON, and return its origin's fingerprint.

        `run` is the run directory and `directory` the user's working directory, both on the user's machine.
        """
        prepare_worker(directory, threads)
        self._survey = Survey.model_validate_json(survey)
        self._session = MeasuringSession(self._survey, find_model(self._survey), Path(run))
        return self._session.fingerprint_at_start

    @errors_as_values
    def measure(self, points: Sequence[Point], safe_below: float | None) -> Sequence[Measurement]:
        self._session.safe_below = safe_below
        return self._session.measure_together(points)

    @errors_as_values
    def ask_whole(self, point: Point, name: str, numbers: Sequence[int]) -> list[Answer]:
        return self._session.ask_whole(point, name, numbers)

    @errors_as_values
    def to_origin(self) -> None:
        self._voice = self._session.at_origin().voice

    @errors_as_values
    def respond(self, chats: Sequence[str], asked: Mapping[str, Any]) -> list[Response]:
        return self._voice.respond(chats, **asked)

    @errors_as_values
    def loglikelihood(self, requests: Sequence[tuple[str, str]], raw: bool) -> list[Likelihood]:
        return self._voice.loglikelihood(requests, raw=raw)

    @errors_as_values
    def close(self) -> str:
        return self._session.close()

    def heartbeat(self) -> None:
        """Return after the time between two heartbeats; it runs in a second thread."""
        time.sleep(_HEARTBEAT)


class _ActorPool:
    """The actors; see `dispatch.Pool`."""

    def __init__(self, survey: Survey, run: Path, reserved: Reservation, groups: _Groups) -> None:
        self._opened_with = survey.model_dump_json(), str(run.absolute()), str(Path.cwd()), reserved.cpus
        self._groups = groups
        self.safe_below: float | None = None
        # two threads: one measures, the other sends heartbeats
        self._class: Any = ray.remote(_Worker).options(
            num_cpus=reserved.cpus, num_gpus=reserved.gpus, max_concurrency=2, max_restarts=0
        )
        self._actors: dict[int, Any] = {}
        self._number = 0
        self._awaited: dict[Any, tuple[int, Callable[..., Event]]] = {}

    def start(self) -> int:
        self._number += 1
        actor = self._actors[self._number] = self._class.remote()
        self._await(self._number, Started, actor.running.remote())
        self._await(self._number, Ready, actor.open.remote(*self._opened_with))
        return self._number

    def assign(self, worker: int, point: Point) -> None:
        group = self._groups.get(point, (point,))
        self._await(worker, Done, self._actors[worker].measure.remote(group, self.safe_below))

    def close(self, worker: int) -> None:
        self._await(worker, Closed, self._actors[worker].close.remote())

    def kill(self, worker: int) -> None:
        ray.kill(self._actors.pop(worker))
        for ref in [ref for ref, (owner, _) in self._awaited.items() if owner == worker]:
            del self._awaited[ref]

    def wait(self, seconds: float) -> list[Event]:
        ready, _ = ray.wait(list(self._awaited), timeout=seconds)
        if not ready:
            return []
        ready, _ = ray.wait(list(self._awaited), num_returns=len(self._awaited), timeout=0)
        # a result counts even if the worker died after it, which its heartbeat reports
        ready.sort(key=lambda ref: self._awaited[ref][1] in (Started, Heartbeat))
        # handling one event may drop others of the same worker
        return [self._event(ref) for ref in ready if ref in self._awaited]

    def call(self, worker: int, method: str, *args: object) -> Any:
        """Call a method of a worker and wait for its result.

        Raises:
            RunError: the worker was lost.

        """
        try:
            answer = ray.get(getattr(self._actors[worker], method).remote(*args))
        except RayError as error:
            raise RunError(
                f"a worker was lost after the last point, while answers were scored or asked again "
                f"({reason_of(error)}); the same command resumes"
            ) from error
        if isinstance(answer, SafescapeError):
            raise answer
        return answer

    def end(self) -> None:
        """Kill all actors."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors, self._awaited = {}, {}

    def _await(self, worker: int, kind: Callable[..., Event], ref: Any) -> None:
        self._awaited[ref] = worker, kind

    def _event(self, ref: Any) -> Event:
        """Return the event of a result; raise a `SafescapeError` that a worker returned."""
        worker, kind = self._awaited.pop(ref)
        try:
            answer = ray.get(ref)
        except RayError as error:
            return Lost(worker, reason_of(error))
        if isinstance(answer, SafescapeError):
            raise answer
        if kind is Closed:
            self.kill(worker)
        elif kind in (Ready, Heartbeat):
            self._await(worker, Heartbeat, self._actors[worker].heartbeat.remote())
        return kind(worker) if kind in (Started, Heartbeat) else kind(worker, answer)


class _RemoteVoice:
    """The engine of a worker; see `engines.Voice`."""

    def __init__(self, pool: _ActorPool, worker: int) -> None:
        self._pool, self._worker = pool, worker

    def respond(
        self,
        chats: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str],
        noise: TellsNoise | None = None,
        raw: bool = False,
        thinking: Thinking | None = None,
    ) -> list[Response]:
        asked = {"max_new_tokens": max_new_tokens, "stop": stop, "noise": noise, "raw": raw, "thinking": thinking}
        answer: list[Response] = self._pool.call(self._worker, "respond", chats, asked)
        return answer

    def loglikelihood(self, requests: Sequence[tuple[str, str]], *, raw: bool = True) -> list[Likelihood]:
        answer: list[Likelihood] = self._pool.call(self._worker, "loglikelihood", requests, raw)
        return answer
