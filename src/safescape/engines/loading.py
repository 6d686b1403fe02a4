"""A model's live copy, as transformers makes it: from safetensors alone, without remote code unless it is allowed."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from safescape.errors import InputError
from safescape.weights import Model

__all__ = ["give_back", "load_model", "mapped", "quiet"]


def load_model(
    model: Model, dtype: torch.dtype, *, attention: str | None = None, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Load the model that lies in a directory; an adapter on it is not applied.

    Args:
        model: What to load.
        dtype: Of its weights.
        attention: How it attends, by the name that transformers knows; its own way by default.
        trust_remote_code: Whether it may bring its own code.

    Raises:
        InputError: transformers cannot load it, or it lacks a tensor.

    """
    with quiet():
        try:
            answer: Any = AutoModelForCausalLM.from_pretrained(
                model.directory,
                dtype=dtype,
                attn_implementation=attention,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise InputError(f"{model.name}: transformers cannot load it ({reason})") from error
    loaded: PreTrainedModel = answer[0]
    if missing := sorted(answer[1]["missing_keys"]):
        raise InputError(f"{model.name}: the checkpoint lacks the tensor {missing[0]}; download the model again")
    return loaded


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own progress bars and warnings out of the user's terminal."""
    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()


_LIBRARY: Any = ctypes.CDLL(None) if os.name == "posix" else None
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of `mallopt`, as malloc.h numbers them."""
_SMALL = 256 * 2**10
_LARGE = 32 * 2**20
"""Bytes up to which glibc raises its threshold by itself, as blocks of such sizes are freed."""


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """Let every tensor be a mapping of its own, which the system has back as soon as it is freed.

    For loading alone: fresh mappings are filled with zeros, so it makes allocating slower.
    """
    if not hasattr(_LIBRARY, "mallopt"):
        yield
        return
    _LIBRARY.mallopt(_MMAP_THRESHOLD, _SMALL)
    try:
        yield
    finally:
        _LIBRARY.mallopt(_MMAP_THRESHOLD, _LARGE)
        _LIBRARY.mallopt(_TRIM_THRESHOLD, 2 * _LARGE)


def give_back() -> None:
    """Give back what is free: some milliseconds, where there is little of it."""
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(0)
