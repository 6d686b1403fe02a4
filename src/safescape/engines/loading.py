"""A model's live copy, as transformers makes it: from safetensors alone, without remote code unless it is allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from safescape.errors import InputError
from safescape.weights import Model

__all__ = ["load_model", "quiet"]


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
