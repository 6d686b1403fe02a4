"""LoRA adapters in PEFT's format: merged into a base tensor by tensor, or written scaled by a coordinate.

An adapter changes a weight W to W + scaling·B@A (Hu et al. 2021, arXiv 2106.09685). On the line from a base to its
LoRA finetune, the point α is W + scaling·(αB)@A: the same base with an adapter of its own, so no weight has to move.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad

from safescape.errors import InputError
from safescape.weights.architecture import Architecture
from safescape.weights.checkpoint import Checkpoint
from safescape.weights.files import tensor_names
from safescape.weights.fused import views_of_parts
from safescape.weights.inventory import Inventory
from safescape.weights.lora_changes import Change, Layout, LowRank, Pair, ParameterPair, PartOfPair, Shift, part_of
from safescape.weights.lora_config import read_lora_config
from safescape.weights.parts import Part

_log = logging.getLogger(__name__)

_COMPARABLE = (
    {torch.float32},
    {torch.bfloat16},
    {torch.float16},
    {torch.float32, torch.bfloat16},
    {torch.float32, torch.float16},
)
"""Dtypes of two copies of a tensor of which one is the other, rounded."""


class Adapted:
    """A base with a PEFT LoRA merged into it as PEFT does, computed one tensor at a time in fp32.

    Args:
        base: The base's tensors.
        directory: Contains adapter_config.json and adapter_model.safetensors.

    Raises:
        InputError: The adapter is not one that is computed exactly, is incomplete, or was trained on another base.

    """

    def __init__(self, base: Checkpoint | Adapted, directory: Path) -> None:
        self.base = base
        self.directory = directory
        self._path = directory / "adapter_model.safetensors"
        config = read_lora_config(directory)
        if not self._path.is_file():
            if (directory / "adapter_model.bin").is_file():
                raise InputError(f"{directory}: the adapter is pickled; save it again with safe_serialization=True")
            raise InputError(f"{directory}: no adapter_model.safetensors in it; give a PEFT adapter directory")
        layout = Layout(self._path, tensor_names(self._path), config, base.architecture, base.inventory)
        # An adapter is small and has hundreds of tensors, so its file stays mapped.
        self._read = safe_open(self._path, framework="pt").get_tensor
        self._changes: dict[str, tuple[Change, ...]] = {}
        # A tied tensor has one place, at the first of its names.
        places = {live: stored for stored, live in base.inventory.parameters.items()}
        places |= {name: name for name in base.inventory.parts}
        for names, changes in layout.changes(self._read):
            stored = next((places[name] for name in names if name in places), None)
            divided = {stored: changes} if stored is not None else self._divided(names[0], changes)
            for name, some in divided.items():
                self._changes[name] = (*self._changes.get(name, ()), *some)
        self._check_shapes({places[name] for name in base.architecture.vocabulary if name in places})
        self._check_overlap()
        named = config.base_model_name_or_path
        if named and isinstance(base, Checkpoint) and Path(named).is_dir():
            _compare_with_named_base(self._path, base.directory, Path(named), tuple(self._changes))

    def __reduce__(self) -> tuple[type[Adapted], tuple[Checkpoint | Adapted, Path]]:
        """Pickle the location; a memory-mapped file cannot be pickled."""
        return Adapted, (self.base, self.directory)

    @property
    def architecture(self) -> Architecture:
        """The modules of the model; the base's."""
        return self.base.architecture

    @property
    def inventory(self) -> Inventory:
        """What the stored tensors are to the model; the base's."""
        return self.base.inventory

    def names(self) -> Sequence[str]:
        """Return the names of all tensors, sorted; they are the base's."""
        return self.base.names()

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; fp32 if the adapter computes it, else the dtype in which it is stored."""
        tensor = self.base.tensor(name)
        for change in self._changes.get(name, ()):
            tensor = change.applied(tensor, self._read)
        return tensor

    def part(self, name: str, part: Part) -> Tensor:
        """Read a part of one tensor; one that the adapter changes is computed whole."""
        # a product of fewer rows or columns may round otherwise
        return part.of(self.tensor(name)) if self._changes.get(name) else self.base.part(name, part)

    @property
    def changed(self) -> frozenset[str]:
        """The names of the tensors that it changes."""
        return frozenset(self._changes)

    @property
    def has_only_pairs(self) -> bool:
        """Whether each changed tensor has one pair B@A, so that scaling every B scales the adapter."""
        return len(tensor_names(self._path)) == 2 * len(self._pairs()) == 2 * len(self._changes)

    def ups(self) -> dict[str, str]:
        """Return the key of each B in the adapter's file, by the tensor that it changes."""
        return {name: pair.up for name, pair in self._pairs().items()}

    def linear_pairs(self) -> dict[str, LowRank]:
        """Return the adapter's change of each linear layer, by module: (outputs × rank) @ (rank × inputs)."""
        return {pair.module: pair.stored(self._read) for pair in self._pairs().values() if not pair.is_embedding}

    def other_changes(self) -> list[str]:
        """Return the tensors that are not changed by one pair on a linear layer, sorted."""
        pairs = self._pairs()
        return sorted(name for name in self._changes if name not in pairs or pairs[name].is_embedding)

    def _pairs(self) -> dict[str, Pair]:
        """Return the pairs of the tensors that are changed by one pair alone, by tensor."""
        return {
            name: change
            for name, (change, *further) in self._changes.items()
            if isinstance(change, Pair) and change.magnitude is None and not further
        }

    def _divided(self, live: str, changes: tuple[Change, ...]) -> dict[str, tuple[Change, ...]]:
        """Return the changes of a fused parameter, of the model `live`, by the stored tensors that it is made of."""
        parameter = self.architecture.model.get_parameter(live)
        views = views_of_parts(self.architecture.model, {live: parameter})[live]
        found = {name: [part_of(change, parameter.shape, view) for change in changes] for name, view in views.items()}
        is_whole = sum(view.numel() for view in views.values()) == parameter.numel()
        if not is_whole or not found.keys() <= self.inventory.parts.keys() or not all(map(all, found.values())):
            raise InputError(
                f"{self._path}: the adapter changes {live}, which the checkpoint of the base stores under "
                "another name; merge the adapter into its base with merge_and_unload and give the merged model"
            )
        return {name: tuple(part for part in some if part) for name, some in found.items()}

    def _check_shapes(self, vocabulary: set[str]) -> None:
        """Check the shapes of all changes; `vocabulary` are the tensors with a row for each token."""
        for name, changes in self._changes.items():
            expected = self.base.tensor(name).shape
            for change in changes:
                shape = change.misfit(expected, self._read)
                if shape is not None and name in vocabulary and shape[1:] == expected[1:]:
                    raise InputError(
                        f"{self._path}: the adapter's {name} has {shape[0]} rows, the base's {expected[0]}; give the "
                        f"base that the adapter was trained on, resized with resize_token_embeddings({shape[0]})"
                    )
                if shape is not None:
                    raise InputError(
                        f"{self._path}: the adapter's {name} has shape {tuple(shape)}, the base's {tuple(expected)}; "
                        "give the base that the adapter was trained on"
                    )
                if isinstance(change, Pair) and (rank := self._read(change.down).shape[0]) != change.rank:
                    raise InputError(
                        f"{self._path}: has rank {rank} at {change.module}, adapter_config.json says {change.rank}; "
                        "save the adapter again"
                    )

    def _check_overlap(self) -> None:
        """Check that an adapter below this one and this one have a sum."""
        below = self.base
        while isinstance(below, Adapted):
            for name in sorted(self._changes.keys() & below._changes.keys()):
                if not all(_is_sum(change) for change in (*self._changes[name], *below._changes[name])):
                    raise InputError(
                        f"{self._path}: changes {name}, as the adapter in {below.directory} does, and one of the two "
                        "does not only add to it, so that they have no sum; merge the first into its base with "
                        "merge_and_unload and give the merged model as BASE"
                    )
            below = below.base


