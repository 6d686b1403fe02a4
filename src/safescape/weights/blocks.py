"""The models between a base and its finetune with one coordinate per block of layers, measured and saved.

A saved model has the bits that were measured: its weights come from the same arithmetic and are rounded once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Container, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from safescape.errors import InputError
from safescape.survey import Point
from safescape.weights.checkpoint import ModelWeights
from safescape.weights.chosen import layer_of
from safescape.weights.directions import Direction, InterpolationDirection
from safescape.weights.lora import Adapted
from safescape.weights.models import Model, checkpoint_of
from safescape.weights.mover import Mover
from safescape.weights.subspace import Displacement, Term, aligned

_AFTER_LAYERS = ("lm_head", "embed_out", "norm", "ln_f")

_COPIED = ("*.json", "*.jinja", "*.model", "*.txt")
_NOT_COPIED = {"finetune.json", "training.json", "trainer_state.json", "adapter_config.json", "repair.json"}


class BlockSpace:
    """A space with one coordinate per block of layers: 0 takes the block from the base, 1 from the finetune.

    The numbers of layers of two blocks differ by at most one. Embeddings belong to the first block, the final norm and
    the output head to the last.

    Raises:
        InputError: The model has fewer layers than blocks.

    """

    def __init__(self, base: ModelWeights, tuned: ModelWeights, blocks: int = 1) -> None:
        names = base.names()
        layers = {number for name in names if (number := layer_of(name)) is not None}
        if blocks > max(1, len(layers)):
            raise InputError(f"--layers {blocks}: the model has {len(layers)} layers; give fewer blocks")
        self._direction = InterpolationDirection(aligned(base, tuned, "the finetune"))
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


def save_blend(base: Model, tuned: Model, space: BlockSpace, point: Point, dtype: torch.dtype, directory: Path) -> None:
    """Save a point as a checkpoint with the finetune's configuration, tokenizer and shards, one in memory at a time.

    Files of an interrupted save are overwritten.
    """
    _copy_files(tuned.directory, directory, _NOT_COPIED)
    files = checkpoint_of(tuned.weights)
    copies = files.inventory.copies
    of_base = {identity: stored for stored, identity in base.weights.inventory.identities.items()}
    names = {stored: of_base[identity] for stored, identity in files.inventory.identities.items()}
    for path in sorted({stored.path for stored in files.stored.values()}):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        # A tied tensor that is stored twice gets the moved values twice. Other tensors stay as they are.
        moving = {name: names[copies.get(name, name)] for name in tensors if copies.get(name, name) in names}
        if moving:
            shapes = {moved: tensors[name].shape for name, moved in moving.items()}
            mover = Mover(base.weights, space, shapes, dtype=dtype, device=torch.device("cpu"))
            moved = {name: values.clone() for name, values in mover.move(point)}
            tensors |= {name: moved[source].clone() for name, source in moving.items()}
        save_file(tensors, directory / path.name, metadata=metadata or {"format": "pt"})
    config = directory / "config.json"
    document = json.loads(config.read_text(encoding="utf-8"))
    document.pop("torch_dtype", None)
    document["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def save_rescaled(adapter: Adapted, space: BlockSpace, point: Point, directory: Path) -> None:
    """Save a LoRA that has only pairs with every B scaled by the coordinate of its block.

    Files of an interrupted save are overwritten.
    """
    _copy_files(adapter.directory, directory, _NOT_COPIED - {"adapter_config.json"})
    factors = {name: alpha for names, alpha in zip(space.blocks, point.coords, strict=True) for name in names}
    tensors = load_file(adapter.directory / "adapter_model.safetensors")
    for name, key in adapter.ups().items():
        tensors[key] = (tensors[key].float() * factors[name]).to(tensors[key].dtype)
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})


def _copy_files(source: Path, directory: Path, omitted: Container[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for pattern in _COPIED:
        for path in source.glob(pattern):
            if path.name not in omitted:
                shutil.copyfile(path, directory / path.name)


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
