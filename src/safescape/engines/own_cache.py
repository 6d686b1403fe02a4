"""Decoding with the cache that a model makes itself, for models whose layers keep more than keys and values.

Recurrent states, states of convolutions and linear attention cannot be padded or cut, so the prompts of a batch have
equal length and share no prefix. Slower than `decoding`, and exact for every causal model.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, cache_utils

from safescape.engines.kv_cache import DROP_SHARE, RemainingRows, last_logits_only

_NAMES = ("past_key_values", "cache_params", "state")
"""The fields of a model's output that hold its cache, and the arguments by which it is given back."""


def made_cache(output: Any) -> tuple[str, Any] | None:
    """Return the name and the value of the cache in a model's output; None if the model keeps none."""
    return next(((name, output[name]) for name in _NAMES if output.get(name) is not None), None)


class OwnBatch(RemainingRows):
    """A batch of prompts of equal length; see `decoding.Batch`.

    Args:
        model: A causal language model in evaluation mode.
        prompts: Token numbers, equally many per prompt.
        cached: Whether the model keeps a cache; without one it reads a whole row again for each token.

    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, cached: bool = True) -> None:
        self._model, self._cached = model, cached
        self._positioned = "position_ids" in inspect.signature(model.forward).parameters
        self._rows = torch.tensor([list(prompt) for prompt in prompts], device=model.device)
        """Shape (rows, tokens): all tokens so far."""
        self._cache: tuple[str, Any] | None = None
        self._remaining = list(range(len(prompts)))
        self._logits = self._read(self._rows)

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Continue with some of the remaining rows, by their position, each with the token that it took."""
        self._remaining = [self._remaining[place] for place in staying]
        rows = self._rows.shape[0]
        if (rows - len(self._remaining)) * DROP_SHARE >= rows and self._drop():
            self._remaining = list(range(len(staying)))
        taken = torch.zeros(self._rows.shape[0], 1, dtype=torch.long)
        taken[self._remaining, 0] = torch.tensor(list(tokens))
        taken = taken.to(self._rows.device)
        self._rows = torch.cat([self._rows, taken], dim=1)
        self._logits = self._read(taken if self._cache else self._rows)

    def _read(self, tokens: Tensor) -> Tensor:
        """Read tokens after those in the cache and return the logits after the last: (rows, vocabulary)."""
        arguments: dict[str, Any] = {**last_logits_only(self._model), **dict([self._cache] if self._cache else [])}
        if self._positioned:
            # Some hybrid models would count from 0 again, because their first layer knows no length.
            length = self._rows.shape[1]
            positions = torch.arange(length - tokens.shape[1], length, device=tokens.device)
            arguments["position_ids"] = positions.expand(tokens.shape)
        output = self._model(input_ids=tokens, use_cache=self._cached, **arguments)
        self._cache = made_cache(output) if self._cached else None
        return output.logits[:, -1]

    def _drop(self) -> bool:
        """Drop the finished rows; return False if the cache has layers that cannot be reduced to some rows."""
        kept = torch.tensor(self._remaining, device=self._rows.device)
        if self._cache:
            _, cache = self._cache
            if type(cache) is not DynamicCache or any(not hasattr(cache_utils, type(x).__name__) for x in cache.layers):
                return False
            cache.reorder_cache(kept)  # type: ignore[arg-type]
        self._rows = self._rows[kept]
        return True
