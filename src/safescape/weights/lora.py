"""LoRA adapters in PEFT's format: added to a base tensor by tensor, or written scaled by a coordinate.

An adapter changes a weight W to W + scaling·B@A (Hu et al. 2021, arXiv 2106.09685). On the line from a base to its
LoRA finetune, the point α is W + scaling·(αB)@A: the same base with an adapter of its own, so no weight has to move.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad

from safescape.errors import InputError, first_line
from safescape.weights.checkpoint import Weights, tensor_names

UNSUPPORTED_LORA_FIELDS = (
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
"""Fields of a PEFT configuration with which, when set, a LoRA computes something else than base + scaling·B@A."""

_ROLES = {".lora_A.weight": "A", ".lora_B.weight": "B", ".lora_embedding_A": "A", ".lora_embedding_B": "B"}
"""The role of an adapter's tensor in its pair B@A, by the end of its name."""


class LowRank(NamedTuple):
    """A low-rank matrix: scaling · left @ right."""

    left: Tensor
    """Shape (rows, rank)."""
    right: Tensor
    """Shape (rank, columns)."""
    scaling: float

    @property
    def shape(self) -> torch.Size:
        """The shape of the product, (rows, columns)."""
        return torch.Size((self.left.shape[0], self.right.shape[1]))

    def added_to(self, tensor: Tensor) -> Tensor:
        """Return `tensor` plus the product, fp32, on the tensor's device."""
        left, right = (factor.to(tensor.device).float() for factor in (self.left, self.right))
        return torch.addmm(tensor.float(), left, right, alpha=self.scaling)


class Adapted:
    """A base with a PEFT LoRA on it: base + scaling·B@A, computed one tensor at a time in fp32.

    The directory contains adapter_config.json and adapter_model.safetensors.

    Raises:
        InputError: The adapter is not a plain LoRA, is incomplete, or was trained on another base.

    """

    def __init__(self, base: Weights, directory: Path) -> None:
        self.base = base
        self._path = directory / "adapter_model.safetensors"
        self._config = _lora_config(directory)
        if not self._path.is_file():
            if (directory / "adapter_model.bin").is_file():
                raise InputError(f"{directory}: the adapter is pickled; save it again with safe_serialization=True")
            raise InputError(f"{directory}: no adapter_model.safetensors in it; give a PEFT adapter directory")
        names = tensor_names(self._path)
        # An adapter is small and has hundreds of tensors, so its file stays mapped.
        self._read = safe_open(self._path, framework="pt").get_tensor
        self._keys = self._keys_by_tensor(names)
        self._check_shapes()

    def __reduce__(self) -> tuple[type[Adapted], tuple[Weights, Path]]:
        """Pickle the location; a memory-mapped file cannot be pickled."""
        return Adapted, (self.base, self._path.parent)

    def names(self) -> Sequence[str]:
        """Return the names of all tensors, sorted; they are the base's."""
        return self.base.names()

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; fp32 if the adapter changes it, else the base's dtype."""
        keys = self._keys.get(name, {})
        # A module saved whole replaces the base's; PEFT saves an adapted embedding whole beside its pair.
        under = self._read(keys["whole"]) if "whole" in keys else self.base.tensor(name)
        return self._product(name).added_to(under) if "A" in keys else under

    def linear_pairs(self) -> dict[str, LowRank]:
        """Return the adapter's change of each linear layer, by module: (outputs × rank) @ (rank × inputs)."""
        pairs = (name for name in self._keys if self._is_linear_pair(name))
        return {name.removesuffix(".weight"): self._pair(name) for name in pairs}

    def other_changes(self) -> list[str]:
        """Return the tensors that are not changed by a pair on a linear layer, sorted: embeddings, or saved whole."""
        return sorted(name for name, keys in self._keys.items() if "whole" in keys or not self._is_linear_pair(name))

    def _is_linear_pair(self, name: str) -> bool:
        return ".lora_A." in self._keys[name].get("A", "")

    def _pair(self, name: str) -> LowRank:
        """Return scaling·B@A as the adapter stores it."""
        down, up = self._read(self._keys[name]["A"]), self._read(self._keys[name]["B"])
        return LowRank(up, down, self._scaling(name.removesuffix(".weight"), down.shape[0]))

    def _product(self, name: str) -> LowRank:
        """Return scaling·B@A in the shape of the base's tensor."""
        pair = self._pair(name)
        # Embeddings and fan-in layers (GPT-2's Conv1D) store the transposed weight.
        if self._config.fan_in_fan_out or not self._is_linear_pair(name):
            return LowRank(pair.right.T, pair.left.T, pair.scaling)
        return pair

    def _scaling(self, module: str, rank: int) -> float:
        patterns = self._config.alpha_pattern or {}
        alpha = patterns.get(get_pattern_key([*patterns], module), self._config.lora_alpha)
        return float(alpha / rank**0.5) if self._config.use_rslora else float(alpha / rank)

    def _keys_by_tensor(self, keys: set[str]) -> dict[str, dict[str, str]]:
        """Return the adapter's keys by the base tensor that they change, and by role there: `A`, `B` or `whole`."""
        known = set(self.base.names())
        found: dict[str, dict[str, str]] = {}
        for key in sorted(keys):
            name, role = place_of(key)
            if name not in known:
                raise InputError(
                    f"{self._path}: the adapter changes {name}, which the base does not have; "
                    "give the base that the adapter was trained on"
                )
            found.setdefault(name, {})[role] = key
        for name, roles in found.items():
            if ("A" in roles) != ("B" in roles):
                raise InputError(
                    f"{self._path}: half of the adapter's pair for {name} is missing; save the adapter again"
                )
        return found

    def _check_shapes(self) -> None:
        for name, keys in self._keys.items():
            expected = self.base.tensor(name).shape
            shapes = [self._read(keys["whole"]).shape] if "whole" in keys else []
            shapes += [self._product(name).shape] if "A" in keys else []
            for shape in shapes:
                if shape != expected:
                    raise InputError(
                        f"{self._path}: the adapter's {name} has shape {tuple(shape)}, the base's {tuple(expected)}; "
                        "give the base that the adapter was trained on"
                    )


