"""The weights of a model on disk: its own parameters, read lazily, one named tensor at a time, and fingerprints.

A checkpoint keeps nothing in memory: a file stays memory-mapped only while one of its tensors is in use.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from safescape.errors import InputError
from safescape.weights.architecture import Architecture, architecture_of
from safescape.weights.files import Stored, stored_tensors
from safescape.weights.inventory import Inventory, empty_model, inventory_of
from safescape.weights.parts import Part, joined


class Weights(Protocol):
    """Named tensors that are read lazily; the names are those of the checkpoint."""

    def names(self) -> Sequence[str]:
        """Return the names of all tensors, sorted."""

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; the caller must not write into it."""

    def part(self, name: str, part: Part) -> Tensor:
        """Read a part of one tensor, contiguous; see `Part.of`. The caller must not write into it."""


class ModelWeights(Weights, Protocol):
    """The parameters of a model, of which it is known what they are to the model."""

    @property
    def inventory(self) -> Inventory:
        """What the stored tensors are to the model; its parameters and parts are the names."""


class Checkpoint:
    """The model in a local directory with safetensors files; its tensors are the model's own parameters.

    What the model's parameters are is found out when it is first asked for. `name` is the model's name in messages,
    the directory by default.

    Raises:
        InputError: There is no safetensors file (pickled weights are refused), or a shard is missing, truncated, or
            holds other tensors than the index says.

    """

    def __init__(self, directory: Path, name: str | None = None, *, trust_remote_code: bool = False) -> None:
        self.directory = directory
        self.stored: Mapping[str, Stored] = stored_tensors(directory)
        """Every tensor in the files, also those that are no parameters."""
        self._name, self._trust_remote_code = name or str(directory), trust_remote_code

    @functools.cached_property
    def inventory(self) -> Inventory:
        """What the stored tensors are to the model.

        Raises:
            InputError: transformers cannot use the configuration, or the files are not those of such a model.

        """
        return inventory_of(self._empty_model(), self.stored, self.tensor, self._name)

    @property
    def architecture(self) -> Architecture:
        """The modules of the model, built once in a process; raises what `inventory` raises."""
        return architecture_of(self._empty_model())

    def names(self) -> Sequence[str]:
        """Return the names of the model's own parameters, sorted; tied ones once, fused ones by their parts."""
        return sorted({**self.inventory.parameters, **self.inventory.parts})

    def tensor(self, name: str) -> Tensor:
        """Read one stored tensor from its memory-mapped file; the mapping lives as long as the tensor."""
        with safe_open(self.stored[name].path, framework="pt") as file:
            return file.get_tensor(name)

    def part(self, name: str, part: Part) -> Tensor:
        """Read a part of one stored tensor, and nothing else of its file."""
        with safe_open(self.stored[name].path, framework="pt") as file:
            stored = file.get_slice(name)
            return joined([stored[index] for index in part.indices()], part.dim)

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield stored tensors, file by file; every file is mapped once, which is faster than reading one by one."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.stored[name].path, []).append(name)
        for path, inside in by_file.items():
            with safe_open(path, framework="pt") as file:
                for name in inside:
                    yield name, file.get_tensor(name)

    def is_same_as(self, other: Weights) -> bool:
        """Whether `other` reads the same files."""
        return isinstance(other, Checkpoint) and self._resolved() == other._resolved()

    def _empty_model(self) -> PreTrainedModel:
        config = (self.directory / "config.json").read_text(encoding="utf-8")
        return empty_model(self.directory, config, self._name, trust_remote_code=self._trust_remote_code)

    def _resolved(self) -> dict[str, Path]:
        return {name: tensor.path.resolve() for name, tensor in self.stored.items()}


def fingerprint(names: Iterable[str], read: Callable[[str], Tensor]) -> str:
    """Return `sha256:...` over the names, dtypes, shapes and bytes of tensors, in any order and on any device.

    `read` is called from one thread per core: hashing a large model in one thread takes longer than loading it.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return _combined(threads.map(lambda name: _line(name, read(name)), names))


def fingerprint_of_stream(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the same fingerprint from an iterable that may overwrite each tensor with the next one."""
    return _combined(_line(name, tensor) for name, tensor in tensors)


def inspect(weights: ModelWeights) -> str:
    """Check every value that a model loads, its buffers included, and return the fingerprint.

    Raises:
        InputError: A tensor contains NaN or infinity.

    """
    return fingerprint_of_finite(weights, [*weights.names(), *weights.inventory.buffers])


def fingerprint_of_finite(weights: Weights, names: Iterable[str]) -> str:
    """Return the fingerprint of some tensors; raise InputError if one contains NaN or infinity."""

    def checked(name: str) -> Tensor:
        tensor = weights.tensor(name)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(
                f"the tensor {name} holds NaN or infinity; the checkpoint is broken, train or download it again"
            )
        return tensor

    return fingerprint(names, checked)


def _combined(lines: Iterable[str]) -> str:
    return "sha256:" + hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _line(name: str, tensor: Tensor) -> str:
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    digest = hashlib.sha256(flat.cpu().numpy().data).hexdigest()
    return f"{name} {tensor.dtype} {tuple(tensor.shape)} {digest}"
