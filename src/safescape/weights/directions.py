"""Directions in weight space: one tensor for every parameter, computed from a recipe and never stored on disk.

The tensor of a direction depends on the recipe, the tensor's name, its values at the origin, and the kind of device
that generates the noise. It does not depend on the order of tensors, the shards, the threads or the workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from safescape.weights.checkpoint import Weights
from safescape.weights.divided import DividedWeights
from safescape.weights.inner_product import dot, square_of
from safescape.weights.inventory import is_norm_by_name


class Direction(Protocol):
    """One tensor for every parameter."""

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the direction of one tensor: fp32, shaped like `origin` and on its device."""


class RandomDirection(NamedTuple):
    """A Gaussian direction with each tensor scaled to its origin's Frobenius norm (arXiv 2405.17374, section 3)."""

    seed: int
    resting: frozenset[str] | None = None
    """The parameters that do not move, those of the model's normalisation layers among them; None where no model is
    known, and names must tell which these are."""
    divided: DividedWeights | None = None
    """The origin of a rank that has parts of tensors. Noise and norms are still those of whole tensors."""

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the direction of one tensor. Norm weights and tensors of zeros do not move."""
        if self._rests(name):
            return torch.zeros_like(origin, dtype=torch.float32)
        noise = self._noise(name, origin)
        scale = self._scale(name, noise, origin)
        return (noise if self.divided is None else self.divided.of(name, noise)).mul_(scale)

    def scale(self, name: str, origin: Tensor) -> float:
        """Return the factor of one tensor's noise; 0 if the tensor does not move."""
        return 0.0 if self._rests(name) else self._scale(name, self._noise(name, origin), origin)

    def noise_seed(self, name: str) -> int:
        """Return the seed of one tensor's noise, under 2**63. With one seed for all, equal shapes would share noise."""
        digest = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def _rests(self, name: str) -> bool:
        return is_norm_by_name(name) if self.resting is None else name in self.resting

    def _noise(self, name: str, origin: Tensor) -> Tensor:
        shape = origin.shape if self.divided is None else self.divided.shape(name, origin)
        return _noise(self.noise_seed(name), shape, origin.device)

    def _scale(self, name: str, noise: Tensor, origin: Tensor) -> float:
        square = square_of(origin) if self.divided is None else self.divided.square(name, origin)
        return square**0.5 / dot(noise, noise) ** 0.5


class InterpolationDirection:
    """The difference from the origin to another checkpoint, neither scaled nor zeroed: 1 is the other checkpoint.

    If an embedding has another number of rows in the other checkpoint, the rows that both have move.
    """

    def __init__(self, toward: Weights) -> None:
        self.toward = toward
        """The other checkpoint; a mover may replace it by a copy of the same tensors on its device."""

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the difference of one tensor."""
        return self.target(name, origin).float() - origin.float()

    def target(self, name: str, origin: Tensor) -> Tensor:
        """Return the other checkpoint's tensor on the origin's device, with the origin's number of rows."""
        other = self.toward.tensor(name).to(origin.device)
        if other.shape == origin.shape:
            return other
        rows = min(len(other), len(origin))
        return torch.cat([other[:rows].float(), origin[rows:].float()])


class OrthogonalDirection(NamedTuple):
    """A direction minus its projection on another one (one step of Gram and Schmidt)."""

    direction: Direction
    against: Direction
    share: float
    """⟨direction, against⟩ / ⟨against, against⟩ over all tensors."""

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the orthogonal part of one tensor."""
        along = self.against.tensor(name, origin)
        return torch.sub(self.direction.tensor(name, origin), along, alpha=self.share)


def random_parts(direction: Direction) -> Mapping[RandomDirection, float]:
    """Return the weights that make a direction a sum of random directions; empty if it is not such a sum."""
    if isinstance(direction, RandomDirection):
        return {direction: 1.0}
    if not isinstance(direction, OrthogonalDirection):
        return {}
    parts, against = random_parts(direction.direction), random_parts(direction.against)
    if not parts or not against:
        return {}
    less = {part: parts.get(part, 0.0) - direction.share * weight for part, weight in against.items()}
    return {**parts, **less}


class Products(NamedTuple):
    """The inner products of two directions a and b over all tensors."""

    first: float
    """⟨a, a⟩"""
    second: float
    """⟨b, b⟩"""
    mixed: float
    """⟨a, b⟩"""

    @property
    def cosine(self) -> float:
        """The cosine of the angle between a and b; 0 if one of them is zero."""
        length = (self.first * self.second) ** 0.5
        return self.mixed / length if length else 0.0


def products(a: Direction, b: Direction, weights: Weights, device: str = "cpu") -> Products:
    """Return the inner products of two directions in one streaming pass, with three tensors in memory at a time."""
    first = second = mixed = 0.0
    for name in weights.names():
        origin = weights.tensor(name).to(device)
        if not origin.is_floating_point():
            continue
        one, other = a.tensor(name, origin), b.tensor(name, origin)
        first, second, mixed = first + dot(one, one), second + dot(other, other), mixed + dot(one, other)
    return Products(first, second, mixed)


def uses_triton_noise(device: torch.device) -> bool:
    """Whether a device's noise comes from `triton_kernels` instead of torch's generator: true on NVIDIA GPUs."""
    return device.type == "cuda"


def noise_device(device: str) -> str:
    """Return the kind of device that makes the random directions of a model on `device`: `cuda` or `cpu`.

    Apple's and Intel's GPUs would make other noise. Their weights are computed on the CPU and copied, so that a
    landscape measured there has the directions of one measured on a CPU.
    """
    return "cuda" if uses_triton_noise(torch.device(device)) else "cpu"


def _noise(seed: int, shape: torch.Size, device: torch.device) -> Tensor:
    """Return standard normal values, fp32, from the generator of a device."""
    if uses_triton_noise(device):
        from safescape.weights.triton_kernels import standard_normal

        return standard_normal(seed, shape, device)
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=device)
