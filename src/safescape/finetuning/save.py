"""Saving a model between a base and its finetune: as a checkpoint, or as the finetune's adapter with scaled pairs.

The saved weights have the bits that were measured: they come from the same arithmetic and are rounded once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from safescape.errors import InputError
from safescape.survey import Point
from safescape.weights import BlockSpace, Model, Mover

_COPIED = ("*.json", "*.jinja", "*.model", "*.txt")
_NOT_COPIED = ("finetune.json", "training.json", "trainer_state.json", "adapter_config.json", "repair.json")


def save_blend(base: Model, tuned: Model, space: BlockSpace, point: Point, dtype: torch.dtype, directory: Path) -> None:
    """Save a point as a checkpoint with the finetune's files and shards, one shard in memory at a time.

    Args:
        base: The origin.
        tuned: The finetune, whose configuration, tokenizer and file names are used.
        space: Maps the point's coordinates to directions.
        point: The point to save.
        dtype: The dtype of the weights.
        directory: The directory; files of an interrupted save are overwritten.

    """
    directory.mkdir(parents=True, exist_ok=True)
    for pattern in _COPIED:
        for path in tuned.directory.glob(pattern):
            if path.name not in _NOT_COPIED:
                shutil.copyfile(path, directory / path.name)
    for path in sorted(tuned.directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names, metadata = list(file.keys()), file.metadata()
            tensors = {name: file.get_tensor(name) for name in names}
        moving = {name: tensor.shape for name, tensor in tensors.items() if tensor.is_floating_point()}
        if moving:
            mover = Mover(base.weights, space, moving, dtype=dtype, device=torch.device("cpu"))
            tensors |= {name: values.clone() for name, values in mover.moving(point)}
        save_file(tensors, directory / path.name, metadata=metadata or {"format": "pt"})
    config = directory / "config.json"
    document = json.loads(config.read_text(encoding="utf-8"))
    document.pop("torch_dtype", None)
    document["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def save_rescaled(adapter: Path, space: BlockSpace, point: Point, directory: Path) -> None:
    """Save a LoRA with every B scaled by the coordinate of its block.

    Args:
        adapter: The directory of a PEFT adapter that has only pairs.
        space: Maps the point's coordinates to blocks of layers.
        point: The point to save.
        directory: The directory; files of an interrupted save are overwritten.

    """
    directory.mkdir(parents=True, exist_ok=True)
    for pattern in _COPIED:
        for path in adapter.glob(pattern):
            if path.name not in _NOT_COPIED or path.name == "adapter_config.json":
                shutil.copyfile(path, directory / path.name)
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        tensors: Mapping[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    factors = {name: alpha for names, alpha in zip(space.blocks, point.coords, strict=True) for name in names}
    scaled = {}
    for key, tensor in tensors.items():
        bare = key.removeprefix("base_model.model.")
        for mark in (".lora_B.weight", ".lora_embedding_B"):
            if bare.endswith(mark):
                tensor = (tensor.float() * factors[f"{bare.removesuffix(mark)}.weight"]).to(tensor.dtype)
        scaled[key] = tensor
    save_file(scaled, directory / "adapter_model.safetensors", metadata={"format": "pt"})


def has_only_pairs(adapter: Path) -> bool:
    """Whether an adapter has only low-rank pairs, so that scaling B scales it exactly.

    Raises:
        InputError: The adapter cannot be read.

    """
    try:
        with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
            return all(".lora_" in key for key in file.keys())  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{adapter}: cannot be read ({error.strerror})") from error
