"""The modules of a model without its weights: what transformers builds from a configuration, on the meta device."""

from __future__ import annotations

import functools
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from torch.nn import Embedding, Linear, Module
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from safescape.errors import InputError, first_line

_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError, StrictDataclassError)
"""What transformers raises for a configuration that it cannot use; which one depends on the field that is wrong."""


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

    def stored_name(self, parameter: str, known: Container[str]) -> str | None:
        """Return the name of a parameter among the `known` ones of a checkpoint; None if it is not there.

        The two may differ by the base model's prefix.
        """
        head = f"{self.model.base_model_prefix}."
        candidates = (parameter, parameter.removeprefix(head), head + parameter)
        return next((name for name in candidates if name in known), None)


def architecture_of(directory: Path) -> Architecture:
    """Return the architecture of the model in a directory.

    Raises:
        InputError: transformers cannot build it from its configuration.

    """
    stamp = (directory / "config.json").stat().st_mtime_ns if (directory / "config.json").is_file() else 0
    return _architecture(directory, stamp)


@functools.lru_cache(maxsize=4)
def _architecture(directory: Path, stamp: int) -> Architecture:
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except _ERRORS as error:
        raise InputError(
            f"{directory}: transformers cannot say which modules an adapter changes ({first_line(error)}); "
            "merge the adapter into it with merge_and_unload and give the merged model"
        ) from error
    shared: dict[Tensor, tuple[str, ...]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        shared[parameter] = (*shared.get(parameter, ()), name)
    parameters = {name: names for names in shared.values() for name in names}
    return Architecture(model, dict(model.named_modules()), parameters)
