"""A Ray cluster: connecting to it, reserving resources for workers, and telling why a worker was lost."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TextIO, TypeVar, cast

import psutil
import ray
import torch
from ray._private.state import available_resources_per_node
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from safescape.errors import InputError, RunError, SafescapeError, first_line
from safescape.placement.placement import Placement, check_gpus, is_out_of_memory

_log = logging.getLogger(__name__)

_OBJECT_STORE = 100 * 2**20
"""Bytes of shared memory of a cluster that is started here: answers pass through it, no models."""
_FREE_TIMEOUT = 120.0
"""Seconds to wait for resources that others of the cluster use."""
_SILENT = 3.0
"""Seconds before the user is told of it: the resources of actors that have just ended are free a moment later."""
_START_TIMEOUT = 120.0
"""Seconds within which the processes of actors must run."""
_POLL = 0.5
"""Seconds between two looks at what is free."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextlib.contextmanager
def connected(placement: Placement) -> Iterator[None]:
    """Connect to the Ray cluster of a placement, or start one on this machine for as long as the context lasts.

    Raises:
        InputError: the cluster cannot be joined.

    """
    if ray.is_initialized():
        # a connection of the caller's own stays open
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if placement.ray is None:
        # more workers than cores are allowed
        cores = max(_cores(), placement.workers or 1)
        _log.debug("starting a Ray cluster of %d cores on this machine", cores)
        ray.init("local", num_cpus=cores, include_dashboard=False, object_store_memory=_OBJECT_STORE, **quiet)
    else:
        _log.debug("connecting to the Ray cluster at %s", placement.ray)
        try:
            ray.init(placement.ray, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"--ray {placement.ray}: cannot be joined from this machine ({first_line(error)})"
            ) from error
    try:
        with contextlib.redirect_stdout(cast(TextIO, _WithoutRay(sys.stdout))):
            yield
    finally:
        ray.shutdown()


class _WithoutRay:
    """Standard output without Ray's messages about lost workers: results are printed there, and may be JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        # no setting silences this thread of Ray
        return len(text) if threading.current_thread().name == "ray_listen_error_messages" else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _cores() -> int:
    return len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1


def usual_device() -> str:
    """Return `cuda` if the cluster has a GPU, else `cpu`."""
    return "cuda" if ray.cluster_resources().get("GPU") else "cpu"


class Reservation(NamedTuple):
    """How many workers are started, and the resources of each."""

    workers: int
    cpus: int
    """Cores of a worker, and so its threads."""
    gpus: float


def reserve(
    placement: Placement,
    device: str,
    *,
    tensor_parallel: int = 1,
    on_wait: Callable[[str], None] = _log.warning,
) -> Reservation:
    """Find resources for the workers of a placement that nobody uses; wait up to two minutes until there are.

    `on_wait` is told once, in words, what is missing.

    Raises:
        InputError: the whole cluster is too small.
        RunError: the cluster is still busy.

    """
    gpus, workers = placement.gpus_on(device, tensor_parallel), placement.workers
    whole = _machines({node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]})
    check_gpus(placement, device, "the Ray cluster", [machine.gpus for machine in whole], tensor_parallel)
    cores = sum(machine.cpus for machine in whole)
    if _fitting(whole, gpus, workers) is None:
        raise InputError(f"--workers {workers or 1}: the Ray cluster has {cores} cores; give --workers {cores}")
    start, told = time.monotonic(), False
    while (found := _fitting(free := _free(), gpus, workers)) is None:
        each = "a core" if not gpus else f"a core and {gpus:g} GPUs"
        lack = (
            f"the Ray cluster is busy: {sum(machine.cpus for machine in free)} of {cores} cores and "
            f"{sum(machine.gpus for machine in free)} of {sum(machine.gpus for machine in whole)} GPUs are free, "
            f"{workers or 1} workers need {each} each"
        )
        waited = time.monotonic() - start
        if waited > _FREE_TIMEOUT:
            raise RunError(f"{lack}; wait for it, or give fewer --workers: the same command resumes")
        if waited >= _SILENT and not told:
            on_wait(f"{lack}; waiting up to {_FREE_TIMEOUT:g} s")
            told = True
        time.sleep(_POLL)
    _log.debug("%d workers of %d cores and %g GPUs", *found)
    return found


def check_started(actors: Sequence[Any]) -> None:
    """Wait until the processes of actors run.

    Raises:
        RunError: some do not within two minutes, because others took their resources in the meantime.

    """
    ready = [actor.__ray_ready__.remote() for actor in actors]
    _, waiting = ray.wait(ready, num_returns=len(ready), timeout=_START_TIMEOUT)
    if waiting:
        raise RunError(
            f"the Ray cluster is busy: {len(waiting)} of {len(actors)} actors did not start within "
            f"{_START_TIMEOUT:g} s; wait for it, or give fewer --workers: the same command resumes"
        )


class _Machine(NamedTuple):
    cpus: int
    gpus: int


def _machines(resources: Mapping[str, Mapping[str, float]]) -> list[_Machine]:
    return [_Machine(int(each.get("CPU", 0)), int(each.get("GPU", 0))) for each in resources.values()]


def _free() -> list[_Machine]:
    """What nobody uses of each machine; `ray.available_resources` only has the sum of all machines."""
    return _machines(available_resources_per_node())


def _fitting(machines: Sequence[_Machine], gpus: float, workers: int | None) -> Reservation | None:
    """Fit workers on machines, with as many cores each as possible; None if there is too little.

    Without a number of workers there is one per `gpus` GPUs, or one per machine on CPUs.
    """

    def room(share: int) -> int:
        """How many workers with this many cores each there is room for."""
        return sum(
            min(machine.cpus // share, int(machine.gpus / gpus + 1e-9)) if gpus else machine.cpus // share
            for machine in machines
        )

    if workers is None:
        workers = room(1) if gpus else sum(machine.cpus > 0 for machine in machines)
    most = max((machine.cpus for machine in machines), default=0)
    cpus = next((share for share in range(most, 0, -1) if room(share) >= workers), 0)
    return Reservation(workers, cpus, gpus) if workers and cpus else None


def prepare_worker(directory: str, threads: int) -> None:
    """Make paths relative to the user's working directory, where the machine has it, and set the number of threads."""
    if Path(directory).is_dir():
        os.chdir(directory)
    torch.set_num_threads(threads)


def errors_as_values(
    method: Callable[Concatenate[Any, _P], _T],
) -> Callable[Concatenate[Any, _P], _T | SafescapeError]:
    """Let a method of an actor return a `SafescapeError` instead of raising it, so that Ray adds no traceback to it."""

    def returning(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T | SafescapeError:
        try:
            return method(self, *args, **kwargs)
        except SafescapeError as error:
            return error

    return returning


def reason_of(error: RayError) -> str:
    """Return why a worker was lost, in one line."""
    if isinstance(error, RayTaskError):
        if is_out_of_memory(error.cause):
            return "the worker ran out of memory"
        return f"{type(error.cause).__name__}: {first_line(error.cause)}"
    if isinstance(error, OutOfMemoryError):
        return "the worker ran out of memory and was ended"
    if isinstance(error, RayActorError):
        return "the worker's process died, as it does when memory runs out"
    return first_line(error)
