"""A Ray: found or started, and what its actors are given and say."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, NamedTuple, ParamSpec, TextIO, TypeVar, cast

import psutil
import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from safescape.errors import InputError, SafescapeError
from safescape.placement.placement import Placement, check_gpus, is_out_of_memory

__all__ = ["Hired", "attached", "check_address", "reason_of", "room_on", "told"]

_ANSWERS_WITHIN = 10.0
"""Seconds in which a Ray must answer."""
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
def attached(placement: Placement) -> Iterator[None]:
    """A Ray to make actors on: the one that is named, or one on this machine for as long as the context lasts.

    Raises:
        InputError: the one that is named cannot be joined.

    """
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


class Hired(NamedTuple):
    """How many workers there are to be, and what each is given."""

    workers: int
    cpus: int
    """Cores, and so threads."""
    gpus: float


def room_on(placement: Placement, device: str) -> Hired:
    """How many workers there is room for.

    Raises:
        InputError: fewer than asked for.

    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    graphics = [int(machine.get("GPU", 0)) for machine in machines]
    gpus = placement.gpus_on(device)
    check_gpus(placement, device, "the Ray", graphics)
    # one engine a GPU, or a machine: an engine uses all cores that it is given
    most = sum(int(count / gpus + 1e-9) for count in graphics) if gpus else sum(count > 0 for count in cores)
    workers = most if placement.workers is None else placement.workers
    if sum(cores) < workers:
        raise InputError(f"--workers {workers}: the Ray has {sum(cores)} cores; give --workers {sum(cores)}")
    cpus = next(share for share in range(max(cores), 0, -1) if sum(count // share for count in cores) >= workers)
    return Hired(workers, cpus, gpus)


def told(method: Callable[Concatenate[Any, _P], _T]) -> Callable[Concatenate[Any, _P], _T | SafescapeError]:
    """Let a method return what it says to the user, so that it arrives as it was said, without Ray's traceback."""

    def telling(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T | SafescapeError:
        try:
            return method(self, *args, **kwargs)
        except SafescapeError as error:
            return error

    return telling


def reason_of(error: RayError) -> str:
    """Why a worker was lost, in one line."""
    if isinstance(error, RayTaskError):
        if is_out_of_memory(error.cause):
            return "the worker ran out of memory"
        return f"{type(error.cause).__name__}: {_line(error.cause)}"
    if isinstance(error, OutOfMemoryError):
        return "the worker ran out of memory and was ended"
    if isinstance(error, RayActorError):
        return "the worker's process died, as it does when memory runs out"
    return _line(error)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
