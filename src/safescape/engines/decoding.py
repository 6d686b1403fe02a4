"""Greedy decoding over a model's forward pass, built to decide answers fast.

Knows token numbers only: nothing of weights, text, or what makes an answer settled. What it does for speed:
the prefix that all prompts share is computed once; prompts of equal length are prefilled together, so nothing is
padded; all answers of a batch are decoded together; an answer that is done or settled leaves the batch and its cache.
On an NVIDIA GPU other things are fast, and another opener of rows does them (`replaying`).
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
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from safescape.engines.kv_cache import States, cache_behind, read_prefix, states_of
from safescape.survey import Finish

__all__ = ["ATTENTION", "Continuation", "OpenRows", "Rows", "decode", "needs_equal_lengths"]

ATTENTION = "safescape_sdpa"
"""The attention that a model should be loaded with, where it supports SDPA at all."""

_GROWTH = 32
_WORTH_DROPPING = 8


class Continuation(NamedTuple):
    """What the model wrote after one prompt."""

    tokens: list[int]
    """Without the end-of-turn token."""
    finish: Finish


class Rows(Protocol):
    """The answers of a batch while they are decoded."""

    def next_tokens(self) -> list[int]:
        """The most likely next token of each row that is still in."""
        ...

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Go on with some of the rows that were in, each with the token that it took."""
        ...


OpenRows = Callable[[Sequence[Sequence[int]], Sequence[States], int, int], Rows]
"""Reads prompts, sorted by length; told the states of the prefix they share, its length, and the most new tokens."""


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    end_tokens: frozenset[int],
    max_new_tokens: int,
    batch_size: int,
    is_settled: Callable[[Sequence[int]], bool],
    open_rows: OpenRows | None = None,
) -> list[Continuation]:
    """Continue every prompt greedily.

    Args:
        model: A causal language model in evaluation mode.
        prompts: Token numbers, at least one each.
        end_tokens: Tokens that end an answer.
        max_new_tokens: The most that is written after a prompt.
        batch_size: The most answers decoded together.
        is_settled: Told the tokens of an answer so far; true stops it.
        open_rows: Another way to decode a batch of this model.

    Returns:
        One continuation a prompt, in the order of the prompts.

    """
    continuations: dict[int, Continuation] = {}
    with torch.inference_mode():
        shared = _shared_length(prompts)
        prefix = read_prefix(model, prompts[0][:shared])
        for batch in _batches(prompts, batch_size, equal_lengths=needs_equal_lengths(model)):
            asked = [prompts[number] for number in batch]
            rows = (open_rows or functools.partial(_Rows, model))(asked, prefix, shared, max_new_tokens)
            answers: list[list[int]] = [[] for _ in batch]
            live = list(range(len(batch)))
            while live:
                for row, token in zip(live, rows.next_tokens(), strict=True):
                    answer = answers[row]
                    if token in end_tokens:
                        continuations[batch[row]] = Continuation(answer, Finish.STOP)
                        continue
                    answer.append(token)
                    if is_settled(answer):
                        continuations[batch[row]] = Continuation(answer, Finish.SETTLED)
                    elif len(answer) == max_new_tokens:
                        continuations[batch[row]] = Continuation(answer, Finish.LENGTH)
                staying = [place for place, row in enumerate(live) if batch[row] not in continuations]
                live = [live[place] for place in staying]
                if live:
                    rows.step(staying, [answers[row][-1] for row in live])
    return [continuations[number] for number in range(len(prompts))]


