"""Where work is done, as the flags say it: in this process, or on actors of a Ray."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch

from safescape.errors import InputError

__all__ = ["HERE", "Placement", "check_gpus", "check_placement"]


class Placement(NamedTuple):
    """Where a survey is measured; by default in this process."""

    workers: int | None = None
    """How many engines measure side by side; None: one in this process, or as many as fit on the Ray that is named."""
    ray: str | None = None
    """The Ray to use: `auto`, or HOST:PORT; None: one on this machine, for this run."""
    gpus_per_worker: float | None = None
    """None: 1 where the survey is measured on GPUs."""

    @property
    def is_here(self) -> bool:
        """Whether this process measures."""
        return self.workers is None and self.ray is None

    def gpus_on(self, device: str) -> float:
        """How many GPUs a worker is given."""
        return (1.0 if device == "cuda" else 0.0) if self.gpus_per_worker is None else self.gpus_per_worker


HERE = Placement()
"""In this process."""


def check_placement(placement: Placement, device: str) -> None:
    """Find out what can be known before anything is made: the flags, the extra, this machine's GPUs, the Ray's address.

    Raises:
        InputError: they do not go together, or something is not there.

    """
    workers, gpus = placement.workers, placement.gpus_per_worker
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: expected at least 1")
    if gpus is not None and not (0 < gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
        raise InputError(f"--gpus-per-worker {gpus:g}: expected a share such as 0.5, or a whole number")
    if placement.is_here:
        if gpus is not None:
            raise InputError(f"--gpus-per-worker {gpus:g}: is for workers; give --workers N or --ray ADDRESS too")
        return
    asked = f"--workers {workers}" if placement.ray is None else f"--ray {placement.ray}"
    if find_spec("ray") is None:
        raise InputError(f"{asked}: Ray is not installed; type pip install 'safescape[ray]'")
    if placement.ray is None:
        assert workers is not None
        check_gpus(placement, device, "this machine", [torch.cuda.device_count()])
    if device.startswith("cuda:"):
        raise InputError(f"--device {device}: workers are given their GPUs by Ray; give --device cuda")
    if gpus is not None and device == "cpu":
        raise InputError(f"--gpus-per-worker {gpus:g}: there are none on the CPU; give --device cuda, or leave it out")
    if placement.ray is not None:
        from safescape.placement.cluster import check_address

        check_address(placement.ray)


def check_gpus(placement: Placement, device: str, where: str, there: Sequence[int]) -> None:
    """Find out that there are GPUs for every worker.

    Args:
        placement: Who is to be given GPUs.
        device: That the survey is measured on.
        where: In words.
        there: How many GPUs each machine has.

    Raises:
        InputError: there are fewer.

    """
    gpus, workers = placement.gpus_on(device), placement.workers or 1
    if not gpus:
        return
    # half a GPU of one machine and half of another make no whole one
    room = sum(int(count / gpus + 1e-9) for count in there)
    if room < workers:
        more = f"give --workers {room}" if room else "give --device cpu"
        raise InputError(
            f"--workers {workers} with {gpus:g} GPUs each: {where} has {sum(there)} GPUs, room for {room}; {more}"
        )