def _is_sum(change: Change) -> bool:
    return isinstance(change, Shift | ParameterPair | PartOfPair) or (
        isinstance(change, Pair) and change.magnitude is None
    )


@functools.lru_cache(maxsize=16)
def _compare_with_named_base(path: Path, base: Path, named: Path, names: tuple[str, ...]) -> None:
    """Warn, once in a process, if the base that an adapter names is on this disk and has other weights than `base`."""
    try:
        given, expected = Checkpoint(base), Checkpoint(named)
    except InputError:
        return
    if given.is_same_as(expected):
        return
    for name in sorted({*names} & given.stored.keys() & expected.stored.keys()):
        mine, theirs = given.tensor(name), expected.tensor(name)
        # Quantised weights, and two ways of rounding, say nothing about whether the model is the same.
        comparable = {mine.dtype, theirs.dtype} in _COMPARABLE and mine.shape == theirs.shape
        if comparable and not (torch.equal(mine.to(theirs.dtype), theirs) or torch.equal(theirs.to(mine.dtype), mine)):
            _log.warning("%s was trained on %s, whose %s differs from that of %s", path.parent, named, name, base)
            return


class ScaledAdapter:
    """A LoRA that can be written as an adapter α times as large.

    It must change linear layers only (see `Adapted.other_changes`).
    """

    def __init__(self, adapted: Adapted) -> None:
        self._adapted = adapted
        pairs = adapted.linear_pairs()
        self.modules = tuple(sorted(pairs))
        """The modules that the LoRA changes, by the names of the live model."""
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
