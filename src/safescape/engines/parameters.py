"""The live model's parameters by the checkpoint's names, written in place and read back bit-equal.

On a CPU linear layers are replaced by those of `blocked_layers`, and an embedding that is tied to the output head by
one that reads the head's weight, so that no matrix is stored twice where the layout of the blocks is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Parameter
from transformers import PreTrainedModel

from safescape.engines.blocked_layers import BlockedEmbedding, BlockedLinear, can_be_blocked
from safescape.errors import InputError
from safescape.weights import ModelWeights, RowBlocks, views_of_parts


def live_tensors(model: PreTrainedModel, weights: ModelWeights) -> dict[str, LiveTensor]:
    """Return the live tensors of the model's parameters by the checkpoint's names: tied ones once, and no buffers.

    Linear layers on a CPU are replaced by blocked ones, and so are embeddings that are tied to them. Parameters that
    transformers fuses on loading, such as experts, are found by their parts.

    Raises:
        InputError: The model has other parameters than the checkpoint, or the checkpoint has them in another layout.

    """
    parameters, fused = _found(model, weights)
    holders: Counter[Tensor] = Counter()
    linears: dict[Tensor, dict[str, Linear]] = {}
    embeddings: dict[Tensor, list[str]] = {}
    for path, module in model.named_modules():
        holders.update(module.parameters(recurse=False))
        # A subclass of either may have a forward of its own.
        if type(module) is Linear and can_be_blocked(module.weight):
            linears.setdefault(module.weight, {})[path] = module
        elif type(module) is Embedding and module.max_norm is None:
            embeddings.setdefault(module.weight, []).append(path)
    live = {}
    for name, parameter in parameters.items():
        blocked = {path: BlockedLinear(linear) for path, linear in linears.get(parameter, {}).items()}
        layers = list(blocked.values())
        # An embedding can read the blocks of a single layer, if their order is known.
        tied = embeddings.get(parameter, []) if len(layers) == 1 and layers[0].order is not None else []
        replaced = {**blocked, **{path: BlockedEmbedding(layers[0]) for path in tied}}
        for path, layer in replaced.items():
            model.set_submodule(path, layer)
        live[name] = LiveTensor(parameter, layers, is_shared=len(replaced) < holders[parameter])
    for parameter in fused.values():
        parameter.data = parameter.data.clone()
    for parts in fused_parts(model, fused, weights).values():
        live |= {name: LivePart(part) for name, part in parts.items()}
    return live


def fused_parts(
    model: PreTrainedModel, fused: Mapping[str, Parameter], weights: ModelWeights
) -> dict[str, dict[str, Tensor]]:
    """Return the parts of each fused parameter, by their names in the checkpoint, as views of its memory.

    Args:
        model: The live model.
        fused: The parameters that the checkpoint does not hold, by their names in the model.
        weights: The checkpoint.

    Raises:
        InputError: The checkpoint lacks a part, has one of another shape, or transformers changes values on loading.

    """
    known, found = weights.inventory.parts.keys(), {}
    for live, parts in views_of_parts(model, fused).items():
        parameter = fused[live]
        if sum(part.numel() for part in parts.values()) != parameter.numel() or not parts.keys() <= known:
            raise InputError(
                f"the model's parameter {live} is stored under another name in the checkpoint; "
                "load it with transformers and save it with save_pretrained(save_original_format=False)"
            )
        _check_shapes(parts, weights)
        found[live] = parts
    return found


def _check_shapes(parts: Mapping[str, Tensor], weights: ModelWeights) -> None:
    for name, part in parts.items():
        if (shape := weights.tensor(name).shape) != part.shape:
            raise InputError(
                f"the tensor {name} has shape {tuple(shape)} in the checkpoint and {tuple(part.shape)} in the model; "
                "download the model again"
            )


class LiveTensor:
    """One tensor of the live model, held by a parameter, by blocked linear layers, or by both."""

    def __init__(self, parameter: Parameter, blocked: Sequence[BlockedLinear], *, is_shared: bool) -> None:
        self.shape, self.dtype, self.device = parameter.shape, parameter.dtype, parameter.device
        self._blocked = blocked
        self._parameter = parameter if is_shared or not blocked else None
        if self._parameter is not None:
            # The loaded data may be a view of the checkpoint's mapped file and would keep all of its pages in memory.
            parameter.data = parameter.data.clone()

    @property
    def order(self) -> RowBlocks | None:
        """The order of the values in memory; None if they lie row by row, or in several places."""
        return self._blocked[0].order if len(self._blocked) == 1 and self._parameter is None else None

    @property
    def place(self) -> Tensor | None:
        """The memory that the values may be written to in place; None if they must be passed to `write`.

        If there is an `order`, it has one dimension.
        """
        if self.order is not None:
            return self._blocked[0].memory
        return None if self._blocked or self._parameter is None else self._parameter.data

    def write(self, values: Tensor) -> None:
        """Replace all values.

        `values` has this tensor's dtype and its shape, or one dimension and its order, or is its `place`.
        """
        if values.dim() == 1 and self.order is not None:
            memory = self._blocked[0].memory
            if values.data_ptr() != memory.data_ptr():
                memory.copy_(values)
            return
        if self._parameter is not None and values.data_ptr() != self._parameter.data_ptr():
            with torch.no_grad():
                self._parameter.copy_(values)
        for layer in self._blocked:
            layer.put(values)

    def read(self) -> Tensor:
        """Return the values; the caller must not write into them."""
        return self._blocked[0].weight if self._parameter is None else self._parameter.data


class LivePart(LiveTensor):
    """A part of a live parameter, such as one expert's matrix: a view of its memory."""

    order = None

    def __init__(self, view: Tensor) -> None:
        self.shape, self.dtype, self.device = view.shape, view.dtype, view.device
        self._view = view

    @property
    def place(self) -> Tensor | None:
        """The view, if its values lie in a row."""
        return self._view if self._view.is_contiguous() else None

    def write(self, values: Tensor) -> None:
        """Replace all values."""
        if values.data_ptr() != self._view.data_ptr():
            self._view.copy_(values)

    def read(self) -> Tensor:
        """Return the values; the caller must not write into them."""
        return self._view.contiguous()


def parameters_of(model: PreTrainedModel, weights: ModelWeights) -> dict[str, Parameter]:
    """Return a model's parameters by their names in a checkpoint of it: tied ones once, and no buffers.

    Raises:
        InputError: The model has other parameters than the checkpoint, or the checkpoint has them in parts.

    """
    check_whole(weights)
    return _found(model, weights)[0]


def _found(model: PreTrainedModel, weights: ModelWeights) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """Return the parameters that a checkpoint has whole, by its names, and the others, by the model's names."""
    live = dict(model.named_parameters())
    names = weights.inventory.parameters
    if others := sorted(names.values() - live.keys()):
        raise InputError(
            f"the checkpoint and the live model have different parameters, {others[0]} among them; report this with "
            "the model's name"
        )
    found = {stored: live.pop(name) for stored, name in names.items()}
    return found, live


def check_whole(weights: ModelWeights) -> None:
    """Raise InputError if a checkpoint stores parameters in parts, which transformers fuses when it loads them."""
    for live in sorted(weights.inventory.parts.values()):
        raise InputError(
            f"the model's parameter {live} is stored under another name in the checkpoint; "
            "load it with transformers and save it with save_pretrained(save_original_format=False)"
        )
