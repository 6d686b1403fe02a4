"""The weights at the beginning of a training, and how far each tensor has changed since.

This module knows no prompts and no Trainer, and never writes into a live tensor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor
from torch.nn import Module
from transformers import PreTrainedModel

from safescape.engines import unwrap
from safescape.errors import InputError, RunError
from safescape.weights import (
    REFUSED_FIELDS,
    UNMERGED_FIELDS,
    Inventory,
    LowRank,
    Model,
    Part,
    Weights,
    dot,
    norms_of,
    resolve,
)


class InitialWeights:
    """The weights at the beginning of a training, by the checkpoint's names; readable like a checkpoint (`Weights`).

    The Trainer's model may be wrapped. A frozen tensor is read from the live model. A trained tensor is read from the
    checkpoint that the model was loaded from if that has the same values, rounded to the live dtype; otherwise it is
    copied to host memory. The weight of a LoRA layer is base + scaling·B@A. Tied tensors count once, and buffers not
    at all.

    Raises:
        InputError: The weights are quantised, or the model has adapters other than a plain LoRA.

    """

    def __init__(self, model: Module) -> None:
        _check_adapters(model)
        inside = unwrap(model)
        self.trust_remote_code = inside.is_custom_code()
        """Whether the model's own code runs in this process already."""
        self._source = _source_of(inside)
        self._stamps = self._present_stamps()
        there = {} if self._source is None else self._source.weights.inventory.parameters
        names, norms = {live: stored for stored, live in there.items()}, norms_of(inside)
        weights = None if self._source is None else self._source.weights
        self._parts, parameters, still = {}, {}, set()
        for path, live, parameter, layer in _tensors(inside):
            name = names.get(live, live)
            parameters[name] = live
            self._parts[name] = _Part(parameter, layer, _initial(parameter, name, weights if live in names else None))
            still |= {name} if path in norms else set()
        self._inventory = Inventory(parameters, {}, {}, {}, {}, frozenset(still))
        self.square = sum(dot(tensor, tensor) for tensor in map(self.tensor, self._parts))
        """‖w₀‖² over all tensors, frozen ones included."""

    @property
    def inventory(self) -> Inventory:
        """What the tensors are to the model; no tensor of its files but the parameters is known."""
        return self._inventory

    def names(self) -> Sequence[str]:
        """Return the names of all tensors, sorted."""
        return sorted(self._parts)

    @torch.no_grad()
    def tensor(self, name: str) -> Tensor:
        """Return one initial tensor; the caller must not write into it."""
        return self._parts[name].at_start()

    def part(self, name: str, part: Part) -> Tensor:
        """Return a part of one initial tensor; the caller must not write into it."""
        return part.of(self.tensor(name))

    @torch.no_grad()
    def changes(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and w - w₀ (fp32, on the live device) of each tensor that is trained.

        Raises:
            RunError: The checkpoint was overwritten, or a tensor that was frozen at the start is trained now.

        """
        if self._source is not None and self._present_stamps() != self._stamps:
            raise RunError(
                f"{self._source.directory}: its weights were overwritten during the training, whose start the monitor "
                "reads from there; save to another directory"
            )
        for name, part in self._parts.items():
            change = part.change(name)
            if change is not None:
                yield name, change

    def _present_stamps(self) -> list[tuple[str, int, int]]:
        """Return the times and sizes of the files that the model was loaded from."""
        files = sorted(self._source.directory.glob("*.safetensors")) if self._source is not None else []
        return [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files]


class _Part:
    """One tensor, live and at the start; of an adapted layer, the base's. `initial` is None if it is frozen."""

    def __init__(self, parameter: Tensor, layer: LoraLayer | None, initial: Callable[[], Tensor] | None) -> None:
        self._parameter, self._layer, self._initial = parameter, layer, initial
        # A new adapter has B = 0; adding it would still change the dtype to fp32.
        self._added = [
            LowRank(added.left.cpu().clone(), added.right.cpu().clone(), added.scaling)
            for added in _added_by(layer)
            if added.left.any() and added.right.any()
        ]

    def at_start(self) -> Tensor:
        """Return the tensor at the start: fp32 if an adapter changed it, else the live dtype."""
        tensor = self._parameter.detach() if self._initial is None else self._initial().to(self._parameter.device)
        for added in self._added:
            tensor = added.added_to(tensor)
        return tensor

    def change(self, name: str) -> Tensor | None:
        """Return the present minus the initial value, fp32; None if it cannot change."""
        now = self._parameter.detach()
        if self._initial is None and self._parameter.requires_grad:
            raise RunError(
                f"the tensor {name} was frozen when the training began, and is trained now; give the monitor to a "
                "training whose tensors stay frozen or trained"
            )
        if self._initial is None and self._layer is None:
            return None
        change = torch.zeros_like(now, dtype=torch.float32)
        if self._initial is not None:
            change = now.float() - self._initial().to(now.device).float()
        for added in _added_by(self._layer):
            change = added.added_to(change)
        for added in self._added:
            change = added._replace(scaling=-added.scaling).added_to(change)
        return change


def _initial(parameter: Tensor, name: str, stored: Weights | None) -> Callable[[], Tensor] | None:
    """Return a function that returns a parameter's present value later; None if it is frozen."""
    if not parameter.requires_grad:
        return None
    now, dtype = parameter.detach().cpu(), parameter.dtype
    if stored is not None and torch.equal(stored.tensor(name).to(dtype), now):
        return lambda: stored.tensor(name).to(dtype)
    copy = now.clone()
    return lambda: copy


class _Live(NamedTuple):
    """A parameter of a live model that may have adapters."""

    path: str
    """Its name in the live model."""
    name: str
    """The same without adapters."""
    parameter: Tensor
    layer: LoraLayer | None
    """The LoRA layer around it."""


def _tensors(model: PreTrainedModel) -> Iterator[_Live]:
    """Yield the model's parameters, without those of adapters."""
    tuned = [module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    active = {adapter for module in tuned for adapter in module.active_adapters}
    if tuned:
        _check_ties(model)
    layers: dict[int, LoraLayer] = {}
    for layer in tuned:
        if isinstance(layer, LoraLayer):
            weight = layer.get_base_layer().weight
            if id(weight) in layers:
                raise InputError("two LoRA layers are on one tied tensor, which has no one place then; adapt one")
            layers[id(weight)] = layer
    for path, parameter in model.named_parameters():
        name = _own_name(path, active) if tuned else path
        if name is None:
            continue
        if not parameter.is_floating_point():
            raise InputError(f"the tensor {name} is quantised ({parameter.dtype}); train the model in float weights")
        yield _Live(path, name, parameter, layers.get(id(parameter)))


def _check_ties(model: PreTrainedModel) -> None:
    """Check that a tied tensor, which counts once, is not adapted at one of its places only."""
    places: defaultdict[int, list[str]] = defaultdict(list)
    for path, parameter in model.named_parameters(remove_duplicate=False):
        places[id(parameter)].append(path)
    for paths in places.values():
        adapted = [path for path in paths if {"base_layer", "original_module"} & set(path.split("."))]
        others = [path for path in paths if path not in adapted]
        if adapted and others:
            raise InputError(
                f"the adapter changes {adapted[0]}, whose tensor the model ties to {others[0]}, "
                "so that it has two values and no one distance; adapt other layers, or untie the head"
            )


def _own_name(path: str, active: set[str]) -> str | None:
    """Return a parameter's name without adapters; None for an adapter's parameters, and for a replaced original."""
    parts = path.split(".")
    if any(part.startswith("lora_") for part in parts) or "original_module" in parts:
        return None
    if "modules_to_save" in parts:
        place = parts.index("modules_to_save")
        if parts[place + 1] not in active:
            return None
        del parts[place : place + 2]
    return ".".join(part for part in parts if part != "base_layer")


def _added_by(layer: Any) -> Iterator[LowRank]:
    """Yield the changes that the active adapters add to a layer's weight at present."""
    for adapter in () if layer is None else layer.active_adapters:
        if adapter in layer.lora_embedding_A:
            down, up = layer.lora_embedding_A[adapter].detach(), layer.lora_embedding_B[adapter].detach()
            yield LowRank(down.T, up.T, layer.scaling[adapter])
        elif adapter in layer.lora_A:
            down, up = layer.lora_A[adapter].weight.detach(), layer.lora_B[adapter].weight.detach()
            # Fan-in layers (GPT-2's Conv1D) store the transposed weight.
            left, right = (down.T, up.T) if layer.fan_in_fan_out else (up, down)
            yield LowRank(left, right, layer.scaling[adapter])


def _check_adapters(model: Module) -> None:
    found = [getattr(module, "peft_config", None) or {} for module in model.modules()]
    for config in (config for configs in found if isinstance(configs, dict) for config in configs.values()):
        kind = str(config.peft_type.value)
        further = next((field for field in (*REFUSED_FIELDS, *UNMERGED_FIELDS) if getattr(config, field, None)), None)
        if kind != "LORA" or further is not None:
            raise InputError(
                f"the model is trained through {kind if further is None else further}, expected a plain LoRA or all "
                "weights: only they have a distance from their start"
            )


def _source_of(model: PreTrainedModel) -> Model | None:
    """Return the checkpoint that a model was loaded from; None if it cannot be read."""
    name, commit = model.name_or_path, getattr(model.config, "_commit_hash", None)
    given = str(Path(name).absolute()) if name and Path(name).is_dir() else f"{name}@{commit}" if commit else None
    if given is None:
        return None
    try:
        source = resolve(given, trust_remote_code=model.is_custom_code())
        # Read now, so that a checkpoint whose tensors are not this model's is no source.
        source.weights.names()
    except InputError:
        return None
    return source
