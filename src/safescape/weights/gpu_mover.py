"""Moving weights on an NVIDIA GPU: each tensor in one kernel that reads the origin and writes the weights.

Random directions are not cached: `triton_kernels` generates their noise while it is added. The origin, and the other
checkpoint of an interpolation, stay on the GPU if they fit.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from safescape.survey import Point, Position
from safescape.weights.checkpoint import Resident, Weights, size_of
from safescape.weights.directions import (
    Direction,
    InterpolationDirection,
    RandomDirection,
    check_triton,
    dot,
    random_parts,
    uses_triton_noise,
)
from safescape.weights.mover import Mover, Tensors, free_memory
from safescape.weights.subspace import Space, Term

_log = logging.getLogger(__name__)


def mover_of(
    origin: Weights, subspace: Space, shapes: Mapping[str, torch.Size], *, dtype: torch.dtype, device: torch.device
) -> Mover:
    """Return the mover of a device; the arguments are those of `Mover`.

    Raises:
        InputError: The device is an NVIDIA GPU, and Triton is not installed.

    """
    mover = GpuMover if uses_triton_noise(device) else Mover
    return mover(origin, subspace, shapes, dtype=dtype, device=device)


class GpuMover(Mover):
    """Computes the weights of points on an NVIDIA GPU; see `Mover` for the arguments.

    Points that need a random direction and another checkpoint at once are computed as on a CPU.

    Raises:
        InputError: Triton is not installed.

    """

    def __init__(
        self,
        origin: Weights,
        subspace: Space,
        shapes: Mapping[str, torch.Size],
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        check_triton()
        super().__init__(origin, subspace, shapes, dtype=dtype, device=device)
        self._origin = self._resident(origin)
        self._scales: dict[tuple[RandomDirection, str], float] = {}
        self._on_disk: dict[InterpolationDirection, Weights] = {}
        """The checkpoints on disk of those interpolations whose checkpoint is on the GPU at present."""

    def _tensors(self, point: Point, into: Mapping[str, Tensor]) -> Tensors:
        frame, (row, step) = self._subspace.frame(point), self._subspace.displacement(point)
        terms = [term for term in (row, step) if term is not None]
        if terms:
            parts = [random_parts(direction) for direction in (*(term.direction for term in terms), *frame)]
            if all(part is not None for part in parts):
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
            for part, weight in _parts(term.direction).items():
                coordinates[part] = coordinates.get(part, 0.0) + term.coordinate * weight
        measured = bool(frame) and self._dtype != torch.float32
        if measured:
            for direction in frame:
                for part in _parts(direction):
                    coordinates.setdefault(part, 0.0)
        found: list[tuple[list[float], Tensor]] = []
        for name in self._shapes:
            origin, place = self._at_origin(name).contiguous(), self._place(name, into)
            scales = [self._scale(part, name) for part in coordinates]
            self._current = {}
            if any(scales):
                noises = [
                    Noise(part.noise_seed(name), coordinate * scale)
                    for (part, coordinate), scale in zip(coordinates.items(), scales, strict=True)
                ]
                dots = add_noise(origin, noises, place, measured=measured)
                if dots is not None:
                    found.append((scales, dots))
            else:
                place.copy_(origin)
            yield name, place
        if not measured:
            return Position(point.coords, 0.0)
        # Read once at the end: waiting for the GPU after each tensor would take longer than the move.
        products = torch.stack([dots for _, dots in found]).tolist() if found else []
        along = {
            part: math.fsum(scales[number] * dots[number] for (scales, _), dots in zip(found, products, strict=True))
            for number, part in enumerate(coordinates)
        }
        sums = [math.fsum(weight * along[part] for part, weight in _parts(each).items()) for each in frame]
        squares = [self._square(each) for each in frame]
        return Position(tuple(a / s if s else 0.0 for a, s in zip(sums, squares, strict=True)), 0.0)

    def _toward(self, coordinate: float, direction: InterpolationDirection, into: Mapping[str, Tensor]) -> Tensors:
        """Yield the tensors of a point on the line to another checkpoint."""
        from safescape.weights.triton_kernels import interpolate

        self._prepare_cache(None, [direction])
        found = []
        for name in self._shapes:
            origin, place = self._at_origin(name).contiguous(), self._place(name, into)
            found.append(interpolate(origin, direction.target(name, origin).contiguous(), coordinate, place))
            self._current = {}
            yield name, place
        if self._dtype == torch.float32:
            return Position((coordinate,), 0.0)
        along, square = (math.fsum(column) for column in zip(*torch.stack(found).tolist(), strict=True))
        return Position((along / square if square else 0.0,), 0.0)

    def _place(self, name: str, into: Mapping[str, Tensor]) -> Tensor:
        place = into.get(name)
        return torch.empty(self._shapes[name], dtype=self._dtype, device=self._device) if place is None else place

    def _scale(self, direction: RandomDirection, name: str) -> float:
        if (direction, name) not in self._scales:
            self._scales[direction, name] = direction.scale(name, self._at_origin(name))
        return self._scales[direction, name]

    def _square(self, direction: Direction) -> float:
        """Return ⟨direction, direction⟩ over all tensors."""
        if direction not in self._squares:
            square = 0.0
            for name in self._shapes:
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
        size, free = size_of(weights, self._shapes), free_memory(self._device)
        fits = size <= free // 2
        _log.debug("checkpoint of %d bytes, %d bytes free on %s: resident: %s", size, free, self._device, fits)
        return Resident(weights, self._device) if fits else weights


def _parts(direction: Direction) -> Mapping[RandomDirection, float]:
    parts = random_parts(direction)
    assert parts is not None
    return parts
