"""Parts of tensors: some indices of one dimension, with all of the others.

A tensor-parallel rank needs no more of most tensors: the rows of its heads, the columns of its half of an MLP. A part
is found from the values that a loader reads, which are never outside of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Range = tuple[int, int]
"""Indices from the first to the second, which is not one of them."""
Ranges = tuple[Range, ...]
"""Sorted, none empty, and no two of them overlap or touch."""
Box = tuple[Ranges, ...]
"""The indices of each dimension; their product is a set of values of a tensor."""


class Part(NamedTuple):
    """Some indices of one dimension of a tensor, with all of the others: a shard."""

    whole: torch.Size
    """The shape of the tensor."""
    dim: int
    ranges: Ranges

    @property
    def shape(self) -> torch.Size:
        """The shape of the part."""
        return torch.Size((*self.whole[: self.dim], self.length, *self.whole[self.dim + 1 :]))

    @property
    def length(self) -> int:
        """The number of indices."""
        return sum(stop - start for start, stop in self.ranges)

    def indices(self) -> Iterator[tuple[slice, ...]]:
        """Yield the index of each range in the whole tensor."""
        before = (slice(None),) * self.dim
        for start, stop in self.ranges:
            yield (*before, slice(start, stop))

    def of(self, tensor: Tensor) -> Tensor:
        """Return the part of a tensor, contiguous; it may share the tensor's memory.

        Of a tensor with fewer rows than `whole`, those of the part that it has are returned.
        """
        return joined([tensor[index] for index in self.indices()], self.dim)

    def put(self, values: Tensor, into: Tensor) -> None:
        """Write the values of a part into their places in a whole tensor."""
        lengths = [stop - start for start, stop in self.ranges]
        for index, some in zip(self.indices(), values.split(lengths, self.dim), strict=True):
            into[index].copy_(some)


def joined(pieces: Sequence[Tensor], dim: int) -> Tensor:
    """Return tensors one after another along a dimension, contiguous; one alone is not copied if it is."""
    return pieces[0].contiguous() if len(pieces) == 1 else torch.cat([*pieces], dim)


def union(ranges: Iterable[Range]) -> Ranges:
    """Return the indices that are in any of some ranges, in any order."""
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if start >= stop:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return tuple(found)


def whole_box(shape: Sequence[int]) -> Box:
    """Return all indices of a tensor."""
    return tuple(union([(0, size)]) for size in shape)


def box_of(view: Tensor, shape: Sequence[int]) -> Box:
    """Return a box that has all values of a view; the smallest, where the view is a box of the tensor.

    Args:
        view: Shares the memory of a contiguous tensor, which begins where the memory does.
        shape: That tensor's.

    """
    strides = _strides(shape)
    rest, starts = view.storage_offset(), []
    for stride in strides:
        starts.append(rest // stride if stride else 0)
        rest -= starts[-1] * stride
    sizes = [1] * len(shape)
    for size, stride in zip(view.shape, view.stride(), strict=True):
        if size == 1:
            continue
        dims = [dim for dim, each in enumerate(strides) if each == stride and shape[dim] > 1 and sizes[dim] == 1]
        if not dims or starts[dims[0]] + size > shape[dims[0]]:
            # Dimensions were merged, split, skipped or repeated.
            return whole_box(shape)
        sizes[dims[0]] = size
    return tuple(((start, start + size),) for start, size in zip(starts, sizes, strict=True))


def hull(a: Box, b: Box) -> Box:
    """Return the smallest box that has all values of two."""
    return tuple(union([*one, *other]) for one, other in zip(a, b, strict=True))


def narrowest(box: Box, shape: Sequence[int]) -> Part | None:
    """Return the smallest part of a tensor that has all values of a box; None if that is the tensor."""
    parts = [Part(torch.Size(shape), dim, ranges) for dim, ranges in enumerate(box)]
    part = min(parts, key=lambda each: each.length / each.whole[each.dim], default=None)
    return None if part is None or part.length == part.whole[part.dim] else part


def _strides(shape: Sequence[int]) -> list[int]:
    strides = [1] * len(shape)
    for dim in range(len(shape) - 2, -1, -1):
        strides[dim] = strides[dim + 1] * shape[dim + 1]
    return strides
