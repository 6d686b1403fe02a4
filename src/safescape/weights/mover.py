"""The weights of a point, tensor by tensor: origin + Σ coordinate·direction in fp32, rounded once.

Every weight is computed from the origin on disk, never from the weights of an earlier point. Three things are cached
between points as long as they fit into memory: the direction of the step; on a plane, the sum that the points of a row
share; and the tensors of the origin that would be computed again for each point, because an adapter changes them or the
live model has them in another order. With all of them, a move is one addition per tensor. What is not cached is made
some tensors ahead, by as many threads as torch uses. None of this changes a bit of the result.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import psutil
import torch
from torch import Tensor

from safescape.survey import Point
from safescape.weights.checkpoint import Weights
from safescape.weights.directions import Direction
from safescape.weights.divided import DividedWeights
from safescape.weights.inner_product import dot
from safescape.weights.lora import Adapted
from safescape.weights.move import Move, Sums, Tensors
from safescape.weights.order import Orders
from safescape.weights.share import DividedSpace, Share
from safescape.weights.subspace import Space, Term

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Mover:
    """Computes the weights of points; `mover_of` returns the mover of a device."""

    _in_threads: ClassVar[bool] = True
    """Whether several threads make tensors; a GPU makes one after another."""
    origin: Weights
    """The model under test."""
    subspace: Space
    shapes: Mapping[str, torch.Size]
    """The shapes of the tensors to move, by name."""
    _: KW_ONLY
    dtype: torch.dtype
    """The dtype that the weights are rounded to."""
    device: torch.device
    """Where the weights are computed and the noise is generated."""
    orders: Orders = field(default_factory=dict)
    """In fp32, the tensors that the live model has in another order. Their weights are computed in that order, as one
    row of numbers, while all that a move needs is in the caches."""
    share: Share | None = None
    """What of the model is computed; None: all of it. `shapes` are those of whole tensors, `Move` yields parts."""

    def __post_init__(self) -> None:
        self._changed = self.origin.changed & self.shapes.keys() if isinstance(self.origin, Adapted) else frozenset()
        """The tensors of the origin that an adapter changes."""
        if self.share is not None:
            divided = DividedWeights(self.origin, self.share.parts)
            self.origin, self.subspace = divided, DividedSpace(self.subspace, divided)
            self.shapes = self.share.shapes(self.shapes)
        self._size = 4 * sum(shape.numel() for shape in self.shapes.values())
        """Bytes of one direction, or of the sum along a row."""
        self._directions: dict[Direction, TensorCache] = {}
        self._row: tuple[Term, TensorCache] | None = None
        self._origins: TensorCache | None = None
        self._is_ordered = False
        """Whether the caches, and the current move, have the tensors of `orders` in their order."""
        self._squares: dict[Direction, float] = {}
        # All sums are written into one buffer: allocating memory for each costs more than the addition.
        self._sum: Tensor | None = None
        self._current: dict[Direction | None, Tensor] = {}
        """The current tensor at the origin (key None) and along directions, row by row, where no cache has it."""

    def move(self, point: Point, into: Mapping[str, Tensor] | None = None) -> Move:
        """Return the tensors of a point, one after another; each may be overwritten by the next.

        The weights may be computed in the tensors `into`, by name; those are then the ones returned. In `orders`, both
        have one dimension.
        """
        return Move(point, self._tensors(point, into or {}))

    def _tensors(self, point: Point, into: Mapping[str, Tensor]) -> Tensors:
        frame, (row, step) = self.subspace.frame(point), self.subspace.displacement(point)
        is_waypoint, is_away = point.waypoint is not None, row is not None or step is not None
        # In fp32, only checkpoints have a position that differs from the requested coordinates.
        measured = bool(frame) and (is_waypoint or (self.dtype != torch.float32 and is_away))
        used = list(dict.fromkeys(([step.direction] if step else []) + (list(frame) if measured else [])))
        self._use_orders(is_wanted=not measured)
        self._prepare_cache(row, used)
        if self._is_ordered and not self._is_all_cached(row, used):
            _log.debug("no memory to compute weights in the live order")
            self.orders = {}
            self._use_orders(is_wanted=False)
            self._prepare_cache(row, used)
        along, square, length = [0.0] * len(frame), [0.0] * len(frame), 0.0
        for name, made in self._made_ahead(row, used):
            self._current = made
            moved = (self._at_origin(name) if row is None else self._along_row(row, name)).float()
            if step is not None and step.coordinate:
                moved = self._plus(moved, step, name, into)
            rounded = moved.to(self.dtype)
            yield name, rounded
            if measured:
                taken = rounded.float() - self._at_origin(name).to(self.dtype).float()
                parts = [self._direction_of(direction, name) for direction in frame]
                if not self._counts(name):
                    continue
                length += dot(taken, taken) if is_waypoint else 0.0
                for place, (direction, part) in enumerate(zip(frame, parts, strict=True)):
                    along[place] += dot(taken, part)
                    if direction not in self._squares:
                        square[place] += dot(part, part)
        self._current = {}
        if not measured:
            return None
        for direction, found in zip(frame, square, strict=True):
            self._squares.setdefault(direction, found)
        return Sums(tuple(along), tuple(self._squares[direction] for direction in frame), length)

    def _counts(self, name: str) -> bool:
        """Whether a tensor's values belong to the sums; another rank may add them."""
        return self.share is None or name in self.share.counted

    def _made_ahead(
        self, row: Term | None, directions: Sequence[Direction]
    ) -> Iterator[tuple[str, dict[Direction | None, Tensor]]]:
        """Yield, for each tensor, what of it no cache has: at the origin, and along directions."""

        def make(name: str) -> dict[Direction | None, Tensor]:
            is_row_cached = self._row is not None and name in self._row[1]
            wanted = [each for each in directions if name not in self._directions.get(each, ())]
            if row is not None and not is_row_cached and row.direction not in directions:
                wanted.append(row.direction)
            cached = None if self._origins is None else self._origins.get(name)
            found: dict[Direction | None, Tensor] = {}
            if cached is None and (wanted or not is_row_cached):
                found[None] = self.origin.tensor(name).to(self.device)
            if wanted:
                origin = found[None] if cached is None else self._in_rows(name, cached)
                found |= {each: each.tensor(name, origin) for each in wanted}
            return found

        caches = [self._directions.get(each, ()) for each in directions]
        caches += [() if self._row is None else self._row[1]] if row is not None else []
        if not self._in_threads or all(len(cache) == len(self.shapes) for cache in caches):
            # nothing has to be made, or only read
            yield from ((name, make(name)) for name in self.shapes)
            return
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            ahead = deque[tuple[str, Future[dict[Direction | None, Tensor]]]]()
            for name in self.shapes:
                ahead.append((name, pool.submit(make, name)))
                if len(ahead) > threads:
                    first, made = ahead.popleft()
                    yield first, made.result()
            yield from ((name, made.result()) for name, made in ahead)

    def _at_origin(self, name: str) -> Tensor:
        kept = self._origins if name in self._changed or (self._is_ordered and name in self.orders) else None
        found = None if kept is None else kept.get(name)
        if found is not None:
            return found
        if None not in self._current:
            self._current[None] = self.origin.tensor(name).to(self.device)
        # an adapter computes in fp32, and orders exist in fp32 alone, so that the cache holds the same numbers
        return self._current[None] if kept is None else kept.add(name, self._in_order(name, self._current[None]))

    def _along_row(self, row: Term, name: str) -> Tensor:
        """Return origin + coordinate·direction of a row, fp32."""
        cache = self._row[1] if self._row is not None else None
        found = None if cache is None else cache.get(name)
        if found is None:
            origin = self._at_origin(name).float()
            found = torch.add(origin, self._direction_of(row.direction, name), alpha=row.coordinate)
            found = found if cache is None else cache.add(name, found)
        return found

    def _plus(self, start: Tensor, step: Term, name: str, into: Mapping[str, Tensor]) -> Tensor:
        if self._is_ordered and name in self.orders and name in into:
            place = into[name]
        else:
            if self._sum is None:
                largest = max(shape.numel() for shape in self.shapes.values())
                self._sum = torch.empty(largest, dtype=torch.float32, device=self.device)
            place = self._sum[: start.numel()].view(start.shape)
        return torch.add(start, self._direction_of(step.direction, name), alpha=step.coordinate, out=place)

    def _direction_of(self, direction: Direction, name: str) -> Tensor:
        cache = self._directions.get(direction)
        found = None if cache is None else cache.get(name)
        if found is None:
            found = self._in_order(name, self._current[direction])
            found = found if cache is None else cache.add(name, found)
        return found

    def _in_order(self, name: str, values: Tensor) -> Tensor:
        return self.orders[name].ordered(values) if self._is_ordered and name in self.orders else values

    def _in_rows(self, name: str, values: Tensor) -> Tensor:
        return self.orders[name].matrix(values) if self._is_ordered and name in self.orders else values

    def _use_orders(self, *, is_wanted: bool) -> None:
        """Use the orders if there are any; tensors that were cached in other ones are dropped."""
        is_ordered = is_wanted and bool(self.orders)
        if is_ordered != self._is_ordered:
            self._directions.clear()
            self._row = self._origins = None
            self._is_ordered = is_ordered

    def _is_all_cached(self, row: Term | None, directions: Sequence[Direction]) -> bool:
        return (
            self._origins is not None
            and all(direction in self._directions for direction in directions)
            and (row is None or self._row is not None)
        )

    def _prepare_cache(self, row: Term | None, directions: Sequence[Direction]) -> None:
        """Drop cached tensors that this move does not use, and allocate caches for those it does, while they fit."""
        if self._row is not None and self._row[0] != row:
            self._row = None
        for unused in [direction for direction in self._directions if direction not in directions]:
            del self._directions[unused]
        for direction in directions:
            if direction not in self._directions and self._fits():
                self._directions[direction] = TensorCache(self._size // 4)
        if row is not None and self._row is None and self._fits():
            self._row = row, TensorCache(self._size // 4)
        kept = self._changed | self.orders.keys() if self._is_ordered else self._changed
        if kept and self._origins is None and self._fits():
            self._origins = TensorCache(sum(self.shapes[name].numel() for name in kept))
        _log.debug("%d of %d directions in the cache", len(self._directions), len(directions))

    def _fits(self) -> bool:
        """Whether one more direction takes at most half of the free memory."""
        caches = [*self._directions.values(), *([self._row[1]] if self._row else [])]
        caches += [self._origins] if self._origins is not None else []
        # An empty cache has not allocated its memory yet, which therefore still counts as free.
        promised = sum(not cache for cache in caches)
        return self._size <= (free_memory(self.device) - self._size * promised) // 2


class TensorCache(dict[str, Tensor]):
    """Named fp32 tensors in one block of memory that is allocated with the first tensor.

    Allocated one by one, they would lie between temporary tensors and fragment the memory. The capacity is in numbers.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity, self._end = capacity, 0

    def add(self, name: str, values: Tensor) -> Tensor:
        """Copy a tensor into the cache and return the copy."""
        if not self:
            self._memory = torch.empty(self._capacity, dtype=torch.float32, device=values.device)
        place = self._memory[self._end : self._end + values.numel()].view(values.shape)
        self._end += values.numel()
        self[name] = place.copy_(values)
        return place


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
