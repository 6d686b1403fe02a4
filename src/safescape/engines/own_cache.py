"""Decoding with the cache that a model makes itself, for models whose layers keep more than keys and values.

Recurrent states, states of convolutions and linear attention cannot be cut, so prompts share no prefix. Shorter prompts
of a batch are padded at their beginning, under an attention mask, if `exactness` found that the model leaves padding
out of all its states; otherwise the prompts of a batch have equal length.
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
    """A batch that is decoded with the model's own cache; see `decoding.Batch`.

    Args:
        model: A causal language model in evaluation mode.
        prompts: Token numbers; prompts of unequal length are padded.
        cached: Whether the model keeps a cache; without one it reads a whole row again for each token.

    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, cached: bool = True) -> None:
        self._model, self._cached = model, cached
        self._positioned = "position_ids" in inspect.signature(model.forward).parameters
        longest = max(map(len, prompts))
        padding = [longest - len(prompt) for prompt in prompts]
        rows = [[0] * count + list(prompt) for count, prompt in zip(padding, prompts, strict=True)]
        self._rows = torch.tensor(rows, device=model.device)
        """Shape (rows, tokens): all tokens so far, with the padding."""
        self._padding = torch.tensor(padding, device=model.device)[:, None] if any(padding) else None
        """Shape (rows, 1): the number of padding tokens at the beginning of each row; None if there are none."""
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
        length = self._rows.shape[1]
        places = torch.arange(length, device=tokens.device).expand(self._rows.shape)
        if self._padding is not None:
            arguments["attention_mask"] = (places >= self._padding).long()
            places = (places - self._padding).clamp(min=0)
        if self._positioned:
            # Some hybrid models would count from 0 again, because their first layer knows no length.
            arguments["position_ids"] = places[:, length - tokens.shape[1] :]
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
        if self._padding is not None:
            self._padding = self._padding[kept]
        return True
