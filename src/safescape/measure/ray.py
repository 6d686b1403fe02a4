"""Workers as actors of a Ray: one engine each, in a process of its own, on this machine or on many.

A thin layer: which worker gets which point is decided in `dispatch`, and only the driver, which is this process, writes
the store. So a Ray that loses its driver loses the points in flight, and the run directory resumes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from safescape.engines import Likelihood
from safescape.errors import RunError, SafescapeError
from safescape.measure.dispatch import Alive, Dispatch, Done, Event, Failed, Left, Lost, Ready, cost_of
from safescape.measure.evidence import Origin
from safescape.measure.local import Workers
from safescape.measure.session import Measured, Script, Station, find_model, groups_of
from safescape.placement import Placement
from safescape.placement.ray import Hired, attached, reason_of, room_on, told
from safescape.survey import Point, Response, Survey
from safescape.weights import Model

__all__ = ["cluster"]

_BEAT = 10.0
"""Seconds between two heartbeats of a worker."""


@contextlib.contextmanager
def cluster(survey: Survey, model: Model, placement: Placement, points: Sequence[Point]) -> Iterator[Workers]:
    """The workers of a Ray, which is started here unless an address is given; see `working`."""
    with attached(placement):
        hired = room_on(placement, survey.device)
        # a group is handed out under the name of its first point
        groups = {group[0]: group for group in groups_of(survey, points)}
        crew = _Crew(survey, hired, groups)
        dispatch = Dispatch(crew, hired.workers, list(groups), cost_of(survey), goes_on=survey.adaptive is not None)
        try:
            yield _Cluster(survey, model, crew, dispatch, hired, groups, points)
        finally:
            crew.end()


_Groups = Mapping[Point, Sequence[Point]]
"""By the first of them, points that are answered together."""


class _Worker:
    """An engine in a process of its own."""

    @told
    def start(self, survey: str, directory: str, threads: int) -> str:
        """Load the engine of a survey, which comes as JSON, and return its origin's fingerprint."""
        # a path of the user's begins where the user is; a machine that has no such place knows the Hub's models alone
        if Path(directory).is_dir():
            os.chdir(directory)
        torch.set_num_threads(threads)
        self._survey = Survey.model_validate_json(survey)
        self._station = Station(self._survey, find_model(self._survey))
        return self._station.fingerprint_at_start

    @told
    def measure(self, points: Sequence[Point]) -> Sequence[Measured]:
        return self._station.measure_together(points)

    @told
    def to_origin(self) -> None:
        self._voice = self._station.at_origin().voice

    @told
    def respond(self, chats: Sequence[str], max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        return self._voice.respond(chats, max_new_tokens=max_new_tokens, stop=stop)

    @told
    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        return self._voice.loglikelihood(requests)

    @told
    def close(self) -> str:
        return self._station.close()

    def beat(self) -> None:
        """Take the time between two heartbeats; in a thread beside the one that measures."""
        time.sleep(_BEAT)


class _Crew:
    """Actors; see `dispatch.Crew`."""

    def __init__(self, survey: Survey, hired: Hired, groups: _Groups) -> None:
        self._survey, self._hired, self._directory = survey.model_dump_json(), hired, str(Path.cwd())
        self._groups = groups
        # two threads: one measures, one beats
        self._class: Any = ray.remote(_Worker).options(
            num_cpus=hired.cpus, num_gpus=hired.gpus, max_concurrency=2, max_restarts=0
        )
        self._actors: dict[int, Any] = {}
        self._number = 0
        self._awaited: dict[Any, tuple[int, Callable[[int, Any], Event]]] = {}

    def hire(self) -> int:
        self._number += 1
        actor = self._actors[self._number] = self._class.remote()
        self._await(self._number, Ready, actor.start.remote(self._survey, self._directory, self._hired.cpus))
        return self._number

    def send(self, worker: int, point: Point) -> None:
        self._await(worker, Done, self._actors[worker].measure.remote(self._groups.get(point, (point,))))

    def dismiss(self, worker: int) -> None:
        self._await(worker, Left, self._actors[worker].close.remote())

    def drop(self, worker: int) -> None:
        ray.kill(self._actors.pop(worker))
        for ref in [ref for ref, (owner, _) in self._awaited.items() if owner == worker]:
            del self._awaited[ref]

    def wait(self, seconds: float) -> list[Event]:
        ready, _ = ray.wait(list(self._awaited), timeout=seconds)
        if not ready:
            return []
        ready, _ = ray.wait(list(self._awaited), num_returns=len(self._awaited), timeout=0)
        # what a worker has done counts although it may be dead by now, as its heartbeat says
        ready.sort(key=lambda ref: self._awaited[ref][1] is _alive)
        # the heartbeat of one that has left in the meantime is no longer awaited
        return [self._heard(ref) for ref in ready if ref in self._awaited]

    def ask(self, worker: int, method: str, *args: object) -> Any:
        """Call a worker and wait for what it says.

        Raises:
            RunError: it died.

        """
        try:
            answer = ray.get(getattr(self._actors[worker], method).remote(*args))
        except RayError as error:
            raise RunError(
                f"a worker was lost while the origin read the answers ({reason_of(error)}); the same command resumes"
            ) from error
        if isinstance(answer, SafescapeError):
            raise answer
        return answer

    def end(self) -> None:
        """End all workers."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors, self._awaited = {}, {}

    def _await(self, worker: int, kind: Callable[[int, Any], Event], ref: Any) -> None:
        self._awaited[ref] = worker, kind

    def _heard(self, ref: Any) -> Event:
        """What a worker says; raises what it says to the user."""
        worker, kind = self._awaited.pop(ref)
        try:
            answer = ray.get(ref)
        except RayError as error:
            return Lost(worker, reason_of(error))
        if isinstance(answer, SafescapeError):
            raise answer
        if kind is Left:
            self.drop(worker)
        elif kind in (Ready, _alive):
            self._await(worker, _alive, self._actors[worker].beat.remote())
        return kind(worker, answer)


def _alive(worker: int, _: object) -> Event:
    return Alive(worker)


class _Cluster:
    """See `Workers`."""

    def __init__(
        self,
        survey: Survey,
        model: Model,
        crew: _Crew,
        dispatch: Dispatch,
        hired: Hired,
        groups: _Groups,
        points: Sequence[Point],
    ) -> None:
        self._crew, self._dispatch = crew, dispatch
        self._groups, self._points = groups, set(points)
        self._survey, self._model = survey, model
        self.fingerprint_at_start = dispatch.begin()
        self.made_of: Mapping[str, str] = {
            "ray": ray.__version__,
            "workers": str(hired.workers),
            "threads": str(hired.cpus),
        }

    def measured(self) -> Iterator[Measured | Failed]:
        for found in self._dispatch.measured():
            if isinstance(found, Failed):
                group = self._groups.get(found.point, (found.point,))
                yield from (Failed(point, found.reason) for point in group if point in self._points)
            elif found.point in self._points:
                yield found

    def add(self, points: Sequence[Point]) -> None:
        # points that come later are those of a plan, which has no groups
        self._points.update(points)
        self._dispatch.add(points)

    def at_origin(self) -> Origin:
        worker = self._dispatch.anyone()
        self._crew.ask(worker, "to_origin")
        return Origin(_Voice(self._crew, worker), *Script.of(self._survey, self._model))

    def close(self) -> str:
        return self._dispatch.close()


class _Voice:
    """A worker's engine, from afar; see `engines.Voice`."""

    def __init__(self, crew: _Crew, worker: int) -> None:
        self._crew, self._worker = crew, worker

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        answer: list[Response] = self._crew.ask(self._worker, "respond", chats, max_new_tokens, stop)
        return answer

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        answer: list[Likelihood] = self._crew.ask(self._worker, "loglikelihood", requests)
        return answer
