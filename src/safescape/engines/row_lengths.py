"""For rows of which lengths a way of decoding is exact, by rules about the model's configuration.

A row is a prompt with its answer. `exactness` proves with short rows that a way is exact; what changes with the length
of a row (windows, chunks, rotary frequencies, scaling by places) is not seen there and is known here.
"""

from __future__ import annotations

import inspect
import itertools
import math

from transformers import PreTrainedConfig, PreTrainedModel

from safescape.engines.kv_cache import Caching


def caching_within(model: PreTrainedModel, caching: Caching, shortest: int, longest: int) -> Caching:
    """Return how to use the cache for rows that begin with `shortest` tokens or more and end with up to `longest`.

    Keys that were cached before the rotary frequencies change, or that a shorter row shares, are wrong after it.
    """
    limit = _rotation_limit(model)
    if longest <= limit:
        return caching
    return Caching.OWN if shortest > limit else Caching.NONE


def rotates_alike(model: PreTrainedModel, shortest: int, longest: int) -> bool:
    """Return whether rows of `shortest` to `longest` tokens have the same rotary frequencies."""
    return not shortest <= _rotation_limit(model) < longest


def _rotation_limit(model: PreTrainedModel) -> float:
    """Return the number of tokens above which LongRoPE (Phi 3) takes other frequencies for all tokens of a row."""
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    kinds = [each for each in (rope, *rope.values()) if isinstance(each, dict) and each.get("rope_type") == "longrope"]
    return min((each["original_max_position_embeddings"] for each in kinds), default=math.inf)


def needs_equal_lengths(model: PreTrainedModel, longest: float = math.inf) -> bool:
    """Return whether rows of unequal length cannot share a cache without changing the model's arithmetic.

    They share it with a masked gap between prompt and answer. That is exact for full attention over given positions. A
    model that derives the positions itself would count the gap, and so would one that builds its masks itself, as those
    do whose attention cannot be exchanged (GPT-Neo), and any that counts places in its cache: see
    `full_attention_within`.

    Args:
        model: A causal language model.
        longest: The largest number of tokens of a row, with the gap.

    """
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    is_full = longest <= full_attention_within(model.config.get_text_config())
    return not is_full or not takes_positions or not model._can_set_attn_implementation()


def full_attention_within(text: PreTrainedConfig) -> float:
    """Return up to how many tokens of a row each one attends to all before it, wherever they lie in the cache.

    Longer rows reach beyond a sliding window or a chunk, or where places in the cache count: see
    `scaled_alike_within`.
    """
    limits = [getattr(text, "attention_chunk_size", None), scaled_alike_within(text)]
    if getattr(text, "use_sliding_window", True):
        limits.append(getattr(text, "sliding_window", None))
    # a list has a window for each layer
    each = itertools.chain.from_iterable(limit if isinstance(limit, (list, tuple)) else [limit] for limit in limits)
    return min((limit for limit in each if limit is not None), default=math.inf)


def scaled_alike_within(text: PreTrainedConfig) -> float:
    """Return up to how many tokens of a row Llama 4 does not scale its queries by their place in the cache."""
    return text.floor_scale - 1 if getattr(text, "attn_temperature_tuning", None) else math.inf
