"""Safetensors checkpoints on disk, read lazily, one named tensor at a time, and fingerprints of named tensors.

A checkpoint keeps nothing in memory: a file stays memory-mapped only while one of its tensors is in use.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from safescape.errors import InputError

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Weights(Protocol):
    """Named tensors that are read lazily; the names are those of the checkpoint."""

    def names(self) -> Sequence[str]:
        """Return the names of all tensors, sorted."""

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; the caller must not write into it."""


class Checkpoint:
    """The safetensors files of a local directory, a single file or shards with an index.

    Raises:
        InputError: There is no safetensors file (pickled weights are refused), or a shard is missing, truncated, or
            lacks a tensor of the index.

    """

    def __init__(self, directory: Path) -> None:
        self._files = _files_by_name(directory)

    def names(self) -> Sequence[str]:
        """Return the names of all tensors, sorted."""
        return sorted(self._files)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor from its memory-mapped file; the mapping lives as long as the tensor."""
        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name)

    def is_same_as(self, other: Weights) -> bool:
        """Whether `other` reads the same files."""
        return isinstance(other, Checkpoint) and self._resolved() == other._resolved()

    def _resolved(self) -> dict[str, Path]:
        return {name: path.resolve() for name, path in self._files.items()}


def tensor_names(path: Path) -> set[str]:
    """Return the names of the tensors in one safetensors file.

    Raises:
        InputError: The file is missing or damaged.

    """
    if not path.is_file():
        raise InputError(f"{path}: is missing, though the index names it; download the model again")
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cut short or damaged ({error}); download it again") from error


def fingerprint(names: Iterable[str], read: Callable[[str], Tensor]) -> str:
    """Return `sha256:...` over the names, dtypes, shapes and bytes of tensors, in any order and on any device.

    `read` is called from one thread per core: hashing a large model in one thread takes longer than loading it.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return _combined(threads.map(lambda name: _line(name, read(name)), names))


def fingerprint_of_stream(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the same fingerprint from an iterable that may overwrite each tensor with the next one."""
    return _combined(_line(name, tensor) for name, tensor in tensors)


def inspect(weights: Weights) -> str:
    """Check every value of a checkpoint and return its fingerprint.

    Raises:
        InputError: A tensor contains NaN or infinity.

    """

    def checked(name: str) -> Tensor:
        tensor = weights.tensor(name)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(
                f"the tensor {name} holds NaN or infinity; the checkpoint is broken, train or download it again"
            )
        return tensor

    return fingerprint(weights.names(), checked)


def _combined(lines: Iterable[str]) -> str:
    return "sha256:" + hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _line(name: str, tensor: Tensor) -> str:
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    digest = hashlib.sha256(flat.cpu().numpy().data).hexdigest()
    return f"{name} {tensor.dtype} {tuple(tensor.shape)} {digest}"


def _files_by_name(directory: Path) -> dict[str, Path]:
    index = directory / _INDEX
    if index.is_file():
        try:
            weight_map: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            listed = {name: Path(shard).name for name, shard in weight_map.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{index}: not an index of safetensors shards; download the model again") from error
        held = {shard: tensor_names(directory / shard) for shard in sorted(set(listed.values()))}
        for name, shard in listed.items():
            if name not in held[shard]:
                raise InputError(f"{directory / shard}: lacks the tensor {name} of the index; download the model again")
        return {name: directory / shard for name, shard in listed.items()}
    if (directory / _SINGLE).is_file():
        return dict.fromkeys(tensor_names(directory / _SINGLE), directory / _SINGLE)
    pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
    if pickles:
        raise InputError(
            f"{directory}: has pickled weights only ({pickles[0]}), which can run code when loaded; "
            "convert them with transformers' save_pretrained on a machine you can lose"
        )
    raise InputError(f"{directory}: no {_SINGLE} or {_INDEX} in it; give a directory with a safetensors checkpoint")
