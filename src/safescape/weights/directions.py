"""Directions in weight space: a tensor for every parameter, computed from a recipe, never stored on disk.

A direction's tensor depends on its recipe, the tensor's name, its origin and the kind of device whose generator
makes the noise; not on order, sharding, threads, or how many workers compute it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.weights.checkpoint import Weights

__all__ = [
    "Direction",
    "InterpolationDirection",
    "OrthogonalDirection",
    "Products",
    "RandomDirection",
    "check_triton",
    "dot",
    "is_norm",
    "makes_own_noise",
    "products",
    "random_parts",
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
        noise = _noise(self.noise_seed(name), origin)
        return noise.mul_(_scale(noise, origin))

    def scale(self, name: str, origin: Tensor) -> float:
        """Return what the noise of one tensor is multiplied with; 0 where nothing moves."""
        return 0.0 if is_norm(name) else _scale(_noise(self.noise_seed(name), origin), origin)

    def noise_seed(self, name: str) -> int:
        """Return the seed of one tensor's noise: one seed for all would make the noise of equal shapes identical."""
        digest = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


class InterpolationDirection:
    """From the origin to another checkpoint, neither scaled nor zeroed anywhere: 1 is the other checkpoint.

    An embedding with another number of rows there moves in the rows that both have.
    """

    def __init__(self, toward: Weights) -> None:
        self.toward = toward
        """The other checkpoint; whoever has room for it on a device may let it stay there."""

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the difference of one tensor."""
        return self.other(name, origin).float() - origin.float()

    def other(self, name: str, origin: Tensor) -> Tensor:
        """Return where one tensor leads: the other checkpoint's, on the origin's device and with its rows."""
        other = self.toward.tensor(name).to(origin.device)
        if other.shape == origin.shape:
            return other
        rows = min(len(other), len(origin))
        return torch.cat([other[:rows].float(), origin[rows:].float()])


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

    def random_parts(self) -> Mapping[RandomDirection, float] | None:
        """Return both directions' parts; see `random_parts`."""
        parts, against = random_parts(self._direction), random_parts(self._against)
        if parts is None or against is None:
            return None
        less = {part: parts.get(part, 0.0) - self._share * weight for part, weight in against.items()}
        return {**parts, **less}


def random_parts(direction: Direction) -> Mapping[RandomDirection, float] | None:
    """Return a direction as a weighted sum of random ones; None if it is no such sum."""
    if isinstance(direction, RandomDirection):
        return {direction: 1.0}
    if not isinstance(direction, OrthogonalDirection):
        return None
    return direction.random_parts()


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
_BLOCK_OF_GPU = 2**14 * _ROW


def dot(a: Tensor, b: Tensor) -> float:
    """Return ⟨a, b⟩, to the same bit on any number of threads.

    A reduction to one number is split by threads, which changes its rounding. Here every row of fixed length is
    summed by one thread in fp32, and the few row sums are added in order in fp64. A GPU adds them itself, in the order
    that it always takes.
    """
    total = 0.0
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    block = _BLOCK if a.device.type == "cpu" else _BLOCK_OF_GPU
    for start in range(0, flat_a.numel(), block):
        product = flat_a[start : start + block].float() * flat_b[start : start + block].float()
        whole = product.numel() // _ROW * _ROW
        total += _sum(product[:whole].view(-1, _ROW).sum(dim=1))
        total += _sum(product[whole:])
    return total


def makes_own_noise(device: torch.device) -> bool:
    """Whether noise there is not torch's but this project's; see `fused`."""
    return device.type == "cuda"


def check_triton() -> None:
    """Look whether Triton is installed, which makes the noise of NVIDIA GPUs.

    Raises:
        InputError: it is not.

    """
    if importlib.util.find_spec("triton") is None:
        raise InputError("--device cuda: needs Triton, which comes with torch's CUDA builds; type: pip install triton")


def _sum(values: Tensor) -> float:
    return math.fsum(values.tolist()) if values.device.type == "cpu" else float(values.double().sum())


def _scale(noise: Tensor, origin: Tensor) -> float:
    wide = origin.float()
    return dot(wide, wide) ** 0.5 / dot(noise, noise) ** 0.5


def _noise(seed: int, origin: Tensor) -> Tensor:
    """Standard normal values, shaped like `origin` and on its device, from the generator of that kind of device."""
    if makes_own_noise(origin.device):
        from safescape.weights.triton_kernels import standard_normal

        return standard_normal(seed, origin.shape, origin.device)
    generator = torch.Generator(origin.device).manual_seed(seed)
    return torch.randn(origin.shape, generator=generator, device=origin.device)