class ScaledAdapter:
    """A LoRA that can be written as an adapter α times as large.

    It must change linear layers only (see `Adapted.other_changes`).
    """

    def __init__(self, adapted: Adapted) -> None:
        self._adapted = adapted
        pairs = adapted.linear_pairs()
        self.modules = tuple(sorted(pairs))
        """The modules that the LoRA changes, by the checkpoint's names."""
        self.rank = max(pair.right.shape[0] for pair in pairs.values())
        """The largest rank of its pairs."""

    def write(self, directory: Path, alpha: float, dtype: torch.dtype) -> float:
        """Write a PEFT adapter with scaling 1: A as it is, and α·scaling·B computed in fp32.

        All pairs are padded with zeros to the largest rank.

        Returns:
            The factor after rounding to `dtype`: ⟨written, adapter⟩ / ⟨adapter, adapter⟩. In fp32 it is `alpha`.

        """
        tensors: dict[str, Tensor] = {}
        along, square = 0.0, 0.0
        for module, pair in self._adapted.linear_pairs().items():
            left = (pair.left.float() * (alpha * pair.scaling)).to(dtype)
            right = pair.right.to(dtype)
            missing = self.rank - right.shape[0]
            tensors[f"base_model.model.{module}.lora_A.weight"] = pad(right, (0, 0, 0, missing)).contiguous()
            tensors[f"base_model.model.{module}.lora_B.weight"] = pad(left, (0, missing)).contiguous()
            if dtype != torch.float32:
                along += _dot(LowRank(left, right, 1.0), pair)
                square += _dot(pair, pair)
        save_file(tensors, directory / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.rank,
            "target_modules": sorted({module.rpartition(".")[2] for module in self.modules}),
            "bias": "none",
        }
        (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        return along / square if square else alpha


def _dot(a: LowRank, b: LowRank) -> float:
    """⟨a, b⟩ of the full matrices, from rank × rank products: tr((R_b R_aᵀ)(L_aᵀ L_b))."""
    lefts = a.left.double().T @ b.left.double()
    rights = a.right.double() @ b.right.double().T
    return a.scaling * b.scaling * float((lefts * rights).sum())


def place_of(key: str) -> tuple[str, str]:
    """Return the base tensor that an adapter's tensor changes, and its role there."""
    bare = key.removeprefix("base_model.model.")
    for suffix, role in _ROLES.items():
        if bare.endswith(suffix):
            return f"{bare.removesuffix(suffix)}.weight", role
    return bare.replace(".base_layer.", "."), "whole"


def _lora_config(directory: Path) -> LoraConfig:
    path = directory / "adapter_config.json"
    try:
        given: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{directory}: no adapter_config.json in it; give a PEFT adapter directory") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); save the adapter again") from error
    if not isinstance(given, dict):
        raise InputError(f"{path}: is not a JSON object; save the adapter again")
    if given.get("peft_type") != "LORA":
        raise InputError(f"{path}: is a {given.get('peft_type')} adapter, expected LORA; merge it into its base first")
    for field in UNSUPPORTED_LORA_FIELDS:
        if given.get(field):
            raise InputError(
                f"{path}: uses {field}, expected a plain LoRA; merge it into its base with merge_and_unload"
            )
    try:
        return LoraConfig.from_pretrained(str(directory))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: PEFT cannot read it ({first_line(error)}); save the adapter again") from error
