"""One hash for a set of named tensors, the same whatever their order, shards or device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.weights.checkpoint import Weights

__all__ = ["fingerprint", "inspect"]


def fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return `sha256:...` over names, dtypes, shapes and bytes."""
    lines = sorted(f"{name} {tensor.dtype} {tuple(tensor.shape)} {_digest(tensor)}" for name, tensor in tensors)
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


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

    return fingerprint((name, checked(name)) for name in weights.names())


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(flat.cpu().numpy().data).hexdigest()
