"""One hash for a set of named tensors, the same whatever their order, shards or device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.weights.checkpoint import Weights

__all__ = ["fingerprint", "fingerprint_in_turn", "inspect"]


def fingerprint(names: Iterable[str], read: Callable[[str], Tensor]) -> str:
    """Return `sha256:...` over names, dtypes, shapes and bytes.

    Args:
        names: Of the tensors.
        read: Returns one of them. Called by as many threads at a time as there are cores: to hash a large model with
            one takes longer than to load it.

    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return _combined(threads.map(lambda name: _line(name, read(name)), names))


def fingerprint_in_turn(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the same for tensors that come one after another, each of which may be gone when the next one comes."""
    return _combined(_line(name, tensor) for name, tensor in tensors)


def inspect(weights: Weights) -> str:
    """Return the fingerprint of a checkpoint, having looked at every value.

    Raises:
        InputError: a tensor holds NaN or infinity.

    """

    def checked(name: str) -> Tensor:
        tensor = weights.tensor(name)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(
                f"the tensor {name} holds NaN or infinity; the checkpoint is broken, train or download it again"
            )
        return tensor

    return fingerprint(weights.names(), checked)


def _combined(lines: Iterable[str]) -> str:
    return "sha256:" + hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _line(name: str, tensor: Tensor) -> str:
    return f"{name} {tensor.dtype} {tuple(tensor.shape)} {_digest(tensor)}"


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(flat.cpu().numpy().data).hexdigest()
