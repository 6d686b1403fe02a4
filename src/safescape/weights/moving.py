"""The weights of a point, tensor by tensor: origin + Σ coordinate·direction in fp32, rounded once.

Every weight is computed from the origin on disk, never from where the model stood before. Kept in memory between
points, as long as they fit, are the direction of the step and, on a plane, the sum that the points of a row share:
with both, a move reads two sets of tensors and computes nothing but one addition. What is kept changes no bit.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

import psutil
import torch
from torch import Tensor

from safescape.survey import Point, Position
from safescape.weights.checkpoint import Weights
from safescape.weights.directions import Direction, dot
from safescape.weights.subspaces import Space, Term

__all__ = ["Mover", "Moving"]

_Kept = dict[str, Tensor]
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
        self._directions: dict[Direction, _Kept] = {}
        self._row: tuple[Term, _Kept] | None = None
        self._squares: dict[Direction, float] = {}
        # sums are written here: a new tensor for each costs more in fresh memory than the addition itself
        self._sum = torch.empty(max(shape.numel() for shape in shapes.values()), dtype=torch.float32, device=device)
        self._computed: _Computed = {}

    def moving(self, point: Point) -> Moving:
        """Return every tensor of a point, one after another; each is overwritten by the next."""
        return Moving(self._tensors(point))

    def _tensors(self, point: Point) -> Generator[tuple[str, Tensor], None, Position]:
        frame, (row, step) = self._subspace.frame(point), self._subspace.displacement(point)
        is_away, is_beside = row is not None or step is not None, point.waypoint is not None
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

    def _keep(self, row: Term | None, directions: Mapping[Direction, None]) -> None:
        """Make room for what this move uses, each as long as it takes at most half of what is free; drop the rest."""
        if self._row is not None and self._row[0] != row:
            self._row = None
        self._directions = {direction: kept for direction, kept in self._directions.items() if direction in directions}
        for direction in directions:
            if direction not in self._directions and self._fits():
                self._directions[direction] = {}
        if row is not None and self._row is None and self._fits():
            self._row = row, {}

    def _fits(self) -> bool:
        # room that was made and is not filled yet still counts as free
        promised = [kept for kept in (*self._directions.values(), *([self._row[1]] if self._row else [])) if not kept]
        return self._size <= (_free_memory(self._device) - self._size * len(promised)) // 2

    def _at_origin(self, name: str) -> Tensor:
        if None not in self._computed:
            self._computed[None] = self._origin.tensor(name).to(self._device)
        return self._computed[None]

    def _along_row(self, row: Term, name: str) -> Tensor:
        kept = self._row[1] if self._row is not None else {}
        found = kept.get(name)
        if found is None:
            found = kept[name] = torch.add(
                self._at_origin(name).float(), self._tensor(row.direction, name), alpha=row.coordinate
            )
        return found

    def _plus(self, start: Tensor, step: Term, name: str) -> Tensor:
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
                kept[name] = found
        return found


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
