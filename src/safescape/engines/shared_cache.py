"""Decoding with a cache of keys and values that all rows of a batch share, after a prefix that was read once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from safescape.engines.kv_cache import (
    DROP_SHARE,
    GrowingLayer,
    RemainingRows,
    States,
    cache_of,
    cache_with_prefix,
    read_rows,
    states_of,
)

PASS = 32
"""A pass over the weights takes about as long as so many more tokens in another one (135M parameters, two cores)."""
_LOGITS = 2**26
"""Logits that are computed at once, unless one pass for each length takes more."""


class SharedBatch(RemainingRows):
    """A batch with one cache and one row per answer; see `decoding.Batch`.

    A row's prompt fills the first slots, then comes a masked gap up to the longest prompt, then the answer.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], prefix: Sequence[States], shared: int
    ) -> None:
        self._model = model
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        self._layers: list[GrowingLayer] = []
        self._lengths = torch.tensor(lengths, device=model.device)
        self._written = 0
        self._mask = torch.arange(longest, device=model.device) < self._lengths[:, None]
        self._padded = min(lengths) < longest
        logits: list[Tensor] = []
        start = 0
        for end in ends_of_passes(lengths, _LOGITS // model.config.get_text_config().vocab_size):
            cache = cache_with_prefix(prefix, end - start)
            logits.append(read_rows(model, [prompt[shared:] for prompt in prompts[start:end]], cache))
            read = states_of(cache)
            if start == 0:
                self._layers = [GrowingLayer(states, len(prompts), longest) for states in read]
            for layer, states in zip(self._layers, read, strict=True):
                layer.place(start, states)
            start = end
        self._cache = cache_of(self._layers)
        self._logits = torch.cat(logits)
        self._remaining = list(range(len(prompts)))

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Continue with some of the remaining rows; see `decoding.Batch`."""
        self._remaining = [self._remaining[place] for place in staying]
        rows = self._logits.shape[0]
        if (rows - len(self._remaining)) * DROP_SHARE >= rows:
            kept = torch.tensor(self._remaining, device=self._model.device)
            for layer in self._layers:
                layer.batch_select_indices(kept)
            self._mask, self._lengths = self._mask[kept], self._lengths[kept]
            self._remaining, rows = list(range(len(staying))), len(staying)
        taken = torch.zeros(rows, 1, dtype=torch.long)
        taken[self._remaining, 0] = torch.tensor(list(tokens))
        arguments: dict[str, Any] = {}
        if self._padded:
            arguments["position_ids"] = (self._lengths + self._written)[:, None]
            self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=True)
            arguments["attention_mask"] = self._mask
        output = self._model(
            input_ids=taken.to(self._model.device), past_key_values=self._cache, use_cache=True, **arguments
        )
        self._written += 1
        self._logits = output.logits[:, -1]


def ends_of_passes(lengths: Sequence[int], positions: int) -> Iterator[int]:
    """Split prompts, sorted by length, into those that are read in one pass, and yield the end of each part.

    Rows are padded where that takes less time than another pass, and where the logits of at most `positions` positions
    are computed at once: the last ones of each row, from the end of the shortest prompt on.
    """
    start = end = 0
    for length, same in itertools.groupby(lengths):
        after = end + len(list(same))
        if end:
            padding, kept = (length - lengths[end - 1]) * (end - start), length - lengths[start] + 1
            if padding > PASS or kept * (after - start) > positions:
                yield end
                start = end
        end = after
    yield end
