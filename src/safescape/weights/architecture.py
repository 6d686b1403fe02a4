"""The modules of a model without its weights, as an adapter's names refer to them."""

from __future__ import annotations

import functools
from typing import NamedTuple

from torch import Tensor
from torch.nn import Embedding, Linear, Module
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


class Architecture(NamedTuple):
    """The modules and parameters of a model, by the names of the live model."""

    model: PreTrainedModel
    """The model without weights."""
    modules: dict[str, Module]
    parameters: dict[str, tuple[str, ...]]
    """The parameters by name, each with the names of all parameters that share its tensor, its own included."""

    @property
    def embedding(self) -> str | None:
        """The module of the input embedding."""
        embedding = self.model.get_input_embeddings()
        return next((name for name, module in self.modules.items() if module is embedding), None)

    @property
    def vocabulary(self) -> set[str]:
        """The parameters with a row for each token: those of the input embedding and of the output head."""
        ends = (self.model.get_input_embeddings(), self.model.get_output_embeddings())
        modules = [name for name, module in self.modules.items() if module in ends]
        return {name for name in self.parameters if name.rpartition(".")[0] in modules}

    def tied_modules(self, name: str) -> tuple[str, ...]:
        """Return the other modules whose weight is the weight of the module `name`."""
        names = self.parameters.get(f"{name}.weight", ())
        return tuple(found.removesuffix(".weight") for found in names if found != f"{name}.weight")

    def is_fan_in(self, name: str) -> bool:
        """Whether a module stores its weight as (inputs, outputs), as GPT-2's `Conv1D` and every embedding do."""
        return isinstance(self.modules[name], Conv1D | Embedding)

    def is_linear(self, name: str) -> bool:
        """Whether a module is a linear layer."""
        return isinstance(self.modules[name], Conv1D | Linear)

    def is_embedding(self, name: str) -> bool:
        """Whether a module is an embedding."""
        return isinstance(self.modules[name], Embedding)


@functools.lru_cache(maxsize=8)
def architecture_of(model: PreTrainedModel) -> Architecture:
    """Return the architecture of a model without weights."""
    shared: dict[Tensor, tuple[str, ...]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        shared[parameter] = (*shared.get(parameter, ()), name)
    parameters = {name: names for names in shared.values() for name in names}
    return Architecture(model, dict(model.named_modules()), parameters)
