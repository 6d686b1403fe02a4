"""LoRA adapters in PEFT's format: added to a base tensor by tensor, or written scaled by a coordinate.

An adapter changes a weight W to W + scaling·B@A (Hu et al. 2021, arXiv 2106.09685). On the line from a base to its
LoRA finetune, the point α is W + scaling·(αB)@A: the same base with an adapter of its own, so no weight has to move.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig
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

_ROLES = (
    (".lora_A.weight", "A"),
    (".lora_B.weight", "B"),
    (".lora_embedding_A", "embedding_A"),
    (".lora_embedding_B", "embedding_B"),
)


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
        """Return `tensor` plus the product, fp32."""
        return torch.addmm(tensor.float(), self.left.float(), self.right.float(), alpha=self.scaling)


class Adapted:
    """A base with a PEFT LoRA on it: base + scaling·B@A, computed one tensor at a time in fp32.

    Args:
        base: The weights under the adapter.
        directory: Contains adapter_config.json and adapter_model.safetensors.

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
        self._file = safe_open(self._path, framework="pt")
        self._parts = self._match(names)

    def __reduce__(self) -> tuple[type[Adapted], tuple[Weights, Path]]:
        """Pickle the location; a memory-mapped file cannot be pickled."""
        return Adapted, (self.base, self._path.parent)

    def names(self) -> Sequence[str]:
        """Return the names of all tensors, sorted; they are the base's."""
        return self.base.names()

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; fp32 if the adapter changes it, else the base's dtype."""
        parts = self._parts.get(name)
        if parts is None:
            return self.base.tensor(name)
        # A module saved whole replaces the base's; PEFT saves an adapted embedding whole beside its pair.
        under = self._read(parts["whole"]) if "whole" in parts else self.base.tensor(name)
        return self._product(parts).added_to(under) if _is_pair(parts) else under

    def linear_pairs(self) -> dict[str, LowRank]:
        """Return the adapter's change of each linear layer, by module: (outputs × rank) @ (rank × inputs)."""
        pairs = {}
        for parts in self._parts.values():
            if "A" in parts:
                down, up = self._read(parts["A"]), self._read(parts["B"])
                pairs[parts["module"]] = LowRank(up, down, self._scaling(parts["module"], down.shape[0]))
        return pairs

    def other_changes(self) -> list[str]:
        """Return the tensors that are not changed by a pair on a linear layer, sorted: embeddings, or saved whole."""
        return sorted(name for name, parts in self._parts.items() if "whole" in parts or "A" not in parts)

    def _product(self, parts: Mapping[str, str]) -> LowRank:
        is_embedding = "embedding_A" in parts
        a, b = ("embedding_A", "embedding_B") if is_embedding else ("A", "B")
        down, up = self._read(parts[a]), self._read(parts[b])
        scaling = self._scaling(parts["module"], down.shape[0])
        # Embeddings and fan-in layers (GPT-2's Conv1D) store the transposed weight.
        if is_embedding or self._config.fan_in_fan_out:
            return LowRank(down.T, up.T, scaling)
        return LowRank(up, down, scaling)

    def _scaling(self, module: str, rank: int) -> float:
        alpha = _value_for(self._config.alpha_pattern, module, self._config.lora_alpha)
        return float(alpha / rank**0.5) if self._config.use_rslora else float(alpha / rank)

    def _read(self, key: str) -> Tensor:
        return self._file.get_tensor(key)

    def _match(self, keys: set[str]) -> dict[str, dict[str, str]]:
        """Group the adapter's tensors by the base tensor that they change, and check their shapes.

        Returns:
            For each base tensor the adapter's keys by role (`A`, `B`, `embedding_A`, `embedding_B`, `whole`), and
            the name of the module under `module`.

        """
        known = set(self.base.names())
        matched: dict[str, dict[str, str]] = {}
        for key in sorted(keys):
            module, role = _role_of(key)
            name = f"{module}.weight" if role != "whole" else module
            if name not in known:
                raise InputError(
                    f"{self._path}: the adapter changes {name}, which the base does not have; "
                    "give the base that the adapter was trained on"
                )
            matched.setdefault(name, {"module": module})[role] = key
        for name, parts in matched.items():
            if not _is_pair(parts) and set(parts) != {"module", "whole"}:
                raise InputError(
                    f"{self._path}: half of the adapter's pair for {name} is missing; save the adapter again"
                )
            expected = self.base.tensor(name).shape
            shapes = [self._read(parts["whole"]).shape] if "whole" in parts else []
            shapes += [self._product(parts).shape] if _is_pair(parts) else []
            for shape in shapes:
                if shape != expected:
                    raise InputError(
                        f"{self._path}: the adapter's {name} has shape {tuple(shape)}, the base's {tuple(expected)}; "
                        "give the base that the adapter was trained on"
                    )
        return matched


class ScaledAdapter:
    """A LoRA that can be written as an adapter α times as large.

    Args:
        adapted: A base with the LoRA on it, which must change linear layers only (see `Adapted.other_changes`).

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

        Args:
            directory: An empty directory.
            alpha: The factor.
            dtype: The dtype of the written pairs.

        Returns:
            The factor after rounding: ⟨written, adapter⟩ / ⟨adapter, adapter⟩. In fp32 it is `alpha`.

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


def _role_of(key: str) -> tuple[str, str]:
    """Split the name of an adapter's tensor into the module that it changes and its role there."""
    bare = key.removeprefix("base_model.model.")
    for suffix, role in _ROLES:
        if bare.endswith(suffix):
            return bare.removesuffix(suffix), role
    return bare.replace(".base_layer.", "."), "whole"


def _is_pair(parts: Mapping[str, str]) -> bool:
    return {"A", "B"} <= set(parts) or {"embedding_A", "embedding_B"} <= set(parts)


def _value_for(pattern: Mapping[str, int] | None, module: str, default: int) -> int:
    """Return the value of the first pattern that matches a module, as PEFT matches `rank_pattern`."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default


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
