"""Where a survey is measured, as the flags say it, and the checks that are possible before anything is started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch

from safescape.errors import InputError

_OUT_OF_MEMORY = "DefaultCPUAllocator", "MPS backend out of memory"
_JOIN_TIMEOUT = 10.0
"""Seconds within which a Ray cluster must answer."""
_JOIN = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')"


class Placement(NamedTuple):
    """Where a survey is measured; by default in this process."""

    workers: int | None = None
    """Number of engines; None: one in this process, or as many as fit on the Ray cluster at `ray`."""
    ray: str | None = None
    """Address of an existing Ray cluster: `auto`, or HOST:PORT; None: one is started on this machine for the run."""
    gpus_per_worker: float | None = None
    """None: as many as share one model; on a CPU none."""

    @property
    def is_local(self) -> bool:
        """Whether this process measures, without Ray."""
        return self.workers is None and self.ray is None

    def gpus_on(self, device: str, tensor_parallel: int = 1) -> float:
        """Return how many GPUs each worker reserves, if its engine or guard model runs on `device`."""
        if self.gpus_per_worker is not None:
            return self.gpus_per_worker
        return float(tensor_parallel) if device.startswith("cuda") else 0.0


LOCAL = Placement()
"""In this process."""


def check_placement(placement: Placement, device: str, tensor_parallel: int = 1) -> None:
    """Check the flags, the extra, this machine's GPUs and the Ray cluster's address, before anything is started.

    Raises:
        InputError: the flags exclude each other, Ray is not installed, the cluster cannot be joined, or this machine
            has too few GPUs.

    """
    workers, gpus = placement.workers, placement.gpus_per_worker
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: expected at least 1")
    if gpus is not None and not (0 < gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
        raise InputError(f"--gpus-per-worker {gpus:g}: expected a share such as 0.5, or a whole number")
    if placement.is_local:
        if gpus is not None:
            raise InputError(f"--gpus-per-worker {gpus:g}: is for workers; give --workers N or --ray ADDRESS too")
        return
    asked = f"--workers {workers}" if placement.ray is None else f"--ray {placement.ray}"
    if find_spec("ray") is None:
        raise InputError(f"{asked}: Ray is not installed; type pip install 'safescape[ray]'")
    if placement.ray is None:
        check_gpus(placement, device, "this machine", [torch.cuda.device_count()], tensor_parallel)
    if torch.device(device).type not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: workers run on cpu or cuda; measure without {asked.split()[0]}")
    if device.startswith("cuda:"):
        raise InputError(f"--device {device}: workers are given their GPUs by Ray; give --device cuda")
    if gpus is not None and device == "cpu":
        raise InputError(f"--gpus-per-worker {gpus:g}: there are none on the CPU; give --device cuda, or leave it out")
    if gpus is not None and gpus < tensor_parallel > 1:
        raise InputError(
            f"--gpus-per-worker {gpus:g}: --tensor-parallel {tensor_parallel} takes {tensor_parallel} GPUs; give "
            f"--gpus-per-worker {tensor_parallel}, or leave it out"
        )
    if placement.ray is not None:
        _check_address(placement.ray)


def check_gpus(
    placement: Placement, device: str, where: str, machines: Sequence[int], tensor_parallel: int = 1
) -> None:
    """Check that the machines, given by their numbers of GPUs, have enough for every worker.

    Raises:
        InputError: they have too few; the message calls them `where`.

    """
    gpus, workers = placement.gpus_on(device, tensor_parallel), placement.workers or 1
    if not gpus:
        return
    # the GPUs of a worker must be on one machine
    room = sum(int(count / gpus + 1e-9) for count in machines)
    if room < workers:
        more = f"give --workers {room}" if room else "give --device cpu"
        raise InputError(
            f"--workers {workers} with {gpus:g} GPUs each: {where} has {sum(machines)} GPUs, room for {room}; {more}"
        )


def _check_address(address: str) -> None:
    """Check that a Ray cluster answers and that this machine can join it."""
    host, _, port = address.rpartition(":")
    if address != "auto" and (not host or not port.isdigit() or "/" in address):
        raise InputError(f"--ray {address}: expected auto, or HOST:PORT as `ray start --head` prints it")
    # in another process, because ray.init waits for minutes and cannot be interrupted
    command = [sys.executable, "-c", _JOIN, address]
    try:
        joining = subprocess.run(command, capture_output=True, text=True, timeout=_JOIN_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"--ray {address}: no Ray cluster answers there within {_JOIN_TIMEOUT:g} s; start one with "
            "`ray start --head`, set RAY_AUTH_MODE=token if it asks for a token, or give --workers N, which needs none"
        ) from error
    if joining.returncode:
        reason = (joining.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"--ray {address}: cannot be joined from this machine ({reason})")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of a GPU or of the machine."""
    # torch's allocators for CPUs and for Apple's GPUs raise a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )
