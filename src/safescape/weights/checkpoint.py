"""Named tensors on disk, read one at a time: safetensors checkpoints, and a base with a LoRA adapter on it.

Nothing of a checkpoint is kept: a file is memory-mapped for as long as one of its tensors is in use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from torch import Tensor

from safescape.errors import InputError

__all__ = ["BEYOND_LORA", "Adapted", "Checkpoint", "LowRank", "Resident", "Weights", "size_of"]

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
BEYOND_LORA = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "kasa_config",
    "monteclora_config",
    "velora_config",
    "arrow_config",
    "alora_invocation_tokens",
)
"""Fields of a PEFT configuration that, when set, make of a LoRA something else than base + scaling·B@A."""


class Weights(Protocol):
    """Lazily readable named tensors; names are the checkpoint's."""

    def names(self) -> Sequence[str]:
        """Every tensor's name, sorted."""
        ...

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; the caller must not write into it."""
        ...


class Resident:
    """A checkpoint whose tensors stay on a device from the time each is first read."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self._weights, self._device = weights, device
        self._tensors: dict[str, Tensor] = {}

    def names(self) -> Sequence[str]:
        """Every tensor's name, sorted."""
        return self._weights.names()

    def tensor(self, name: str) -> Tensor:
        """Return one tensor, on the device."""
        if name not in self._tensors:
            self._tensors[name] = self._weights.tensor(name).to(self._device)
        return self._tensors[name]


def size_of(weights: Weights, names: Iterable[str]) -> int:
    """Return how many bytes tensors have as they are stored."""
    return sum(tensor.numel() * tensor.element_size() for tensor in map(weights.tensor, names))


