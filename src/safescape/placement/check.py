"""Check what the flags say of where work is done, before anything is made."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from safescape.errors import InputError
from safescape.placement.placement import Placement, check_gpus

__all__ = ["check_placement"]


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
        from safescape.placement.ray import check_address

        check_address(placement.ray)
