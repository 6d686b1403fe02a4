"""Live parameters that transformers makes of several stored tensors, such as a layer's experts, by their parts.

Writing to a part, which is a view of the live parameter, moves the expert.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from safescape.errors import InputError
from safescape.weights import ModelWeights, views_of_parts


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