def _shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, leaving every prompt at least one of its own."""
    columns = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    return min(sum(1 for _ in columns), min(len(prompt) for prompt in prompts) - 1)


def _batches(prompts: Sequence[Sequence[int]], limit: int, *, equal_lengths: bool) -> Iterator[list[int]]:
    """Split the prompts into batches of similar length and, as far as possible, equal size."""
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    groups: list[list[int]] = []
    for number in order:
        if groups and (not equal_lengths or len(prompts[groups[-1][0]]) == len(prompts[number])):
            groups[-1].append(number)
        else:
            groups.append([number])
    for group in groups:
        count = -(-len(group) // limit)
        bounds = [len(group) * part // count for part in range(count + 1)]
        yield from (group[start:end] for start, end in itertools.pairwise(bounds))


def needs_equal_lengths(model: PreTrainedModel) -> bool:
    """Whether a gap between a prompt and its answer would change the model's arithmetic.

    Rows of unequal length share a cache with a masked gap. That is exact for full attention over explicit
    positions; a sliding window would count the gap, and a model that makes up its own positions would too.
    """
    text = model.config.get_text_config()
    windowed = getattr(text, "sliding_window", None) is not None and getattr(text, "use_sliding_window", True)
    chunked = getattr(text, "attention_chunk_size", None) is not None
    return bool(windowed or chunked) or "position_ids" not in inspect.signature(model.forward).parameters


class _Prefilled(NamedTuple):
    logits: Tensor
    """Shape (rows, vocabulary): of the token after the last one."""
    layers: list[States]


def _prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], prefix: Sequence[States]) -> _Prefilled:
    """Read prompts of one length behind a shared prefix."""
    tokens = torch.tensor([list(prompt) for prompt in prompts], device=model.device)
    cache = cache_behind(prefix, len(prompts))
    output = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return _Prefilled(output.logits[:, -1], states_of(cache))


class _Rows:
    """The answers of a batch while they are decoded: one cache, one row an answer.

    A row's prompt fills the first slots, then comes a masked gap up to the longest prompt, then the answer.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], prefix: Sequence[States], shared: int, _: int
    ) -> None:
        self._model = model
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        self._cache = DynamicCache()
        self._layers: list[_Slots] = []
        self._lengths = torch.tensor(lengths, device=model.device)
        self._written = 0
        places = torch.arange(longest, device=model.device)
        self._mask = places < self._lengths[:, None]
        self._padded = min(lengths) < longest
        logits: list[Tensor] = [torch.empty(0)] * len(prompts)
        start = 0
        while start < len(prompts):
            end = start + sum(length == lengths[start] for length in lengths[start:])
            filled = _prefill(model, [prompt[shared:] for prompt in prompts[start:end]], prefix)
            for number, layer in enumerate(filled.layers):
                if start == 0:
                    self._layers.append(_Slots(layer.keys, layer.values, len(prompts), longest))
                self._layers[number].place(start, layer.keys, layer.values)
            logits[start:end] = filled.logits.unbind()
            start = end
        self._cache.layers = list(self._layers)
        self._logits = torch.stack(logits)
        self._inside = list(range(len(prompts)))

    def next_tokens(self) -> list[int]:
        """The most likely next token of each row that is still in."""
        tokens: list[int] = self._logits.argmax(dim=-1).tolist()
        return [tokens[place] for place in self._inside]

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Go on with some of the rows that were in, each with the token that it took.

        Rows that left are dropped from the cache when enough of them have, for dropping copies the cache.
        """
        self._inside = [self._inside[place] for place in staying]
        rows = self._logits.shape[0]
        if (rows - len(self._inside)) * _WORTH_DROPPING >= rows:
            kept = torch.tensor(self._inside, device=self._model.device)
            for layer in self._layers:
                layer.batch_select_indices(kept)
            self._mask, self._lengths = self._mask[kept], self._lengths[kept]
            self._inside, rows = list(range(len(staying))), len(staying)
        taken = torch.zeros(rows, 1, dtype=torch.long)
        taken[self._inside, 0] = torch.tensor(list(tokens))
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


class _Slots(DynamicLayer):
    """A cache layer that grows in place, a block of slots at a time, where DynamicLayer copies all it has each step."""

    def __init__(self, keys: Tensor, values: Tensor, rows: int, slots: int) -> None:
        super().__init__()
        self.dtype, self.device = keys.dtype, keys.device
        self._filled = slots
        self._keys = keys.new_zeros((rows, keys.shape[1], slots + _GROWTH, keys.shape[3]))
        self._values = values.new_zeros((rows, values.shape[1], slots + _GROWTH, values.shape[3]))
        self.is_initialized = True
        self._show()

    def place(self, row: int, keys: Tensor, values: Tensor) -> None:
        """Put the states of a group of prompts into the first slots of its rows."""
        rows = slice(row, row + keys.shape[0])
        self._keys[rows, :, : keys.shape[2]] = keys
        self._values[rows, :, : values.shape[2]] = values

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append one token's states and return all."""
        end = self._filled + key_states.shape[2]
        if end > self._keys.shape[2]:
            self._keys = torch.nn.functional.pad(self._keys, (0, 0, 0, _GROWTH))
            self._values = torch.nn.functional.pad(self._values, (0, 0, 0, _GROWTH))
        self._keys[:, :, self._filled : end] = key_states
        self._values[:, :, self._filled : end] = value_states
        self._filled = end
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only some rows."""
        self._keys, self._values = self._keys[indices], self._values[indices]
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self._keys[:, :, : self._filled], self._values[:, :, : self._filled]
        return self.keys, self.values


def _attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """SDPA that does not widen grouped keys and values to the number of heads when one token is decoded.

    With a single query position, the heads of a group can stand where query positions stand. Everything else is
    left to transformers.
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
