"""The models between a base and its finetune with one coordinate per block of layers."""

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

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
_AFTER_LAYERS = ("lm_head", "embed_out", "norm", "ln_f")


class BlockSpace:
    """A space with one coordinate per block of layers: 0 takes the block from the base, 1 from the finetune.

    Embeddings belong to the first block, the final norm and the output head to the last.

    Args:
        base: The origin.
        tuned: The finetune.
        blocks: The number of blocks; their numbers of layers differ by at most one.

    Raises:
        InputError: The model has fewer layers than blocks.

    """

    def __init__(self, base: Weights, tuned: Weights, blocks: int = 1) -> None:
        names = base.names()
        layers = {number for name in names if (number := layer_of(name)) is not None}
        if blocks > max(1, len(layers)):
            raise InputError(f"--layers {blocks}: the model has {len(layers)} layers; give fewer blocks")
        self._direction = InterpolationDirection(tuned)
        self.blocks = _split(names, max(layers, default=0) + 1, blocks)
        """The names of the tensors, block by block."""
        self.origin = Point(None, (0.0,) * blocks)

    def displacement(self, point: Point) -> Displacement:
        """Return the displacement of a point from the base."""
        if point.is_origin:
            return Displacement(None, None)
        return Displacement(None, Term(1.0, _Blockwise(self._direction, self.blocks, point.coords)))

    def frame(self, point: Point) -> tuple[Direction, ...]:
        """Return no direction: a repair needs no effective coordinates, it saves the weights as rounded."""
        return ()


def layer_of(name: str) -> int | None:
    """Return the number of a tensor's layer, counted from 0; None for embeddings, final norm and head."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


class _Blockwise(NamedTuple):
    """A direction with one factor per block."""

    direction: Direction
    blocks: tuple[tuple[str, ...], ...]
    factors: tuple[float, ...]

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the direction of one tensor times the factor of its block."""
        block = next(number for number, names in enumerate(self.blocks) if name in names)
        return self.direction.tensor(name, origin).mul_(self.factors[block])


def _split(names: Sequence[str], layers: int, blocks: int) -> tuple[tuple[str, ...], ...]:
    found: list[list[str]] = [[] for _ in range(blocks)]
    for name in names:
        layer = layer_of(name)
        if layer is None:
            layer = layers - 1 if any(word in name for word in _AFTER_LAYERS) else 0
        found[layer * blocks // layers].append(name)
    return tuple(tuple(block) for block in found)
