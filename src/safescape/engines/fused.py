"""Parameters that transformers makes of several stored tensors, such as a layer's experts, in the checkpoint's terms.

transformers stacks the experts of a mixture into one parameter when it loads them, and takes it apart when it saves.
Taken apart without copying, the parts are views of the live parameter: writing to a part moves the expert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from safescape.errors import InputError
from safescape.weights import ModelWeights


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
    with _NoCopies():
        views = revert_weight_conversion(model, {name: parameter.detach() for name, parameter in fused.items()})
    known, found = weights.inventory.parts.keys(), {}
    for live, parameter in fused.items():
        memory = parameter.untyped_storage().data_ptr()
        parts = {name: view for name, view in views.items() if view.untyped_storage().data_ptr() == memory}
        if sum(part.numel() for part in parts.values()) != parameter.numel() or not parts.keys() <= known:
            raise InputError(
                f"the model's parameter {live} is stored under another name in the checkpoint; "
                "load it with transformers and save it with save_pretrained(save_original_format=False)"
            )
        _check_shapes(parts, weights)
        found[live] = parts
    return found


class _NoCopies(TorchFunctionMode):
    """Leaves out the copies that make parts contiguous for a file."""

    def __torch_function__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is torch.Tensor.contiguous else func(*args, **(kwargs or {}))


def _check_shapes(parts: Mapping[str, Tensor], weights: ModelWeights) -> None:
    for name, part in parts.items():
        if (shape := weights.tensor(name).shape) != part.shape:
            raise InputError(
                f"the tensor {name} has shape {tuple(shape)} in the checkpoint and {tuple(part.shape)} in the model; "
                "download the model again"
            )
