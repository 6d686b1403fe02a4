"""Borrowing the live model of a Trainer: it is evaluated, and restored so that the training continues bit-equal."""

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

from safescape.engines.blocked_layers import block_linear_layers
from safescape.engines.exactness import Plan, plan_of, set_up
from safescape.errors import InputError

_SHARDED = (
    "this training shards the weights ({}), and no process holds the whole model; train with DDP or in one process, or "
    "measure the saved checkpoints with `safescape path --through`"
)


def unwrap(model: Module) -> PreTrainedModel:
    """Return the transformers model inside the wrappers of a training (DDP, torch.compile, PEFT); LoRA layers stay.

    Raises:
        InputError: It is not a model of transformers, or its weights are sharded over processes.

    """
    # Imported here because accelerate comes with the extra `finetuning`, which every Trainer needs anyway.
    from accelerate.utils import extract_model_from_parallel

    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
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
def borrow(model: PreTrainedModel, precision: torch.dtype | None = None, plan: Plan | None = None) -> Iterator[Plan]:
    """Prepare a model in training, without wrappers, for evaluation; restore everything afterwards.

    Inside the context every module is in evaluation mode and attends as the plan says, which is yielded, and made if
    none is given; compiled modules run uncompiled, adapters stay active, and on a CPU linear layers use blocked
    weights. Weights must not be written. Restored are every attribute and buffer of every module (among them the
    training and gradient-checkpointing flags), the settings of every configuration that are changed here, the random
    states of Python, numpy and torch on all devices, and autocast's
    cache. `precision` is the dtype of the training's autocast; None without autocast.

    Raises:
        InputError: The model cannot be decoded exactly.

    """
    modules = [_ModuleState(module) for module in model.modules()]
    attentions = [(config, config._attn_implementation) for config in _configs(model)]
    rescaled = getattr(model.config, "rescale_every", None)
    with _random_states(model.device):
        try:
            for module in model.modules():
                module.training = False
            if precision is None:
                block_linear_layers(model)
            with (
                # Every batch has another shape, and compiling for a shape takes longer than running it.
                torch.compiler.set_stance("force_eager"),
                # The outermost context caches the cast weights; the model's own context inside reuses them.
                torch.autocast(model.device.type, dtype=precision, enabled=precision is not None),
            ):
                if plan is None:
                    name = model.config.name_or_path or model.config.model_type
                    plan = plan_of(model, name, precision=precision)
                else:
                    set_up(model, plan)
                yield plan
        finally:
            for state in modules:
                state.restore()
            for config, attention in attentions:
                config._attn_implementation_internal = attention
            if rescaled is not None:
                model.config.rescale_every = rescaled
            # A weight that was cast here, outside the autograd graph, must not be reused by a training step.
            torch.clear_autocast_cache()


class _ModuleState:
    """A module's attributes and buffers; parameters and submodules are left alone.

    All attributes are saved because modules hold more than flags, for example a cached mask or a grown rotary
    embedding, and tensors made in inference mode cannot take part in a training step.
    """

    def __init__(self, module: Module) -> None:
        self._module = module
        self._attributes, self._buffers = dict(vars(module)), dict(module._buffers)

    def restore(self) -> None:
        """Undo every attribute and buffer that was set, added or deleted."""
        held = vars(self._module)
        held.clear()
        held.update(self._attributes)
        self._module._buffers.clear()
        self._module._buffers.update(self._buffers)


def _configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """Return the configurations of all modules, each once."""
    waiting: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    found: dict[int, PreTrainedConfig] = {}
    while waiting:
        config = waiting.pop()
        if isinstance(config, PreTrainedConfig) and id(config) not in found:
            found[id(config)] = config
            waiting += [getattr(config, name, None) for name in config.sub_configs]
    return list(found.values())


@contextlib.contextmanager
def _random_states(device: torch.device) -> Iterator[None]:
    """Restore the states of all random generators that a training uses."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # Asking an uninitialised torch.cuda would initialise it.
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
