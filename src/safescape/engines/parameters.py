"""The live model's tensors by the checkpoint's names, each written whole and read back bit-equal.

Knows no direction and no prompt. On a CPU the weights of linear layers lie in oneDNN's own blocked layout: without it
every matrix product first sorts the whole weight, which costs more than the product itself as long as few answers are
decoded together. They are sorted once a move instead. The layout holds the same numbers, and there is no second copy,
but for an output head that is tied to the embedding: the embedding needs rows, the head needs blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence

import psutil
import torch
from torch import Tensor
from torch.nn import Linear, Module, Parameter
from transformers import PreTrainedModel

from safescape.errors import InputError
from safescape.weights import Weights

__all__ = ["LiveTensor", "live_tensors", "named_as_in", "quicken", "stored_name"]

_ROWS = 64
"""How many rows oneDNN should expect in a product when it chooses the layout; any number gives the right result."""


class _BlockedLinear(Module):
    """A linear layer whose weight lies in oneDNN's blocked layout."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.put(linear.weight.data)

    def put(self, weight: Tensor) -> None:
        """Take a weight of shape (out_features, in_features)."""
        self._blocked = _blocked(weight)

    @property
    def weight(self) -> Tensor:
        """The weight in the usual layout, a copy."""
        return self._blocked.to_dense()

    def forward(self, states: Tensor) -> Tensor:
        """Return `states @ weight.T + bias`."""
        return _product(self._blocked, self.bias, states)


def _blocked(weight: Tensor) -> Tensor:
    blocked: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)
    return blocked


def _product(blocked: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(states, blocked, bias, "none", [], "")
    return product


class LiveTensor:
    """One tensor of the live model: held by a parameter, by the linear layers that have it blocked, or by both."""

    def __init__(self, parameter: Parameter, blocked: Sequence[_BlockedLinear], *, is_shared: bool) -> None:
        self.shape, self.dtype, self.device = parameter.shape, parameter.dtype, parameter.device
        self._blocked = blocked
        self._parameter = parameter if is_shared or not blocked else None
        if self._parameter is not None:
            # it may be a view of the checkpoint's mapped file, which would keep all of the file's pages
            parameter.data = parameter.data.clone()

    @property
    def place(self) -> Tensor | None:
        """Where the values stand and may be written in place; None if they must be handed to `write`."""
        return None if self._blocked or self._parameter is None else self._parameter.data

    def write(self, values: Tensor) -> None:
        """Replace all values; `values` has this tensor's shape and dtype, or is its `place`."""
        if self._parameter is not None and values.data_ptr() != self._parameter.data_ptr():
            with torch.no_grad():
                self._parameter.copy_(values)
        for layer in self._blocked:
            layer.put(values)

    def read(self) -> Tensor:
        """Return the values; the caller must not write into them."""
        return self._blocked[0].weight if self._parameter is None else self._parameter.data


def live_tensors(model: PreTrainedModel, weights: Weights) -> dict[str, LiveTensor]:
    """Return the live tensors by the checkpoint's names, tied ones once, buffers and integers not at all.

    Linear layers on a CPU are replaced by blocked ones.

    Raises:
        InputError: a parameter is not in the checkpoint under its own name, or has another shape there.

    """
    named = named_as_in(weights, model)
    holders: dict[Tensor, int] = {}
    linears: dict[Tensor, dict[str, Linear]] = {}
    for path, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            holders[parameter] = holders.get(parameter, 0) + 1
        # a subclass may have a forward of its own
        if type(module) is Linear and _can_be_blocked(module.weight):
            linears.setdefault(module.weight, {})[path] = module
    live = {}
    for name, parameter in named.items():
        blocked = {path: _BlockedLinear(linear) for path, linear in linears.get(parameter, {}).items()}
        for path, layer in blocked.items():
            model.set_submodule(path, layer)
        live[name] = LiveTensor(parameter, list(blocked.values()), is_shared=len(blocked) < holders[parameter])
    return live


def quicken(model: PreTrainedModel) -> None:
    """Let the linear layers of a model on a CPU multiply with a blocked copy of their weight, as it stands now.

    The copy hides the weight's later changes: this is for a model that does not change until each layer's `forward`
    was taken back (it is set on the layer itself). Nothing is done where the copies would take more than half of the
    memory that is free.
    """
    linears = [
        module
        for module in model.modules()
        if type(module) is Linear and "forward" not in vars(module) and _can_be_blocked(module.weight)
    ]
    needed = sum(linear.weight.numel() * linear.weight.element_size() for linear in linears)
    if needed > psutil.virtual_memory().available // 2:
        return
    for linear in linears:
        linear.forward = functools.partial(_product, _blocked(linear.weight.detach()), linear.bias)  # type: ignore[method-assign]


def _can_be_blocked(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def named_as_in(weights: Weights, model: PreTrainedModel) -> dict[str, Parameter]:
    """Return a model's parameters by the names that they have in a checkpoint of it.

    Raises:
        InputError: a parameter is not in the checkpoint under its own name, or has another shape there.

    """
    known = set(weights.names())
    named = {}
    for live, parameter in model.named_parameters():
        name = stored_name(live, model, known)
        if name is None:
            raise InputError(
                f"the model's parameter {live} is stored under another name in the checkpoint; "
                "load it with transformers and save it with save_pretrained(save_original_format=False)"
            )
        shape = weights.tensor(name).shape
        if shape != parameter.shape:
            raise InputError(
                f"the tensor {name} has shape {tuple(shape)} in the checkpoint and {tuple(parameter.shape)} in the "
                "model; download the model again"
            )
        named[name] = parameter
    return named


def stored_name(live: str, model: PreTrainedModel, known: Container[str]) -> str | None:
    """Return the one of a checkpoint's names that belongs to a live tensor; None if there is none."""
    head = f"{model.base_model_prefix}."
    return next((name for name in (live, live.removeprefix(head), head + live) if name in known), None)
