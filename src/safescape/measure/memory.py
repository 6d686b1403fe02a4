"""How much memory a model needs, from its files and its configuration."""

from __future__ import annotations

import math
from typing import Any

from transformers import PreTrainedConfig

from safescape.weights import Adapted, Checkpoint, checkpoint_of


def count_parameters(weights: Checkpoint | Adapted) -> int:
    """Return the number of a model's parameters, tied ones once."""
    stored = checkpoint_of(weights).stored
    return sum(math.prod(stored[name].shape) for name in weights.names())


def cached_bytes(text: PreTrainedConfig, size: int) -> int | None:
    """Return the bytes of the keys and values of one token, for attention with the usual fields; else None.

    `text` is the configuration of the text model, and `size` the bytes of a number.
    """
    given: dict[str, Any] = text.to_dict()
    layers, heads, width = (given.get(name) for name in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    if not layers or not heads or not width or given.get("kv_lora_rank") or given.get("layers_block_type"):
        return None
    head = given.get("head_dim") or width // heads
    return int(2 * layers * (given.get("num_key_value_heads") or heads) * head * size)
