"""Where work is done, as the flags say it: in this process, or on actors of a Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from safescape.errors import InputError

__all__ = ["HERE", "Placement", "check_gpus", "is_out_of_memory"]


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


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of a GPU or of the machine."""
    # torch's allocator of the CPU raises no type of its own
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
