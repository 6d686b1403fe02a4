"""Likelihoods of given continuations, for multiple choice and perplexity.

It works on token numbers only. Continuations that need the same forward pass share it (for example the options of a
question if each is one token). Rows with a common prefix compute it once. Rows of similar length are batched and
padded at their end, where a causal model does not attend.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from safescape.engines.kv_cache import (
    Caching,
    States,
    cache_with_prefix,
    common_prefix_length,
    last_logits_only,
    padded_at_end,
    read_prefix,
)
from safescape.engines.row_lengths import caching_within, rotates_alike
from safescape.engines.shared_cache import PASS

LOGITS = 2**26
"""The maximum number of logits computed at a time: 256 MiB in fp32."""
_SHARED_FRACTION = 0.5
"""Rows can be a group if their common prefix is at least this fraction of the shorter row."""


class Likelihood(NamedTuple):
    """The likelihood of a continuation under a model."""

    log_probability: float
    """The natural logarithm, summed over the continuation's tokens."""
    tokens: int
    greedy: bool
    """Whether each token is the most likely one at its position."""


class Request(NamedTuple):
    """Token numbers of a context and of the continuation to score, at least one each."""

    context: Sequence[int]
    continuation: Sequence[int]


def score(
    model: PreTrainedModel, requests: Sequence[Request], *, batch_size: int, caching: Caching = Caching.SHARED
) -> list[Likelihood]:
    """Return the likelihood of every continuation after its context, in the order of the requests.

    Args:
        model: A causal language model in evaluation mode.
        requests: The contexts and continuations.
        batch_size: The maximum number of rows read together.
        caching: How the model's cache is used; unless it is shared, rows are read whole.

    """
    by_row: dict[tuple[int, ...], list[int]] = {}
    for number, (context, continuation) in enumerate(requests):
        by_row.setdefault((*context, *continuation[:-1]), []).append(number)
    found: dict[int, Likelihood] = {}
    vocabulary = model.config.get_text_config().vocab_size
    rows = sorted(by_row)
    lengths = [len(row) for row in rows] or [0]
    is_shared = caching_within(model, caching, min(lengths), max(lengths)) is Caching.SHARED
    if is_shared:
        groups = _groups(rows)
    else:
        # What follows a position does not change it, so shorter rows are padded at their end without a mask.
        groups = iter([rows]) if rotates_alike(model, min(lengths), max(lengths)) else _of_equal_length(rows)
    with torch.inference_mode():
        for group in groups:
            contexts = (len(requests[number].context) for row in group for number in by_row[row])
            # The logits after a context are needed, so its last token is not part of the shared prefix.
            shared = min(common_prefix_length([group[0], group[-1]]), min(contexts) - 1) if is_shared else 0
            prefix = read_prefix(model, group[0][:shared]) if is_shared else None
            for batch in _batches(group, shared, batch_size, max(1, LOGITS // vocabulary)):
                asked = [[requests[number] for number in by_row[row]] for row in batch]
                # A row's logits are needed from the last token of its shortest context on.
                start = min(len(request.context) for some in asked for request in some) - 1
                kept = max(map(len, batch)) - start
                log_probabilities = _log_probabilities(model, [row[shared:] for row in batch], prefix, kept)
                for row, place, some in zip(batch, log_probabilities, asked, strict=True):
                    for number, request in zip(by_row[row], some, strict=True):
                        found[number] = _likelihood(place, request, start)
    return [found[number] for number in range(len(requests))]


def _likelihood(log_probabilities: Tensor, request: Request, start: int) -> Likelihood:
    """Return a continuation's likelihood from log-probabilities of shape (positions, vocabulary) from `start` on."""
    first = len(request.context) - 1 - start
    there = log_probabilities[first : first + len(request.continuation)]
    targets = torch.tensor(list(request.continuation), device=there.device)
    taken = there.gather(1, targets[:, None])[:, 0]
    # Added in order in fp64, so that the sum does not depend on the number of threads.
    return Likelihood(sum(taken.tolist()), len(request.continuation), bool((there.argmax(dim=1) == targets).all()))


def _groups(rows: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Group sorted rows by their common prefix, which is that of a group's first and last row.

    A group of its own reads the prefix once instead of in every row, in two more passes over the weights. Rows for
    which that takes longer form one group.
    """
    everywhere = common_prefix_length([rows[0], rows[-1]]) if rows else 0
    rest: list[tuple[int, ...]] = []
    for group in _alike(rows):
        prefix = common_prefix_length([group[0], group[-1]])
        if len(group) * (prefix - everywhere) - prefix > 2 * PASS:
            yield group
        else:
            rest += group
    if rest:
        yield rest


def _alike(rows: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Split sorted rows where a prefix ends that is at least half of a row."""
    group: list[tuple[int, ...]] = []
    for row in rows:
        if group and common_prefix_length([group[0], row]) < _SHARED_FRACTION * min(len(group[0]), len(row)):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _of_equal_length(rows: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    for _, group in itertools.groupby(sorted(rows, key=len), len):
        yield list(group)


def _batches(
    rows: Sequence[tuple[int, ...]], shared: int, most_rows: int, most_positions: int
) -> Iterator[list[tuple[int, ...]]]:
    """Split rows into batches of similar length with at most `most_rows` rows and `most_positions` positions."""
    batch: list[tuple[int, ...]] = []
    for row in sorted(rows, key=len):
        if batch and (len(batch) == most_rows or (len(row) - shared) * (len(batch) + 1) > most_positions):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _log_probabilities(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], prefix: Sequence[States] | None, kept: int
) -> Tensor:
    """Return the log-probabilities at the last `kept` positions of the longest row: (rows, kept, vocabulary), fp32.

    Without a prefix (None) no cache is used, since the model may have none of keys and values.
    """
    tokens = padded_at_end(rows, model.device)
    cached = {} if prefix is None else {"past_key_values": cache_with_prefix(prefix, len(rows))}
    logits = model(input_ids=tokens, use_cache=bool(cached), **cached, **last_logits_only(model, kept)).logits
    return torch.log_softmax(logits[:, -kept:].float(), dim=-1)
