"""Keys and values of a text that several rows begin with: computed once, put before each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from safescape.errors import InputError

__all__ = ["States", "cache_behind", "read_prefix", "states_of"]


class States(NamedTuple):
    """Keys and values of one layer, each of shape (rows, heads, tokens, width)."""

    keys: Tensor
    values: Tensor


def read_prefix(model: PreTrainedModel, tokens: Sequence[int]) -> list[States]:
    """Return the states of one row, layer by layer; none for no tokens.

    Raises:
        InputError: the model keeps something else than keys and values.

    """
    if not tokens:
        return []
    cache = DynamicCache()
    row = torch.tensor([list(tokens)], device=model.device)
    model(input_ids=row, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return states_of(cache)


def cache_behind(prefix: Sequence[States], rows: int) -> DynamicCache:
    """Return a cache in which every one of so many rows has read the prefix."""
    cache = DynamicCache()
    for number, (keys, values) in enumerate(prefix):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
    return cache


def states_of(cache: DynamicCache) -> list[States]:
    """Return what a cache holds, layer by layer.

    Raises:
        InputError: a layer keeps something else than keys and values.

    """
    states = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            raise InputError(f"this model caches {type(layer).__name__}; expected plain keys and values in every layer")
        states.append(States(layer.keys, layer.values))
    return states
