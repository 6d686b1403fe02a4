"""SHA-256 fingerprints of named tensors, independent of their order, shards and device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.weights.checkpoint import Weights


def fingerprint(names: Iterable[str], read: Callable[[str], Tensor]) -> str:
    """Return `sha256:...` over the names, dtypes, shapes and bytes of tensors.

    Args:
        names: The names of the tensors.
        read: Returns a tensor by its name. Called from one thread per core: hashing a large model in one thread
            takes longer than loading it.

    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return _combined(threads.map(lambda name: _line(name, read(name)), names))


def fingerprint_of_stream(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the same fingerprint from an iterable that may overwrite each tensor with the next one."""
    return _combined(_line(name, tensor) for name, tensor in tensors)


def inspect(weights: Weights) -> str:
    """Check every value of a checkpoint and return its fingerprint.

    Raises:
        InputError: A tensor contains NaN or infinity.

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
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    digest = hashlib.sha256(flat.cpu().numpy().data).hexdigest()
    return f"{name} {tensor.dtype} {tuple(tensor.shape)} {digest}"
