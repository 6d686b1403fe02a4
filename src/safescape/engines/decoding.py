"""Greedy decoding over a model's forward pass, optimised for short decisions about many prompts.

It works on token numbers only and knows no weights, no text, and no judge. A prefix that all prompts share is read
once; prompts of similar length are prefilled together, padded at their end; all answers of a batch are decoded
together; finished answers leave the batch and its cache. `cuda_graphs` decodes a batch differently on NVIDIA GPUs, and
`own_cache` one of a model that keeps more than keys and values; `exactness` decides which.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from safescape.engines.kv_cache import (
    DROP_SHARE,
    Caching,
    GrowingLayer,
    RemainingRows,
    States,
    cache_of,
    cache_with_prefix,
    common_prefix_length,
    read_prefix,
    read_rows,
    states_of,
)
from safescape.engines.own_cache import OwnBatch
from safescape.survey import Finish

_PASS = 32
"""A pass over the weights takes about as long as so many more tokens in another one (135M parameters, two cores)."""
_LOGITS = 2**26
"""Logits that are computed at once, unless one pass for each length takes more."""


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


class VisibleBatch(Batch, Protocol):
    """A batch whose logits can be read."""

    @property
    def logits(self) -> Tensor:
        """The logits of each remaining row's next token: (rows, vocabulary)."""
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
    ruled: Callable[[VisibleBatch, Sequence[Sequence[int]], int], Batch] | None = None,
    caching: Caching = Caching.SHARED,
    padded: bool = False,
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
        ruled: Returns a batch that takes other tokens than the most likely ones, from a batch, its prompts and the
            maximum number of new tokens; `open_batch` is not used then. See `greedy.GreedyRules`.
        caching: How the model's cache is used; see `exactness.Plan`.
        padded: Whether prompts of unequal length may be decoded together with the model's own cache.

    """
    continuations: dict[int, Continuation] = {}
    lengths = [len(prompt) for prompt in prompts]
    longest, text = max(lengths) + max_new_tokens, model.config.get_text_config()
    padded = padded and rotates_alike(model, min(lengths), longest) and longest <= _scaled_alike_within(text)
    caching = caching_within(model, caching, min(lengths), longest)
    equal_lengths = not padded
    # Every prompt keeps at least one token of its own, whose logits give the first token of its answer.
    shared = min(common_prefix_length(prompts), min(lengths) - 1)
    if caching is Caching.SHARED:
        equal_lengths = needs_equal_lengths(model, longest)
        if equal_lengths and padded and _padding_is_faster(lengths, shared, max_new_tokens, batch_size):
            caching, equal_lengths = Caching.OWN, False
    if caching is not Caching.SHARED:
        shared = 0
    most = 1 if caching is Caching.ALONE else batch_size
    with torch.inference_mode():
        prefix = read_prefix(model, prompts[0][:shared])
        for numbers in _batches(prompts, most, equal_lengths=equal_lengths):
            asked = [prompts[number] for number in numbers]
            batch: Batch
            if ruled is not None:
                batch = ruled(batch_of(model, caching, asked, prefix, shared), asked, max_new_tokens)
            elif open_batch is not None and caching is Caching.SHARED:
                batch = open_batch(asked, prefix, shared, max_new_tokens)
            else:
                batch = batch_of(model, caching, asked, prefix, shared)
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


def batch_of(
    model: PreTrainedModel,
    caching: Caching,
    prompts: Sequence[Sequence[int]],
    prefix: Sequence[States] = (),
    shared: int = 0,
) -> VisibleBatch:
    """Prefill a batch of prompts, sorted by length; `prefix` has the states of their first `shared` tokens."""
    if caching is Caching.SHARED:
        return CachedBatch(model, prompts, prefix, shared)
    return OwnBatch(model, prompts, cached=caching is not Caching.NONE)


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

    They share it with a masked gap between prompt and answer. That is exact for full
    attention over given positions. A model that derives the positions itself would count the gap, and so would one that
    builds its masks itself, as those do whose attention cannot be exchanged (GPT-Neo), and any that counts places in
    its cache: see `full_attention_within`.

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
    `_scaled_alike_within`.
    """
    limits = [getattr(text, "attention_chunk_size", None), _scaled_alike_within(text)]
    if getattr(text, "use_sliding_window", True):
        limits.append(getattr(text, "sliding_window", None))
    # a list has a window for each layer
    each = itertools.chain.from_iterable(limit if isinstance(limit, (list, tuple)) else [limit] for limit in limits)
    return min((limit for limit in each if limit is not None), default=math.inf)


def _scaled_alike_within(text: PreTrainedConfig) -> float:
    """Return up to how many tokens of a row Llama 4 does not scale its queries by their place in the cache."""
    return text.floor_scale - 1 if getattr(text, "attn_temperature_tuning", None) else math.inf


def _padding_is_faster(lengths: Sequence[int], shared: int, max_new_tokens: int, batch_size: int) -> bool:
    """Return whether padded batches take less time than batches of equal length, which read the shared prefix once."""
    passes = sum(-(-count // batch_size) for count in Counter(lengths).values()) - -(-len(lengths) // batch_size)
    more_tokens = len(lengths) * max(lengths) - (sum(lengths) - shared * (len(lengths) - 1))
    return more_tokens < passes * max_new_tokens * _PASS


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


def _ends_of_passes(lengths: Sequence[int], positions: int) -> Iterator[int]:
    """Split prompts, sorted by length, into those that are read in one pass, and yield the end of each part.

    Rows are padded where that takes less time than another pass, and where the logits of at most `positions` positions
    are computed at once: the last ones of each row, from the end of the shortest prompt on.
    """
    start = end = 0
    for length, same in itertools.groupby(lengths):
        after = end + len(list(same))
        if end:
            padding, kept = (length - lengths[end - 1]) * (end - start), length - lengths[start] + 1
            if padding > _PASS or kept * (after - start) > positions:
                yield end
                start = end
        end = after
    yield end


class CachedBatch(RemainingRows):
    """A batch with one cache and one row per answer.

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
        for end in _ends_of_passes(lengths, _LOGITS // model.config.get_text_config().vocab_size):
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
        """Continue with some of the remaining rows; see `Batch`."""
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
