"""Workers as actors of a Ray: one engine each, in a process of its own, on this machine or on many.

A thin layer: which worker gets which point is decided in `dispatch`, and only the driver, which is this process, writes
the store. So a Ray that loses its driver loses the points in flight, and the run directory resumes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TextIO, TypeVar, cast

import psutil
import ray
import torch
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from safescape.engines import Likelihood
from safescape.errors import InputError, RunError, SafescapeError
from safescape.measure.dispatch import Alive, Dispatch, Done, Event, Failed, Left, Lost, Ready, cost_of
from safescape.measure.grouping import groups_of
from safescape.measure.station import Measured, Script, Station, find_model
from safescape.measure.workers import Placement, Workers, check_gpus
from safescape.survey import Point, Response, Survey
from safescape.weighing import Origin
from safescape.weights import Model

__all__ = ["check_address", "cluster"]

_ANSWERS_WITHIN = 10.0
"""Seconds in which a Ray must answer."""
_BEAT = 10.0
"""Seconds between two heartbeats of a worker."""
_JOIN = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')"
_OBJECT_STORE = 100 * 2**20
"""Bytes of shared memory for a Ray on this machine: what passes through are answers, no models."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def check_address(address: str) -> None:
    """Find out that a Ray answers, and lets this machine join.

    Raises:
        InputError: it does not within 10 seconds.

    """
    host, _, port = address.rpartition(":")
    if address != "auto" and (not host or not port.isdigit() or "/" in address):
        raise InputError(f"--ray {address}: expected auto, or HOST:PORT as `ray start --head` prints it")
    # asked by another process, because Ray itself waits longer than anyone wants to, and cannot be interrupted
    command = [sys.executable, "-c", _JOIN, address]
    try:
        joining = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWERS_WITHIN)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"--ray {address}: no Ray answers there within {_ANSWERS_WITHIN:g} s; start one with `ray start --head`, "
            "set RAY_AUTH_MODE=token if it asks for a token, or give --workers N, which needs none"
        ) from error
    if joining.returncode:
        reason = (joining.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"--ray {address}: cannot be joined from this machine ({reason})")


@contextlib.contextmanager
def cluster(survey: Survey, model: Model, placement: Placement, points: Sequence[Point]) -> Iterator[Workers]:
    """The workers of a Ray, which is started here unless an address is given; see `working`."""
    with _attached(placement):
        hired = _room(survey, placement)
        # a group is handed out under the name of its first point
        groups = {group[0]: group for group in groups_of(survey, points)}
        crew = _Crew(survey, hired, groups)
        dispatch = Dispatch(crew, hired.workers, list(groups), cost_of(survey), goes_on=survey.adaptive is not None)
        try:
            yield _Cluster(survey, model, crew, dispatch, hired, groups, points)
        finally:
            crew.end()


@contextlib.contextmanager
def _attached(placement: Placement) -> Iterator[None]:
    if ray.is_initialized():
        # whoever started it here will end it
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if placement.ray is None:
        # a worker need not have a core of its own: so many are what was asked for
        cores = max(_cores(), placement.workers or 1)
        ray.init("local", num_cpus=cores, include_dashboard=False, object_store_memory=_OBJECT_STORE, **quiet)
    else:
        try:
            ray.init(placement.ray, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(f"--ray {placement.ray}: cannot be joined from this machine ({_line(error)})") from error
    try:
        with contextlib.redirect_stdout(cast(TextIO, _WithoutRay(sys.stdout))):
            yield
    finally:
        ray.shutdown()


class _WithoutRay:
    """Standard output without what Ray prints there when a worker dies; results are printed there, and may be JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        # no setting keeps this thread of Ray's quiet
        return len(text) if threading.current_thread().name == "ray_listen_error_messages" else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _cores() -> int:
    return len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1


_Groups = Mapping[Point, Sequence[Point]]
"""By the first of them, points that are answered together."""


class _Hired(NamedTuple):
    """How many workers there are to be, and what each is given."""

    workers: int
    cpus: int
    """Cores, and so threads."""
    gpus: float


def _room(survey: Survey, placement: Placement) -> _Hired:
    """How many workers there is room for.

    Raises:
        InputError: fewer than asked for.

    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    graphics = [int(machine.get("GPU", 0)) for machine in machines]
    gpus = placement.gpus_on(survey.device)
    check_gpus(placement, survey.device, "the Ray", graphics)
    # one engine a GPU, or a machine: an engine uses all cores that it is given
    most = sum(int(count / gpus + 1e-9) for count in graphics) if gpus else sum(count > 0 for count in cores)
    workers = most if placement.workers is None else placement.workers
    if sum(cores) < workers:
        raise InputError(f"--workers {workers}: the Ray has {sum(cores)} cores; give --workers {sum(cores)}")
    cpus = next(share for share in range(max(cores), 0, -1) if sum(count // share for count in cores) >= workers)
    return _Hired(workers, cpus, gpus)


def _told(method: Callable[Concatenate[Any, _P], _T]) -> Callable[Concatenate[Any, _P], _T | SafescapeError]:
    """Let a method return what it says to the user, so that it arrives as it was said, without Ray's traceback."""

    def telling(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T | SafescapeError:
        try:
            return method(self, *args, **kwargs)
        except SafescapeError as error:
            return error

    return telling


class _Worker:
    """An engine in a process of its own."""

    @_told
    def start(self, survey: str, directory: str, threads: int) -> str:
        """Load the engine of a survey, which comes as JSON, and return its origin's fingerprint."""
        # a path of the user's begins where the user is; a machine that has no such place knows the Hub's models alone
        if Path(directory).is_dir():
            os.chdir(directory)
        torch.set_num_threads(threads)
        self._survey = Survey.model_validate_json(survey)
        self._station = Station(self._survey, find_model(self._survey))
        return self._station.fingerprint_at_start

    @_told
    def measure(self, points: Sequence[Point]) -> Sequence[Measured]:
        return self._station.measure_together(points)

    @_told
    def to_origin(self) -> None:
        self._voice = self._station.at_origin().voice

    @_told
    def respond(self, chats: Sequence[str], max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        return self._voice.respond(chats, max_new_tokens=max_new_tokens, stop=stop)

    @_told
    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        return self._voice.loglikelihood(requests)

    @_told
    def close(self) -> str:
        return self._station.close()

    def beat(self) -> None:
        """Take the time between two heartbeats; in a thread beside the one that measures."""
        time.sleep(_BEAT)


class _Crew:
    """Actors; see `dispatch.Crew`."""

    def __init__(self, survey: Survey, hired: _Hired, groups: _Groups) -> None:
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
                f"a worker was lost while the origin read the answers ({_reason(error)}); the same command resumes"
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
            return Lost(worker, _reason(error))
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
        hired: _Hired,
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


def _reason(error: RayError) -> str:
    """Why a worker was lost, in one line."""
    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {_line(error.cause)}"
    if isinstance(error, OutOfMemoryError):
        return "the worker ran out of memory and was ended"
    if isinstance(error, RayActorError):
        return "the worker's process died, as it does when memory runs out"
    return _line(error)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
