"""Write a model between base and finetune to disk: a checkpoint in the finetune's files, or its adapter rescaled.

What is written are the very weights that were measured: the same arithmetic, rounded once to the same dtype.
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

__all__ = ["holds_pairs_alone", "save_blend", "save_rescaled"]

_KEPT = ("*.json", "*.jinja", "*.model", "*.txt")
_NOT_KEPT = ("finetune.json", "training.json", "trainer_state.json", "adapter_config.json")


def save_blend(
    base: Model, tuned: Model, blends: BlockSpace, point: Point, dtype: torch.dtype, directory: Path
) -> None:
    """Save a point as a checkpoint, in files like those of the finetune, one of them in memory at a time.

    Args:
        base: The origin.
        tuned: Whose configuration, tokenizer and file names are taken.
        blends: What the point's coordinates mean.
        point: Which one.
        dtype: Of the weights.
        directory: Empty, or not there yet.

    """
    directory.mkdir(parents=True, exist_ok=True)
    for pattern in _KEPT:
        for path in tuned.directory.glob(pattern):
            if path.name not in _NOT_KEPT:
                shutil.copyfile(path, directory / path.name)
    for path in sorted(tuned.directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names, metadata = list(file.keys()), file.metadata()
            tensors = {name: file.get_tensor(name) for name in names}
        moving = {name: tensor.shape for name, tensor in tensors.items() if tensor.is_floating_point()}
        if moving:
            mover = Mover(base.weights, blends, moving, dtype=dtype, device=torch.device("cpu"))
            tensors |= {name: values.clone() for name, values in mover.moving(point)}
        save_file(tensors, directory / path.name, metadata=metadata or {"format": "pt"})
    config = directory / "config.json"
    document = json.loads(config.read_text(encoding="utf-8"))
    document.pop("torch_dtype", None)
    document["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def save_rescaled(adapter: Path, blends: BlockSpace, point: Point, directory: Path) -> None:
    """Save a LoRA with every B scaled by the coordinate of its block.

    Args:
        adapter: A PEFT directory, of pairs alone.
        blends: What the point's coordinates mean.
        point: Which one.
        directory: Empty, or not there yet.

    """
    directory.mkdir(parents=True, exist_ok=True)
    for pattern in _KEPT:
        for path in adapter.glob(pattern):
            if path.name not in _NOT_KEPT or path.name == "adapter_config.json":
                shutil.copyfile(path, directory / path.name)
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        tensors: Mapping[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    factors = {name: alpha for names, alpha in zip(blends.blocks, point.coords, strict=True) for name in names}
    scaled = {}
    for key, tensor in tensors.items():
        bare = key.removeprefix("base_model.model.")
        for mark in (".lora_B.weight", ".lora_embedding_B"):
            if bare.endswith(mark):
                tensor = (tensor.float() * factors[f"{bare.removesuffix(mark)}.weight"]).to(tensor.dtype)
        scaled[key] = tensor
    save_file(scaled, directory / "adapter_model.safetensors", metadata={"format": "pt"})


def holds_pairs_alone(adapter: Path) -> bool:
    """Whether an adapter consists of low-rank pairs, which scaling B scales exactly."""
    try:
        with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
            return all(".lora_" in key for key in file.keys())  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{adapter}: cannot be read ({error.strerror})") from error
