"""Directions in weight space: a tensor for every parameter, computed from a recipe, never stored on disk.

A direction's tensor depends on its recipe, the tensor's name, its origin and the kind of device whose generator
makes the noise; not on order, sharding, threads, or how many workers compute it.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["CachedDirection", "Direction", "RandomDirection", "dot", "is_norm"]


class Direction(Protocol):
    """A tensor for every parameter."""

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the direction of one tensor: fp32, shaped like `origin` and on its device."""
        ...


class RandomDirection(NamedTuple):
    """A Gaussian direction, each tensor scaled to its origin's Frobenius norm (arXiv 2405.17374, section 3)."""

    seed: int

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the direction of one tensor. Norm weights do not move, and neither does a tensor of zeros."""
        if is_norm(name):
            return torch.zeros_like(origin, dtype=torch.float32)
        noise = torch.randn(origin.shape, generator=_generator(self.seed, name, origin.device), device=origin.device)
        length = dot(noise, noise) ** 0.5
        wide = origin.float()
        return noise.mul_(dot(wide, wide) ** 0.5 / length)


class CachedDirection:
    """Another direction, its tensors kept in memory once they were computed; bit-equal to computing them again."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._tensors: dict[str, Tensor] = {}

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the kept tensor; the caller must not write into it."""
        kept = self._tensors.get(name)
        if kept is None:
            kept = self._tensors[name] = self._direction.tensor(name, origin)
        return kept


def is_norm(name: str) -> bool:
    """Whether a tensor belongs to a normalisation layer (`...norm...`, or GPT-2's `ln_1`, `ln_f`)."""
    return "norm" in name.lower() or any(re.fullmatch(r"ln(_\w+)?", part) for part in name.split("."))


_ROW = 4096
_BLOCK = 256 * _ROW


def dot(a: Tensor, b: Tensor) -> float:
    """Return ⟨a, b⟩, to the same bit on any number of threads.

    A reduction to one number is split by threads, which changes its rounding. Here every row of fixed length is
    summed by one thread in fp32, and the few row sums are added in order in fp64.
    """
    total = 0.0
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    for start in range(0, flat_a.numel(), _BLOCK):
        product = flat_a[start : start + _BLOCK].float() * flat_b[start : start + _BLOCK].float()
        whole = product.numel() // _ROW * _ROW
        total += math.fsum(product[:whole].view(-1, _ROW).sum(dim=1).tolist())
        total += math.fsum(product[whole:].tolist())
    return total


def _generator(seed: int, name: str, device: torch.device) -> torch.Generator:
    """Every tensor has noise of its own: one seed for all would make the noise of equal shapes identical."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
