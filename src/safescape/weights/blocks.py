"""The models between a base and its finetune, block of layers by block: every block has a coordinate of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from safescape.errors import InputError
from safescape.survey import Point
from safescape.weights.checkpoint import Weights
from safescape.weights.directions import Direction, InterpolationDirection
from safescape.weights.subspace import Displacement, Term

__all__ = ["Blends", "layer_of"]

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """Return the number of the layer that a tensor belongs to, from 0; None for embeddings, final norm and head."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


class _Blockwise(NamedTuple):
    """A direction whose tensors are scaled block by block."""

    direction: Direction
    names: tuple[tuple[str, ...], ...]
    """Block by block."""
    factors: tuple[float, ...]

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the direction of one tensor, scaled."""
        block = next(number for number, names in enumerate(self.names) if name in names)
        return self.direction.tensor(name, origin).mul_(self.factors[block])


class Blends:
    """A point has a coordinate a block of layers: 0 leaves the block at the base, 1 takes it from the finetune.

    Embeddings belong to the first block, what comes behind the layers to the last.

    Args:
        base: The origin.
        tuned: The finetune.
        blocks: How many, of as equal a number of layers as can be.

    Raises:
        InputError: there are fewer layers than blocks.

    """

    def __init__(self, base: Weights, tuned: Weights, blocks: int = 1) -> None:
        names = base.names()
        layers = {number for name in names if (number := layer_of(name)) is not None}
        if blocks > max(1, len(layers)):
            raise InputError(f"--layers {blocks}: the model has {len(layers)} layers; give fewer blocks")
        self._direction = InterpolationDirection(tuned)
        self.blocks = _blocks(names, max(layers, default=0) + 1, blocks)
        self.origin = Point(None, (0.0,) * blocks)

    def displacement(self, point: Point) -> Displacement:
        """Return how far a point lies from the base."""
        if point.is_origin:
            return Displacement(None, None)
        return Displacement(None, Term(1.0, _Blockwise(self._direction, self.blocks, point.coords)))

    def frame(self, point: Point) -> tuple[Direction, ...]:
        """Return no direction: what the weights are as rounded is what is measured and saved."""
        return ()


def _blocks(names: Sequence[str], layers: int, blocks: int) -> tuple[tuple[str, ...], ...]:
    found: list[list[str]] = [[] for _ in range(blocks)]
    behind = ("lm_head", "embed_out", "norm", "ln_f")
    for name in names:
        layer = layer_of(name)
        if layer is None:
            layer = layers - 1 if any(word in name for word in behind) else 0
        found[layer * blocks // layers].append(name)
    return tuple(tuple(block) for block in found)
