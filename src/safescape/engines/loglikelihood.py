"""Likelihoods of given continuations, for multiple choice and perplexity.

Knows token numbers only. What it does for speed: continuations that need the same forward pass share it (the options
of a question, where each is one token); rows that begin alike compute their beginning once; rows of similar length
are read together, padded behind their end, where a causal model does not look.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from safescape.engines.kv_cache import States, cache_behind, read_prefix

__all__ = ["Likelihood", "Request", "score"]

_LOGITS = 2**26
"""The most logits computed at a time: 256 MiB in fp32."""
_WORTH_SHARING = 0.5
"""Rows share a beginning when it is at least this part of the shorter one."""


class Likelihood(NamedTuple):
    """How likely a model finds a continuation."""

    log_probability: float
    """Natural logarithm, summed over the continuation's tokens."""
    tokens: int
    greedy: bool
    """Whether every one of its tokens is the most likely one there."""


class Request(NamedTuple):
    """Token numbers: what is given, at least one, and what is scored after it, at least one."""

    context: Sequence[int]
    continuation: Sequence[int]


def score(model: PreTrainedModel, requests: Sequence[Request], *, batch_size: int) -> list[Likelihood]:
    """Return the likelihood of every continuation after its context.

    Args:
        model: A causal language model in evaluation mode.
        requests: What is scored after what.
        batch_size: The most rows read together.

    """
    by_row: dict[tuple[int, ...], list[int]] = {}
    for number, (context, continuation) in enumerate(requests):
        by_row.setdefault((*context, *continuation[:-1]), []).append(number)
    found: dict[int, Likelihood] = {}
    vocabulary = model.config.get_text_config().vocab_size
    with torch.inference_mode():
        for group in _groups(sorted(by_row)):
            contexts = (len(requests[number].context) for row in group for number in by_row[row])
            # the logits after a context are needed, so its last token is never part of what is shared
            shared = min(_common(group[0], group[-1]), min(contexts) - 1)
            prefix = read_prefix(model, group[0][:shared])
            for batch in _batches(group, shared, batch_size, max(1, _LOGITS // vocabulary)):
                asked = [[requests[number] for number in by_row[row]] for row in batch]
                # a row's logits are needed from the last token of its shortest context
                start = min(len(request.context) for some in asked for request in some) - 1
                kept = max(map(len, batch)) - start
                log_probabilities = _log_probabilities(model, [row[shared:] for row in batch], prefix, kept)
                for row, place, some in zip(batch, log_probabilities, asked, strict=True):
                    for number, request in zip(by_row[row], some, strict=True):
                        found[number] = _likelihood(place, request, start)
    return [found[number] for number in range(len(requests))]


def _likelihood(log_probabilities: Tensor, request: Request, start: int) -> Likelihood:
    """Read a continuation off the log-probabilities (positions, vocabulary) that begin at position `start`."""
    first = len(request.context) - 1 - start
    there = log_probabilities[first : first + len(request.continuation)]
    targets = torch.tensor(list(request.continuation), device=there.device)
    taken = there.gather(1, targets[:, None])[:, 0]
    # one token after another in fp64, so that the sum does not depend on how many threads there are
    return Likelihood(
        sum(taken.double().tolist()), len(request.continuation), bool((there.argmax(dim=1) == targets).all())
    )


def _groups(rows: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Split sorted rows where their beginnings part; what a group shares, its first and its last row share.

    Rows that share their beginning with no other are a group too: they are read together, whatever little they share.
    """
    alone: list[tuple[int, ...]] = []
    group: list[tuple[int, ...]] = []
    for row in rows:
        if group and _common(group[0], row) < _WORTH_SHARING * min(len(group[0]), len(row)):
            if len(group) > 1:
                yield group
            else:
                alone += group
            group = []
        group.append(row)
    if len(group) > 1:
        yield group
        group = []
    if alone + group:
        yield alone + group


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _batches(
    rows: Sequence[tuple[int, ...]], shared: int, most_rows: int, most_positions: int
) -> Iterator[list[tuple[int, ...]]]:
    """Put rows of similar length together, as long as their logits stay few enough."""
    batch: list[tuple[int, ...]] = []
    for row in sorted(rows, key=len):
        if batch and (len(batch) == most_rows or (len(row) - shared) * (len(batch) + 1) > most_positions):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _log_probabilities(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], prefix: Sequence[States], kept: int
) -> Tensor:
    """Shape (rows, kept, vocabulary), fp32: after each of the last `kept` positions of the longest row."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)
    cache = cache_behind(prefix, len(rows))
    logits = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=kept).logits
    return torch.log_softmax(logits[:, -kept:].float(), dim=-1)
