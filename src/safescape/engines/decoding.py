"""Greedy decoding over a model's forward pass, optimised for short decisions about many prompts.

It works on token numbers only and knows no weights, no text, and no judge. A prefix that all prompts share is read
once; prompts of equal length are prefilled together, so no row is padded; all answers of a batch are decoded
together; finished answers leave the batch and its cache. `cuda_graphs` decodes a batch differently on NVIDIA GPUs.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from safescape.engines.kv_cache import (
    GrowingLayer,
    States,
    cache_of,
    cache_with_prefix,
    common_prefix_length,
    read_prefix,
    states_of,
)
from safescape.survey import Finish

ATTENTION = "safescape_sdpa"
"""The attention implementation to load a model with, if it supports SDPA."""

_DROP_SHARE = 8
"""Finished rows are dropped from the cache, which copies it, when they are at least an eighth of it."""


class Continuation(NamedTuple):
    """The tokens that the model wrote after one prompt."""

    tokens: list[int]
    """Without the end-of-turn token."""
    finish: Finish


class Batch(Protocol):
    """Answers that are decoded together; rows leave it as their answers end."""

    def next_tokens(self) -> list[int]:
        """Return the most likely next token of each remaining row."""
        ...

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Continue with some of the remaining rows, by their position, each with the token that it took."""
        ...


OpenBatch = Callable[[Sequence[Sequence[int]], Sequence[States], int, int], Batch]
"""Prefills a batch. Arguments: the prompts, sorted by length; the states of their shared prefix; the length of that
prefix; the maximum number of new tokens."""


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    end_tokens: frozenset[int],
    max_new_tokens: int,
    batch_size: int,
    is_settled: Callable[[Sequence[int]], bool],
    open_batch: OpenBatch | None = None,
    is_ended: Callable[[Sequence[int], Sequence[int]], bool] = lambda prompt, answer: False,
) -> list[Continuation]:
    """Continue every prompt greedily; return one continuation per prompt, in order.

    Args:
        model: A causal language model in evaluation mode.
        prompts: Token numbers, at least one per prompt.
        end_tokens: The tokens that end an answer.
        max_new_tokens: The maximum number of tokens of an answer.
        batch_size: The maximum number of answers decoded together.
        is_settled: Called with the tokens of an answer so far; true ends the answer.
        open_batch: Prefills a batch in another way, for example `GraphDecoder.open_batch`.
        is_ended: Called with a prompt and its answer so far; true ends the answer as the model's own end token does.

    """
    continuations: dict[int, Continuation] = {}
    with torch.inference_mode():
        # Every prompt keeps at least one token of its own, whose logits give the first token of its answer.
        shared = min(common_prefix_length(prompts), min(map(len, prompts)) - 1)
        prefix = read_prefix(model, prompts[0][:shared])
        for numbers in _batches(prompts, batch_size, equal_lengths=needs_equal_lengths(model)):
            asked = [prompts[number] for number in numbers]
            batch = (open_batch or functools.partial(CachedBatch, model))(asked, prefix, shared, max_new_tokens)
            answers: list[list[int]] = [[] for _ in numbers]
            live = list(range(len(numbers)))
            while live:
                for row, token in zip(live, batch.next_tokens(), strict=True):
                    answer = answers[row]
                    if token in end_tokens:
                        continuations[numbers[row]] = Continuation(answer, Finish.STOP)
                        continue
                    answer.append(token)
                    if is_ended(prompts[numbers[row]], answer):
                        continuations[numbers[row]] = Continuation(answer, Finish.STOP)
                    elif is_settled(answer):
                        continuations[numbers[row]] = Continuation(answer, Finish.SETTLED)
                    elif len(answer) == max_new_tokens:
                        continuations[numbers[row]] = Continuation(answer, Finish.LENGTH)
                staying = [place for place, row in enumerate(live) if numbers[row] not in continuations]
                live = [live[place] for place in staying]
                if live:
                    batch.step(staying, [answers[row][-1] for row in live])
    return [continuations[number] for number in range(len(prompts))]


def needs_equal_lengths(model: PreTrainedModel) -> bool:
    """Return whether only prompts of equal length can be decoded together without changing the model's arithmetic.

    Rows of unequal length share a cache with a masked gap between prompt and answer. That is exact for full
    attention over given positions. A sliding window would count the gap, and so would a model that derives the
    positions itself.
    """
    text = model.config.get_text_config()
    windowed = getattr(text, "sliding_window", None) is not None and getattr(text, "use_sliding_window", True)
    chunked = getattr(text, "attention_chunk_size", None) is not None
    return bool(windowed or chunked) or "position_ids" not in inspect.signature(model.forward).parameters


def _batches(prompts: Sequence[Sequence[int]], limit: int, *, equal_lengths: bool) -> Iterator[list[int]]:
    """Split the prompts into batches of similar length and, as far as possible, equal size."""

    def length(number: int) -> int:
        return len(prompts[number])

    order = sorted(range(len(prompts)), key=length)
    groups = [list(same) for _, same in itertools.groupby(order, length)] if equal_lengths else [order]
    for group in groups:
        count = -(-len(group) // limit)
        bounds = [len(group) * part // count for part in range(count + 1)]
        yield from (group[start:end] for start, end in itertools.pairwise(bounds))


class CachedBatch:
    """A batch with one cache and one row per answer.

    A row's prompt fills the first slots, then comes a masked gap up to the longest prompt, then the answer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        prefix: Sequence[States],
        shared: int,
        _: int = 0,
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
        while start < len(prompts):
            # Prompts of one length are read together, after the shared prefix.
            end = start + lengths.count(lengths[start])
            tokens = torch.tensor([list(prompt[shared:]) for prompt in prompts[start:end]], device=model.device)
            cache = cache_with_prefix(prefix, end - start)
            output = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits.append(output.logits[:, -1])
            read = states_of(cache)
            if start == 0:
                self._layers = [GrowingLayer(states, len(prompts), longest) for states in read]
            for layer, states in zip(self._layers, read, strict=True):
                layer.place(start, states)
            start = end
        self._cache = cache_of(self._layers)
        self._logits = torch.cat(logits)
        self._remaining = list(range(len(prompts)))

    def next_tokens(self) -> list[int]:
        """Return the most likely next token of each remaining row."""
        tokens: list[int] = self._logits.argmax(dim=-1).tolist()
        return [tokens[place] for place in self._remaining]

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Continue with some of the remaining rows; see `Batch`."""
        self._remaining = [self._remaining[place] for place in staying]
        rows = self._logits.shape[0]
        if (rows - len(self._remaining)) * _DROP_SHARE >= rows:
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


def _attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """SDPA that does not repeat grouped keys and values for every head when one token is decoded.

    With a single query position, the heads of a group can take the place of query positions. All other cases are
    passed on to transformers.
    """
    groups = query.shape[1] // key.shape[1]
    plain = kwargs.get("position_bias") is None and kwargs.get("cache") is None
    if query.shape[2] != 1 or groups == 1 or not plain:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    rows, heads, _, width = query.shape
    folded = query.reshape(rows, heads // groups, groups, width)
    output = scaled_dot_product_attention(folded, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling"))
    return output.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
