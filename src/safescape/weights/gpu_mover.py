"""Moving weights on an NVIDIA GPU: each tensor in one kernel that reads the origin and writes the weights.

Random directions are not cached: `triton_kernels` generates their noise while it is added. The origin, and the other
checkpoint of an interpolation, stay on the GPU if they fit.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.survey import Point
from safescape.weights.checkpoint import Weights
from safescape.weights.directions import (
    Direction,
    InterpolationDirection,
    RandomDirection,
    random_parts,
    uses_triton_noise,
)
from safescape.weights.inner_product import dot
from safescape.weights.move import Sums, Tensors
from safescape.weights.mover import Mover, free_memory
from safescape.weights.order import Orders
from safescape.weights.parts import Part
from safescape.weights.share import Share
from safescape.weights.subspace import Space, Term

_log = logging.getLogger(__name__)


def mover_of(
    origin: Weights,
    subspace: Space,
    shapes: Mapping[str, torch.Size],
    *,
    dtype: torch.dtype,
    device: torch.device,
    orders: Orders | None = None,
    share: Share | None = None,
) -> Mover:
    """Return the mover for a live model on a device; the arguments are those of `Mover`.

    A device without kernels of this project is given weights that the CPU computed. On an NVIDIA GPU the live model has
    all tensors row by row.

    Raises:
        InputError: The device is an NVIDIA GPU, and Triton, which generates the noise there, is not installed.

    """
    if not uses_triton_noise(device):
        return Mover(
            origin, subspace, shapes, dtype=dtype, device=torch.device("cpu"), orders=orders or {}, share=share
        )
    if importlib.util.find_spec("triton") is None:
        raise InputError("--device cuda: needs Triton, which comes with torch's CUDA builds; type: pip install triton")
    return GpuMover(origin, subspace, shapes, dtype=dtype, device=device, share=share)


class GpuMover(Mover):
    """Computes the weights of points on an NVIDIA GPU.

    Points that need a random direction and another checkpoint at once are computed as on a CPU.
    """

    _in_threads = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.origin = self._resident(self.origin)
        self._scales: dict[tuple[RandomDirection, str], float] = {}
        self._on_disk: dict[InterpolationDirection, Weights] = {}
        """The checkpoints on disk of those interpolations whose checkpoint is on the GPU at present."""

    def _tensors(self, point: Point, into: Mapping[str, Tensor]) -> Tensors:
        frame, (row, step) = self.subspace.frame(point), self.subspace.displacement(point)
        terms = [term for term in (row, step) if term is not None]
        if terms:
            if all(map(random_parts, [*(term.direction for term in terms), *frame])):
                return (yield from self._plus_noise(point, terms, frame, into))
            if step is not None and frame == (step.direction,) and isinstance(step.direction, InterpolationDirection):
                return (yield from self._toward(step.coordinate, step.direction, into))
        return (yield from super()._tensors(point, into))

    def _plus_noise(
        self, point: Point, terms: Sequence[Term], frame: Sequence[Direction], into: Mapping[str, Tensor]
    ) -> Tensors:
        """Yield the tensors of a point that lies along random directions only."""
        from safescape.weights.triton_kernels import Noise, add_noise

        coordinates: dict[RandomDirection, float] = {}
        for term in terms:
            for part, weight in random_parts(term.direction).items():
                coordinates[part] = coordinates.get(part, 0.0) + term.coordinate * weight
        measured = bool(frame) and self.dtype != torch.float32
        if measured:
            for direction in frame:
                for part in random_parts(direction):
                    coordinates.setdefault(part, 0.0)
        found: list[tuple[list[float], Tensor]] = []
        for name in self.shapes:
            origin, place = self._at_origin(name).contiguous(), self._place(name, into)
            scales = [self._scale(part, name) for part in coordinates]
            self._current = {}
            if any(scales):
                noises = [
                    Noise(part.noise_seed(name), coordinate * scale)
                    for (part, coordinate), scale in zip(coordinates.items(), scales, strict=True)
                ]
                mine = None if self.share is None else self.share.parts.get(name)
                dots = add_noise(origin, noises, place, measured=measured and self._counts(name), part=mine)
                if dots is not None:
                    found.append((scales, dots))
            else:
                place.copy_(origin)
            yield name, place
        if not measured:
            return None
        # Read once at the end: waiting for the GPU after each tensor would take longer than the move.
        products = torch.stack([dots for _, dots in found]).tolist() if found else []
        along = {
            part: math.fsum(scales[number] * dots[number] for (scales, _), dots in zip(found, products, strict=True))
            for number, part in enumerate(coordinates)
        }
        sums = [math.fsum(weight * along[part] for part, weight in random_parts(each).items()) for each in frame]
        return Sums(tuple(sums), tuple(map(self._square, frame)))

    def _toward(self, coordinate: float, direction: InterpolationDirection, into: Mapping[str, Tensor]) -> Tensors:
        """Yield the tensors of a point on the line to another checkpoint."""
        from safescape.weights.triton_kernels import interpolate

        self._prepare_cache(None, [direction])
        found = []
        for name in self.shapes:
            origin, place = self._at_origin(name).contiguous(), self._place(name, into)
            dots = interpolate(origin, direction.target(name, origin).contiguous(), coordinate, place)
            found += [dots] if self._counts(name) else []
            self._current = {}
            yield name, place
        if self.dtype == torch.float32:
            return None
        products = torch.stack(found).tolist() if found else [(0.0, 0.0)]
        along, square = (math.fsum(column) for column in zip(*products, strict=True))
        return Sums((along,), (square,))

    def _place(self, name: str, into: Mapping[str, Tensor]) -> Tensor:
        place = into.get(name)
        return torch.empty(self.shapes[name], dtype=self.dtype, device=self.device) if place is None else place

    def _scale(self, direction: RandomDirection, name: str) -> float:
        if (direction, name) not in self._scales:
            self._scales[direction, name] = direction.scale(name, self._at_origin(name))
        return self._scales[direction, name]

    def _square(self, direction: Direction) -> float:
        """Return ⟨direction, direction⟩ over all tensors."""
        if direction not in self._squares:
            square = 0.0
            for name in filter(self._counts, self.shapes):
                part = direction.tensor(name, self._at_origin(name))
                square += dot(part, part)
                self._current = {}
            self._squares[direction] = square
        return self._squares[direction]

    def _prepare_cache(self, row: Term | None, directions: Sequence[Direction]) -> None:
        """Keep other checkpoints on the GPU instead of differences: they take half the memory in a 16-bit dtype."""
        for unused in [direction for direction in self._on_disk if direction not in directions]:
            unused.toward = self._on_disk.pop(unused)
        interpolations = [each for each in directions if isinstance(each, InterpolationDirection)]
        super()._prepare_cache(row, [each for each in directions if each not in interpolations])
        for direction in interpolations:
            if direction not in self._on_disk:
                self._on_disk[direction] = direction.toward
                direction.toward = self._resident(direction.toward)

    def _resident(self, weights: Weights) -> Weights:
        """Keep a checkpoint's tensors on the GPU once read, if they take at most half of its free memory."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in map(weights.tensor, self.shapes))
        free = free_memory(self.device)
        fits = size <= free // 2
        _log.debug("checkpoint of %d bytes, %d bytes free on %s: resident: %s", size, free, self.device, fits)
        return _Resident(weights, self.device) if fits else weights


class _Resident:
    """Weights whose tensors stay on a device after the first read."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.names = weights.names
        self._weights, self._device = weights, device
        self._tensors: dict[str, Tensor] = {}

    def tensor(self, name: str) -> Tensor:
        if name not in self._tensors:
            self._tensors[name] = self._weights.tensor(name).to(self._device)
        return self._tensors[name]

    def part(self, name: str, part: Part) -> Tensor:
        return part.of(self.tensor(name))
