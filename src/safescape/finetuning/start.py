"""The initial weights of a training, and the differences of the present weights from them.

It knows no prompts and no Trainer, and never writes into a live tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor
from torch.nn import Module
from transformers import PreTrainedModel

from safescape.engines import checkpoint_name, unwrap
from safescape.errors import InputError, RunError
from safescape.weights import UNSUPPORTED_LORA_FIELDS, LowRank, Weights, dot, resolve


class Change(NamedTuple):
    """The change of one tensor since the start."""

    name: str
    tensor: Tensor
    """w - w₀, fp32, on the live tensor's device."""


class InitialWeights:
    """The weights at the beginning of a training, by the checkpoint's names; readable like a checkpoint (`Weights`).

    A frozen tensor is read from the live model. A trained tensor is read from the checkpoint that the model was loaded
    from if that has the same values, rounded to the live dtype; otherwise it is copied to host memory. The weight of a
    LoRA layer is base + scaling·B@A. Tied tensors count once, and buffers not at all.

    Args:
        model: The Trainer's model, wrapped or not.

    Raises:
        InputError: The weights are quantised, or the model has adapters other than a plain LoRA.

    """

    def __init__(self, model: Module) -> None:
        _check_adapters(model)
        inside = unwrap(model)
        self._origin = _origin(inside)
        stored = {} if self._origin is None else dict.fromkeys(self._origin.weights.names(), self._origin.weights)
        self._parts = {
            name: _part(parameter, layer, name, stored.get(name)) for name, parameter, layer in _tensors(inside, stored)
        }
        self.square = sum(dot(tensor, tensor) for tensor in map(self.tensor, self._parts))
        """‖w₀‖² over all tensors, frozen ones included."""

    def names(self) -> Sequence[str]:
        """Return the names of all tensors, sorted."""
        return sorted(self._parts)

    @torch.no_grad()
    def tensor(self, name: str) -> Tensor:
        """Return one initial tensor; the caller must not write into it."""
        return self._parts[name].at_start()

    @torch.no_grad()
    def changes(self) -> Iterator[Change]:
        """Yield the change of each tensor that is trained.

        Raises:
            RunError: The checkpoint was overwritten, or a tensor that was frozen at the start is trained now.

        """
        if self._origin is not None:
            self._origin.check()
        for name, part in self._parts.items():
            change = part.change(name)
            if change is not None:
                yield Change(name, change)


class _Origin:
    """The checkpoint that a model was loaded from, with the times and sizes of its files."""

    def __init__(self, directory: Path, weights: Weights) -> None:
        self.weights, self._directory = weights, directory
        self._stamp = self._stamped()

    def check(self) -> None:
        """Raise RunError if a file was changed since."""
        if self._stamped() != self._stamp:
            raise RunError(
                f"{self._directory}: its weights were overwritten during the training, whose start the monitor reads "
                "from there; save to another directory"
            )

    def _stamped(self) -> list[tuple[str, int, int]]:
        files = sorted(self._directory.glob("*.safetensors"))
        return [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files]


class _Part:
    """One tensor, live and at the start.

    Args:
        parameter: The live parameter; of an adapted layer, the base's.
        initial: Returns its initial value; None if it is frozen.
        layer: The LoRA layer around it, if there is one.

    """

    def __init__(self, parameter: Tensor, initial: Callable[[], Tensor] | None, layer: LoraLayer | None) -> None:
        self._parameter, self._initial, self._layer = parameter, initial, layer
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
            tensor = _on(added, tensor.device).added_to(tensor)
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
            change = _on(added._replace(scaling=-added.scaling), change.device).added_to(change)
        return change


def _part(parameter: Tensor, layer: LoraLayer | None, name: str, stored: Weights | None) -> _Part:
    if not parameter.requires_grad:
        return _Part(parameter, None, layer)
    now, dtype = parameter.detach().cpu(), parameter.dtype
    if stored is not None and torch.equal(stored.tensor(name).to(dtype), now):
        return _Part(parameter, lambda: stored.tensor(name).to(dtype), layer)
    copy = now.clone()
    return _Part(parameter, lambda: copy, layer)


def _tensors(model: PreTrainedModel, known: Container[str]) -> Iterator[tuple[str, Tensor, LoraLayer | None]]:
    """Yield the model's parameters by the checkpoint's names, each with the LoRA layer around it."""
    tuned = [module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    active = {adapter for module in tuned for adapter in module.active_adapters}
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
        yield checkpoint_name(name, model, known) or name, parameter, layers.get(id(parameter))


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


def _on(added: LowRank, device: torch.device) -> LowRank:
    return LowRank(added.left.to(device), added.right.to(device), added.scaling)


def _check_adapters(model: Module) -> None:
    found = [getattr(module, "peft_config", None) or {} for module in model.modules()]
    for config in (config for configs in found if isinstance(configs, dict) for config in configs.values()):
        kind = str(config.peft_type.value)
        further = next((field for field in UNSUPPORTED_LORA_FIELDS if getattr(config, field, None)), None)
        if kind != "LORA" or further is not None:
            raise InputError(
                f"the model is trained through {kind if further is None else further}, expected a plain LoRA or all "
                "weights: only they have a distance from their start"
            )


def _origin(model: PreTrainedModel) -> _Origin | None:
    """Return the checkpoint that a model was loaded from; None if it cannot be read."""
    name, commit = model.name_or_path, getattr(model.config, "_commit_hash", None)
    try:
        if name and Path(name).is_dir():
            found = resolve(str(Path(name).absolute()))
        elif commit:
            found = resolve(f"{name}@{commit}")
        else:
            return None
    except InputError:
        return None
    return _Origin(found.directory, found.weights)
