"""Loading a model with transformers: safetensors only, and no remote code unless it is allowed."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from safescape.errors import InputError, first_line
from safescape.weights import Model

_log = logging.getLogger(__name__)

_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    ImportError,
    StrictDataclassError,
)
"""What transformers raises for files that it cannot use; which one depends on the field that is wrong."""

_NEEDS_CODE = "; only scan, path and check run a model's own code: read it, then give them --trust-remote-code"

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

    Raises:
        InputError: transformers cannot load the model, or it lacks a tensor.

    """
    _log.info("loading %s in %s", model.directory, dtype)
    with loading(model.name):
        answer: Any = AutoModelForCausalLM.from_pretrained(
            model.directory,
            dtype=dtype,
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
        )
    loaded: PreTrainedModel = answer[0]
    if missing := sorted(answer[1]["missing_keys"]):
        raise InputError(f"{model.name}: the checkpoint lacks the tensor {missing[0]}; download the model again")
    return loaded


@contextlib.contextmanager
def loading(name: str, problem: str = "transformers cannot load it") -> Iterator[None]:
    """Load the model `name` silently with transformers; its errors become an InputError that begins with `problem`."""
    with quiet():
        try:
            yield
        except _ERRORS as error:
            hint = _NEEDS_CODE if "trust_remote_code" in str(error) else ""
            raise InputError(f"{name}: {problem} ({_reason(error)}){hint}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide transformers' progress bars and warnings."""
    level, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if has_bars:
            transformers_logging.enable_progress_bar()


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


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"KeyError: {first_line(error)}"
    if isinstance(error, StrictDataclassError):
        # The first line names the field, the second what is wrong with it.
        error = Exception(" ".join(str(error).split()))
    return first_line(error)
