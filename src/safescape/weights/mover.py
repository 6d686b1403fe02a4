"""The weights of a point, tensor by tensor: origin + Σ coordinate·direction in fp32, rounded once.

Every weight is computed from the origin on disk, never from where the model stood before. Kept in memory between
points, as long as they fit, are the direction of the step and, on a plane, the sum that the points of a row share:
with both, a move reads two sets of tensors and computes nothing but one addition. What is kept changes no bit.

On an NVIDIA GPU the origin is kept there if it fits, and random directions are not: their noise is made while it is
added (`fused`).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence

import psutil
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
    makes_own_noise,
    random_parts,
)
from safescape.weights.subspace import Space, Term

__all__ = ["Kept", "Mover", "Moving"]

_Computed = dict[Direction | None, Tensor]
"""What was computed of the tensor at hand: its origin under None, and directions."""


class Moving:
    """The tensors of a point by name, once; whoever keeps one copies it."""

    def __init__(self, tensors: Generator[tuple[str, Tensor], None, Position]) -> None:
        self._tensors = tensors
        self._position: Position | None = None

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        self._position = yield from self._tensors

    @property
    def position(self) -> Position:
        """Where the weights stand as rounded, known when every tensor was taken.

        ⟨w - w₀, d⟩ / ⟨d, d⟩ for each direction of the point's frame, with w and w₀ the weights as rounded here and at
        the origin. In fp32 rounding moves no coordinate by a millionth, so a point of the subspace is where it was
        asked to be.
        """
        assert self._position is not None
        return self._position


class Mover:
    """Computes the weights of points.

    Args:
        origin: The model under test.
        subspace: What a point's coordinates mean.
        shapes: Of the tensors to move, by name.
        dtype: That the weights are rounded to.
        device: Where they are computed; the kind whose generator makes the noise.

    Raises:
        InputError: the device is an NVIDIA GPU, and Triton is not installed.

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
        self._origin, self._subspace, self._shapes = origin, subspace, shapes
        self._dtype, self._device = dtype, device
        self._size = 4 * sum(shape.numel() for shape in shapes.values())
        self._directions: dict[Direction, Kept] = {}
        self._row: tuple[Term, Kept] | None = None
        self._squares: dict[Direction, float] = {}
        # sums are written here: a new tensor for each costs more in fresh memory than the addition itself
        self._sum: Tensor | None = None
        self._computed: _Computed = {}
        self._scales: dict[tuple[RandomDirection, str], float] = {}
        self._elsewhere: dict[InterpolationDirection, Weights] = {}
        """The other checkpoints that stay on the device for now, as they are on disk."""
        if makes_own_noise(device):
            check_triton()
            self._origin = self._resident(origin)

    def moving(self, point: Point, into: Mapping[str, Tensor] | None = None) -> Moving:
        """Return every tensor of a point, one after another; each is overwritten by the next.

        Args:
            point: Of the subspace.
            into: By name, where a tensor may be computed in its place; it is the one returned then.

        """
        return Moving(self._tensors(point, into or {}))

    def _tensors(self, point: Point, into: Mapping[str, Tensor]) -> Generator[tuple[str, Tensor], None, Position]:
        frame, (row, step) = self._subspace.frame(point), self._subspace.displacement(point)
        is_away, is_beside = row is not None or step is not None, point.waypoint is not None
        if makes_own_noise(self._device) and is_away:
            terms = [term for term in (row, step) if term is not None]
            parts = [random_parts(direction) for direction in (*(term.direction for term in terms), *frame)]
            if all(part is not None for part in parts):
                return (yield from self._from_noise(point, terms, frame, into))
            if step is not None and frame == (step.direction,) and isinstance(step.direction, InterpolationDirection):
                return (yield from self._toward(step.coordinate, step.direction, into))
        rounds = bool(frame) and (is_beside or (self._dtype != torch.float32 and is_away))
        self._keep(row, dict.fromkeys(([step.direction] if step else []) + (list(frame) if rounds else [])))
        along, square, length = [0.0] * len(frame), [0.0] * len(frame), 0.0
        for name in self._shapes:
            self._computed = {}
            moved = (self._at_origin(name) if row is None else self._along_row(row, name)).float()
            if step is not None and step.coordinate:
                moved = self._plus(moved, step, name)
            rounded = moved.to(self._dtype)
            yield name, rounded
            if rounds:
                taken = rounded.float() - self._at_origin(name).to(self._dtype).float()
                length += dot(taken, taken) if is_beside else 0.0
                for place, direction in enumerate(frame):
                    part = self._tensor(direction, name)
                    along[place] += dot(taken, part)
                    if direction not in self._squares:
                        square[place] += dot(part, part)
        self._computed = {}
        if not rounds:
            return Position(point.coords, 0.0)
        for direction, found in zip(frame, square, strict=True):
            self._squares.setdefault(direction, found)
        squares = [self._squares[direction] for direction in frame]
        effective = tuple(a / s if s else 0.0 for a, s in zip(along, squares, strict=True))
        inside = sum(coordinate**2 * s for coordinate, s in zip(effective, squares, strict=True))
        return Position(effective, max(0.0, 1.0 - inside / length) if length else 0.0)

    def _from_noise(
        self, point: Point, terms: Sequence[Term], frame: Sequence[Direction], into: Mapping[str, Tensor]
    ) -> Generator[tuple[str, Tensor], None, Position]:
        """A point that random directions alone lead to: their noise is made where it is added, and nothing is kept."""
        from safescape.weights.triton_kernels import Noise, add_noise

        coordinates: dict[RandomDirection, float] = {}
        for term in terms:
            for part, weight in _parts(term.direction).items():
                coordinates[part] = coordinates.get(part, 0.0) + term.coordinate * weight
        rounds = bool(frame) and self._dtype != torch.float32
        if rounds:
            for direction in frame:
                for part in _parts(direction):
                    coordinates.setdefault(part, 0.0)
        found: list[tuple[list[float], Tensor]] = []
        for name in self._shapes:
            start, place = self._at_origin(name).contiguous(), self._place(name, into)
            scales = [self._scale(part, name) for part in coordinates]
            self._computed = {}
            if any(scales):
                noises = [
                    Noise(part.noise_seed(name), coordinate * scale)
                    for (part, coordinate), scale in zip(coordinates.items(), scales, strict=True)
                ]
                dots = add_noise(start, noises, place, measured=rounds)
                if dots is not None:
                    found.append((scales, dots))
            else:
                place.copy_(start)
            yield name, place
        if not rounds:
            return Position(point.coords, 0.0)
        # read once at the end: to wait for a GPU tensor by tensor would cost more than the move
        products = torch.stack([dots for _, dots in found]).tolist() if found else []
        along = {
            part: math.fsum(scales[number] * dots[number] for (scales, _), dots in zip(found, products, strict=True))
            for number, part in enumerate(coordinates)
        }
        sums = [math.fsum(weight * along[part] for part, weight in _parts(each).items()) for each in frame]
        squares = [self._square(each) for each in frame]
        return Position(tuple(a / s if s else 0.0 for a, s in zip(sums, squares, strict=True)), 0.0)

    def _toward(
        self, coordinate: float, direction: InterpolationDirection, into: Mapping[str, Tensor]
    ) -> Generator[tuple[str, Tensor], None, Position]:
        """A point between the origin and another checkpoint, each of which is read once."""
        from safescape.weights.triton_kernels import go_toward

        self._keep(None, {direction: None})
        found = []
        for name in self._shapes:
            start = self._at_origin(name).contiguous()
            place = self._place(name, into)
            found.append(go_toward(start, direction.other(name, start).contiguous(), coordinate, place))
            self._computed = {}
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
        """⟨direction, direction⟩ over all tensors."""
        if direction not in self._squares:
            square = 0.0
            for name in self._shapes:
                part = direction.tensor(name, self._at_origin(name))
                square += dot(part, part)
                self._computed = {}
            self._squares[direction] = square
        return self._squares[direction]

    def _keep(self, row: Term | None, directions: Mapping[Direction, None]) -> None:
        """Make room for what this move uses, each as long as it takes at most half of what is free; drop the rest."""
        if self._row is not None and self._row[0] != row:
            self._row = None
        self._directions = {direction: kept for direction, kept in self._directions.items() if direction in directions}
        for left in [direction for direction in self._elsewhere if direction not in directions]:
            left.toward = self._elsewhere.pop(left)
        for direction in directions:
            if makes_own_noise(self._device) and isinstance(direction, InterpolationDirection):
                # half as large as the difference, and a GPU subtracts as fast as it reads
                if direction not in self._elsewhere:
                    self._elsewhere[direction] = direction.toward
                    direction.toward = self._resident(direction.toward)
            elif direction not in self._directions and self._fits():
                self._directions[direction] = Kept(self._size // 4)
        if row is not None and self._row is None and self._fits():
            self._row = row, Kept(self._size // 4)

    def _resident(self, weights: Weights) -> Weights:
        """Let a checkpoint's tensors stay on the device once read, if they take at most half of what is free."""
        fits = size_of(weights, self._shapes) <= _free_memory(self._device) // 2
        return Resident(weights, self._device) if fits else weights

    def _fits(self) -> bool:
        # room that was made and is not filled yet still counts as free
        promised = [kept for kept in (*self._directions.values(), *([self._row[1]] if self._row else [])) if not kept]
        return self._size <= (_free_memory(self._device) - self._size * len(promised)) // 2

    def _at_origin(self, name: str) -> Tensor:
        if None not in self._computed:
            self._computed[None] = self._origin.tensor(name).to(self._device)
        return self._computed[None]

    def _along_row(self, row: Term, name: str) -> Tensor:
        kept = self._row[1] if self._row is not None else None
        found = None if kept is None else kept.get(name)
        if found is None:
            found = torch.add(self._at_origin(name).float(), self._tensor(row.direction, name), alpha=row.coordinate)
            found = found if kept is None else kept.keep(name, found)
        return found

    def _plus(self, start: Tensor, step: Term, name: str) -> Tensor:
        if self._sum is None:
            largest = max(shape.numel() for shape in self._shapes.values())
            self._sum = torch.empty(largest, dtype=torch.float32, device=self._device)
        into = self._sum[: start.numel()].view(start.shape)
        return torch.add(start, self._tensor(step.direction, name), alpha=step.coordinate, out=into)

    def _tensor(self, direction: Direction, name: str) -> Tensor:
        kept = self._directions.get(direction)
        found = self._computed.get(direction) if kept is None else kept.get(name)
        if found is None:
            found = direction.tensor(name, self._at_origin(name))
            if kept is None:
                self._computed[direction] = found
            else:
                found = kept.keep(name, found)
        return found


def _parts(direction: Direction) -> Mapping[RandomDirection, float]:
    parts = random_parts(direction)
    assert parts is not None
    return parts


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


class Kept:
    """Tensors of fp32 by name in one block of memory, which is there when the first of them is.

    One by one they would lie among tensors that are soon freed, and what is free between them is lost.
    """

    def __init__(self, numbers: int) -> None:
        self._numbers, self._end = numbers, 0
        self._tensors: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._tensors)

    def get(self, name: str) -> Tensor | None:
        """Return what was kept under a name."""
        return self._tensors.get(name)

    def keep(self, name: str, values: Tensor) -> Tensor:
        """Return a copy, which stays."""
        if not self._tensors:
            self._memory = torch.empty(self._numbers, dtype=torch.float32, device=values.device)
        place = self._memory[self._end : self._end + values.numel()].view(values.shape)
        self._end += values.numel()
        self._tensors[name] = place.copy_(values)
        return place
