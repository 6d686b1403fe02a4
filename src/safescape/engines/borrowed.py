"""Somebody else's live model, spoken with in the middle of its training and left exactly as it was found.

An engine owns its model; here the model belongs to a training, which must go on as if nobody had been there.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from torch.nn import Module
from transformers import PreTrainedConfig, PreTrainedModel

from safescape.engines.decoding import ATTENTION
from safescape.engines.parameters import quicken
from safescape.errors import InputError

__all__ = ["bare", "visiting"]

_SHARDED = (
    "this training shards the weights ({}), and no process holds the whole model; train with DDP or in one process, or "
    "measure the saved checkpoints with `safescape path --through`"
)


def bare(model: Module) -> PreTrainedModel:
    """Return the model inside of all that a training wraps it in; its LoRA layers stay where they are.

    Raises:
        InputError: it is no model of transformers, or this process does not hold its weights whole.

    """
    # a Trainer cannot be without it; whoever has no Trainer need not have it
    from accelerate.utils import extract_model_from_parallel

    for module in model.modules():
        if isinstance(module, FullyShardedDataParallel):
            raise InputError(_SHARDED.format("FSDP"))
    for parameter in model.parameters():
        if isinstance(parameter, DTensor):
            raise InputError(_SHARDED.format("FSDP or tensor parallelism"))
        if hasattr(parameter, "ds_id"):
            raise InputError(_SHARDED.format("DeepSpeed ZeRO-3"))
    inside = extract_model_from_parallel(model, keep_torch_compile=False)
    if isinstance(inside, PeftModel):
        inside = inside.get_base_model()
    if not isinstance(inside, PreTrainedModel):
        raise InputError(f"{type(inside).__name__}: is no model of transformers; expected a causal language model")
    return inside


@contextlib.contextmanager
def visiting(model: PreTrainedModel, precision: torch.dtype | None = None) -> Iterator[None]:
    """Make a model in training ready to be spoken with, and put everything back, also when something raises.

    Inside, every module is in evaluation mode and attends by the project's own attention, compiled ones run
    uncompiled, and on a CPU linear layers are quickened. Weights must not be written inside. Put back are: every
    attribute and buffer of every module (training and checkpointing flags among them), the attention of every
    configuration, the state of Python's, numpy's and torch's generators on all devices, and autocast's cache.

    Args:
        model: The model without wrappers; adapters inside of it stay as they are.
        precision: What the training computes in under autocast; None without autocast.

    Raises:
        InputError: the model cannot attend by SDPA.

    """
    modules = [_Found(module) for module in model.modules()]
    attentions = [(config, config._attn_implementation) for config in _configs(model)]
    with _generators(model.device):
        try:
            for module in model.modules():
                module.training = False
            try:
                model.set_attn_implementation(ATTENTION)
            except (ValueError, ImportError) as error:
                raise InputError(
                    f"{model.config.model_type}: cannot attend by SDPA ({str(error).splitlines()[0]}); such a model "
                    "is not supported"
                ) from error
            if precision is None:
                quicken(model)
            with (
                # every batch has another shape, and a shape is compiled longer than it is used
                torch.compiler.set_stance("force_eager"),
                # the outermost context keeps the weights it has cast; the model's own one inside finds them
                torch.autocast(model.device.type, dtype=precision, enabled=precision is not None),
            ):
                yield
        finally:
            for found in modules:
                found.put_back()
            for config, attention in attentions:
                config._attn_implementation_internal = attention
            # a weight cast here, outside of the graph, must not be met by a training step
            torch.clear_autocast_cache()


class _Found:
    """A module with its attributes and buffers as they were found; its parameters and submodules stay where they are.

    All attributes, because modules keep more than flags: a rotary embedding that grew, a mask that was cached. What
    they cache inside cannot take part in a training step.
    """

    def __init__(self, module: Module) -> None:
        self._module = module
        self._attributes, self._buffers = dict(vars(module)), dict(module._buffers)

    def put_back(self) -> None:
        """Undo what was set, added or deleted."""
        held = vars(self._module)
        held.clear()
        held.update(self._attributes)
        self._module._buffers.clear()
        self._module._buffers.update(self._buffers)


def _configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """Every configuration that says how a module attends, each once."""
    waiting: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    found: dict[int, PreTrainedConfig] = {}
    while waiting:
        config = waiting.pop()
        if isinstance(config, PreTrainedConfig) and id(config) not in found:
            found[id(config)] = config
            waiting += [getattr(config, name, None) for name in config.sub_configs]
    return list(found.values())


@contextlib.contextmanager
def _generators(device: torch.device) -> Iterator[None]:
    """Put back the states of all generators that a training draws from."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # torch.cuda is asked only where it is in use: asking would start it
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)
