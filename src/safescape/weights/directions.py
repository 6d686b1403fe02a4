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

from safescape.weights.checkpoint import Weights

__all__ = [
    "Direction",
    "InterpolationDirection",
    "OrthogonalDirection",
    "Products",
    "RandomDirection",
    "dot",
    "is_norm",
    "products",
]


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


class InterpolationDirection:
    """From the origin to another checkpoint, neither scaled nor zeroed anywhere: 1 is the other checkpoint.

    An embedding with another number of rows there moves in the rows that both have.
    """

    def __init__(self, toward: Weights) -> None:
        self._toward = toward

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the difference of one tensor."""
        other = self._toward.tensor(name).to(origin.device)
        if other.shape == origin.shape:
            return other.float() - origin.float()
        rows = min(len(other), len(origin))
        step = torch.zeros_like(origin, dtype=torch.float32)
        step[:rows] = other[:rows].float() - origin[:rows].float()
        return step


class OrthogonalDirection:
    """A direction less its part along another one (Gram and Schmidt's second step).

    Args:
        direction: What is made orthogonal.
        against: To what.
        share: ⟨direction, against⟩ / ⟨against, against⟩, over all tensors.

    """

    def __init__(self, direction: Direction, against: Direction, share: float) -> None:
        self._direction, self._against, self._share = direction, against, share

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return what is left of one tensor."""
        along = self._against.tensor(name, origin)
        return torch.sub(self._direction.tensor(name, origin), along, alpha=self._share)


class Products(NamedTuple):
    """The inner products of two directions, over all tensors."""

    first: float
    """⟨a, a⟩"""
    second: float
    """⟨b, b⟩"""
    mixed: float
    """⟨a, b⟩"""

    @property
    def cosine(self) -> float:
        """Of the angle between them; 0 if one of them is zero."""
        length = (self.first * self.second) ** 0.5
        return self.mixed / length if length else 0.0


def products(a: Direction, b: Direction, weights: Weights, device: str = "cpu") -> Products:
    """Return the inner products of two directions in one streaming pass; three tensors are in memory at a time."""
    first = second = mixed = 0.0
    for name in weights.names():
        origin = weights.tensor(name).to(device)
        if not origin.is_floating_point():
            continue
        one, other = a.tensor(name, origin), b.tensor(name, origin)
        first, second, mixed = first + dot(one, one), second + dot(other, other), mixed + dot(one, other)
    return Products(first, second, mixed)


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
