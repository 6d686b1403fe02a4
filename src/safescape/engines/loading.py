"""Loading a model with transformers: safetensors only, and no remote code unless it is allowed."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedConfig, PreTrainedModel

from safescape.engines.parameters import fused_parts
from safescape.errors import InputError
from safescape.weights import Checkpoint, Model, auto_class, checkpoint_of, inventory_of, loading

_log = logging.getLogger(__name__)

_LIBC: Any = ctypes.CDLL(None) if os.name == "posix" else None
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt`, as malloc.h numbers them."""
_SMALL, _LARGE = 256 * 2**10, 32 * 2**20
"""Bytes. The latter is the largest threshold that glibc chooses by itself as blocks are freed."""


def load_config(model: Model, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """Return a model's configuration; raise InputError if transformers cannot use it."""
    with loading(model.name):
        return AutoConfig.from_pretrained(model.directory, trust_remote_code=trust_remote_code)


def load_generation_config(model: Model, config: PreTrainedConfig) -> GenerationConfig:
    """Return the generation settings that transformers uses for a model; raise InputError if they are invalid."""
    with loading(model.name):
        if (model.directory / "generation_config.json").is_file():
            return GenerationConfig.from_pretrained(model.directory)
        return GenerationConfig.from_model_config(config)


def load_model(
    model: Model, dtype: torch.dtype, *, attention: str | None = None, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Load a model, without its adapter, with an attention implementation of transformers (None: the model's default).

    Every tensor of the files is compared with the live one, so that what answers is what is on disk.

    Raises:
        InputError: transformers cannot load the model, or the files do not hold its tensors and nothing else.

    """
    _log.info("loading %s in %s", model.directory, dtype)
    files = checkpoint_of(model.weights)
    with loading(model.name):
        config = AutoConfig.from_pretrained(model.directory, trust_remote_code=trust_remote_code)
        answer: Any = auto_class(config).from_pretrained(
            model.directory,
            dtype=dtype,
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            # A tensor of another shape is refused below, by its name.
            ignore_mismatched_sizes=True,
        )
    loaded: PreTrainedModel = answer[0]
    _prove(loaded, files, model.name, answer[1])
    return loaded


def _prove(loaded: PreTrainedModel, files: Checkpoint, name: str, report: Mapping[str, Any]) -> None:
    """Check that a model holds the tensors of its files and nothing else, whatever transformers reports.

    A tensor that is stored in another dtype is compared as rounded. Parts of fused parameters are not compared:
    an engine writes each of them itself, or refuses the model.
    """
    inventory = inventory_of(loaded, files.stored, files.tensor, name)
    state = loaded.state_dict(keep_vars=True)
    live = {stored: state[place] for stored, place in [*inventory.parameters.items(), *inventory.buffers.items()]}
    whole = set(inventory.parameters.values())
    fused = {place: parameter for place, parameter in loaded.named_parameters() if place not in whole}
    for parts in fused_parts(loaded, fused, files).values():
        live |= parts
    for stored, tensor in files.tensors(live):
        if not torch.equal(live[stored], tensor.to(live[stored].dtype)):
            raise InputError(
                f"{name}: transformers changes the tensor {stored} when it loads it, so the files do not hold the "
                "model's own weights; load it with transformers and save it with "
                "save_pretrained(save_original_format=False)"
            )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found := sorted(map(str, report[kind] - set(inventory.ignored.values()))):
            raise InputError(
                f"{name}: transformers reports {kind.replace('_', ' ')}, {found[0]} among them; "
                "download the model again"
            )


@contextlib.contextmanager
def mmap_allocations() -> Iterator[None]:
    """Allocate each tensor by its own mmap, which the system gets back as soon as the tensor is freed.

    Use it for loading only: fresh mappings are filled with zeros, which makes allocating slower.
    """
    if not hasattr(_LIBC, "mallopt"):
        yield
        return
    _LIBC.mallopt(_MMAP_THRESHOLD, _SMALL)
    try:
        yield
    finally:
        _LIBC.mallopt(_MMAP_THRESHOLD, _LARGE)
        _LIBC.mallopt(_TRIM_THRESHOLD, 2 * _LARGE)


def trim_memory() -> None:
    """Return free heap memory to the system; takes some milliseconds."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
