"""Parameters that transformers makes of several stored tensors, such as a layer's experts, taken apart again.

transformers stacks the experts of a mixture into one parameter when it loads them, and takes it apart when it saves.
Taken apart without copying, the parts are views of the live parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion


def views_of_parts(model: PreTrainedModel, fused: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the stored tensors that lie in each fused parameter, by their names in the checkpoint, as views of it.

    Args:
        model: The model, which may be on the meta device.
        fused: Parameters of the model by its names, which may be on the meta device, too.

    """
    with _NoCopies():
        views = revert_weight_conversion(model, {name: parameter.detach() for name, parameter in fused.items()})
    return {
        live: {name: view for name, view in views.items() if _memory_of(view) == _memory_of(parameter)}
        for live, parameter in fused.items()
    }


def _memory_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class _NoCopies(TorchFunctionMode):
    """Leaves out the copies that make parts contiguous for a file."""

    def __torch_function__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is torch.Tensor.contiguous else func(*args, **(kwargs or {}))
