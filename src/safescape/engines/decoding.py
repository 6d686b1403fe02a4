"""Greedy decoding over a model's forward pass, optimised for short decisions about many prompts.

It works on token numbers only and knows no weights, no text, and no judge. A prefix that all prompts share is read
once; prompts of similar length are prefilled together, padded at their end; all answers of a batch are decoded
together; finished answers leave the batch and its cache. A batch is one of `shared_cache`, of `own_cache` for a model
that keeps more than keys and values, or of `cuda_graphs` on NVIDIA GPUs; `exactness` and `row_lengths` decide which.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from safescape.engines.kv_cache import Caching, States, common_prefix_length, read_prefix
from safescape.engines.own_cache import OwnBatch
from safescape.engines.row_lengths import caching_within, needs_equal_lengths, rotates_alike, scaled_alike_within
from safescape.engines.shared_cache import PASS, SharedBatch
from safescape.survey import Finish


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
    ends_as: Callable[[Sequence[int]], Finish | None] = lambda answer: None,
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
        ends_as: Called with the tokens of an answer so far; a value ends the answer, with this reason.
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
    padded = padded and rotates_alike(model, min(lengths), longest) and longest <= scaled_alike_within(text)
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
                    elif (finish := ends_as(answer)) is not None:
                        continuations[numbers[row]] = Continuation(answer, finish)
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
        return SharedBatch(model, prompts, prefix, shared)
    return OwnBatch(model, prompts, cached=caching is not Caching.NONE)


def _padding_is_faster(lengths: Sequence[int], shared: int, max_new_tokens: int, batch_size: int) -> bool:
    """Return whether padded batches take less time than batches of equal length, which read the shared prefix once."""
    passes = sum(-(-count // batch_size) for count in Counter(lengths).values()) - -(-len(lengths) // batch_size)
    more_tokens = len(lengths) * max(lengths) - (sum(lengths) - shared * (len(lengths) - 1))
    return more_tokens < passes * max_new_tokens * PASS


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