class Checkpoint:
    """The safetensors files of a local directory, in one file or in shards.

    Raises:
        InputError: there are none (pickled weights are refused), a shard is missing, cut short, or not what the
            index says.

    """

    def __init__(self, directory: Path) -> None:
        self._files = _files_by_name(directory)

    def names(self) -> Sequence[str]:
        """Every tensor's name, sorted."""
        return sorted(self._files)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor from its memory-mapped file; the mapping lives as long as the tensor."""
        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name)

    def is_same_as(self, other: Weights) -> bool:
        """Whether other weights are these very files."""
        return isinstance(other, Checkpoint) and _resolved(self._files) == _resolved(other._files)


def _resolved(files: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path.resolve() for name, path in files.items()}


def _files_by_name(directory: Path) -> dict[str, Path]:
    index = directory / _INDEX
    if index.is_file():
        try:
            listed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{index}: not an index of safetensors shards; download the model again") from error
        held = {shard: _names_in(directory / Path(shard).name) for shard in sorted(set(listed.values()))}
        for name, shard in listed.items():
            if name not in held[shard]:
                raise InputError(f"{directory / shard}: lacks the tensor {name} of the index; download the model again")
        return {name: directory / Path(shard).name for name, shard in listed.items()}
    if (directory / _SINGLE).is_file():
        return dict.fromkeys(_names_in(directory / _SINGLE), directory / _SINGLE)
    pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
    if pickles:
        raise InputError(
            f"{directory}: has pickled weights only ({pickles[0]}), which can run code when loaded; "
            "convert them with transformers' save_pretrained on a machine you can lose"
        )
    raise InputError(f"{directory}: no {_SINGLE} or {_INDEX} in it; give a directory with a safetensors checkpoint")


def _names_in(path: Path) -> set[str]:
    if not path.is_file():
        raise InputError(f"{path}: is missing, though the index names it; download the model again")
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cut short or damaged ({error}); download it again") from error


class LowRank(NamedTuple):
    """A low-rank difference: scaling · left @ right."""

    left: Tensor
    right: Tensor
    scaling: float

    @property
    def shape(self) -> torch.Size:
        """Of the product."""
        return torch.Size((self.left.shape[0], self.right.shape[1]))

    def added_to(self, under: Tensor) -> Tensor:
        """Return the sum with a tensor, fp32."""
        return torch.addmm(under.float(), self.left.float(), self.right.float(), alpha=self.scaling)


class Adapted:
    """A base with a PEFT LoRA on it: base + scaling·B@A, computed one tensor at a time in fp32.

    Args:
        base: The weights under the adapter.
        directory: Holds adapter_config.json and adapter_model.safetensors.

    Raises:
        InputError: it is no LoRA that can be added exactly, or it was made for another base.

    """

    def __init__(self, base: Weights, directory: Path) -> None:
        self.base = base
        self._path = directory / "adapter_model.safetensors"
        self._config = _lora_config(directory)
        if not self._path.is_file():
            if (directory / "adapter_model.bin").is_file():
                raise InputError(f"{directory}: the adapter is pickled; save it again with safe_serialization=True")
            raise InputError(f"{directory}: no adapter_model.safetensors in it; give a PEFT adapter directory")
        names = _names_in(self._path)
        # an adapter is small and has hundreds of tensors: its file stays mapped
        self._file = safe_open(self._path, framework="pt")
        self._parts = self._match(names)

    def __reduce__(self) -> tuple[type[Adapted], tuple[Weights, Path]]:
        """Travel to another process as where it lies; a mapped file cannot."""
        return Adapted, (self.base, self._path.parent)

    def names(self) -> Sequence[str]:
        """Every tensor's name, sorted: the base's."""
        return self.base.names()

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; in fp32 where the adapter changes it, else as the base has it."""
        parts = self._parts.get(name)
        if parts is None:
            return self.base.tensor(name)
        # a module saved whole stands in for the base's; an adapted embedding is saved so beside its pair
        under = self._read(parts["whole"]) if "whole" in parts else self.base.tensor(name)
        if not _is_pair(parts):
            return under
        return self._factors(parts).added_to(under)

    def linear(self) -> dict[str, LowRank]:
        """Return, by module, what the adapter adds to a layer that multiplies: (outputs × rank) @ (rank × inputs)."""
        found = {}
        for parts in self._parts.values():
            if "A" in parts:
                down, up = self._read(parts["A"]), self._read(parts["B"])
                found[parts["module"]] = LowRank(up, down, self._scaling(parts["module"], down.shape[0]))
        return found

    def beyond_linear(self) -> list[str]:
        """Return the tensors that the adapter changes otherwise, sorted: saved whole, or an embedding's."""
        return sorted(name for name, parts in self._parts.items() if "whole" in parts or "A" not in parts)

    def _factors(self, parts: Mapping[str, str]) -> LowRank:
        is_embedding = "embedding_A" in parts
        a, b = ("embedding_A", "embedding_B") if is_embedding else ("A", "B")
        down, up = self._read(parts[a]), self._read(parts[b])
        scaling = self._scaling(parts["module"], down.shape[0])
        # an embedding and a layer of the fan-in kind hold their weight the other way round
        return (
            LowRank(down.T, up.T, scaling)
            if is_embedding or self._config.fan_in_fan_out
            else LowRank(up, down, scaling)
        )

    def _scaling(self, module: str, rank: int) -> float:
        alpha = _for_module(self._config.alpha_pattern, module, self._config.lora_alpha)
        return float(alpha / rank**0.5) if self._config.use_rslora else float(alpha / rank)

    def _read(self, key: str) -> Tensor:
        return self._file.get_tensor(key)

    def _match(self, names: set[str]) -> dict[str, dict[str, str]]:
        """Sort the adapter's tensors by the base tensor each belongs to, and check the shapes."""
        known = set(self.base.names())
        parts: dict[str, dict[str, str]] = {}
        for key in sorted(names):
            module, role = _role(key)
            name = f"{module}.weight" if role != "whole" else module
            if name not in known:
                raise InputError(
                    f"{self._path}: the adapter changes {name}, which the base does not have; "
                    "give the base that the adapter was trained on"
                )
            parts.setdefault(name, {"module": module})[role] = key
        for name, found in parts.items():
            if not _is_pair(found) and set(found) != {"module", "whole"}:
                raise InputError(
                    f"{self._path}: half of the adapter's pair for {name} is missing; save the adapter again"
                )
            expected = self.base.tensor(name).shape
            for given in ([self._read(found["whole"]).shape] if "whole" in found else []) + (
                [self._factors(found).shape] if _is_pair(found) else []
            ):
                if given != expected:
                    raise InputError(
                        f"{self._path}: the adapter's {name} has shape {tuple(given)}, the base's {tuple(expected)}; "
                        "give the base that the adapter was trained on"
                    )
        return parts


def _role(key: str) -> tuple[str, str]:
    """Split an adapter's tensor name into the module it changes and what it is there."""
    bare = key.removeprefix("base_model.model.")
    for mark, role in (
        (".lora_A.weight", "A"),
        (".lora_B.weight", "B"),
        (".lora_embedding_A", "embedding_A"),
        (".lora_embedding_B", "embedding_B"),
    ):
        if bare.endswith(mark):
            return bare.removesuffix(mark), role
    return bare.replace(".base_layer.", "."), "whole"


def _is_pair(parts: Mapping[str, str]) -> bool:
    return {"A", "B"} <= set(parts) or {"embedding_A", "embedding_B"} <= set(parts)


def _for_module(pattern: Mapping[str, int] | None, module: str, otherwise: int) -> int:
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return otherwise


def _lora_config(directory: Path) -> LoraConfig:
    path = directory / "adapter_config.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{directory}: no adapter_config.json in it; give a PEFT adapter directory") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); save the adapter again") from error
    if given.get("peft_type") != "LORA":
        raise InputError(f"{path}: is a {given.get('peft_type')} adapter, expected LORA; merge it into its base first")
    for field in BEYOND_LORA:
        if given.get(field):
            raise InputError(
                f"{path}: uses {field}, expected a plain LoRA; merge it into its base with merge_and_unload"
            )
    try:
        return LoraConfig.from_pretrained(str(directory))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: PEFT cannot read it ({error}); save the adapter again") from error
