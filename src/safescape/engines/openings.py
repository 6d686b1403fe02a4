"""Log-probabilities of several texts after each of many chats: the chats are read once, then all texts after them.

A prefix that all chats share is read once. Texts of similar length are read together after copies of their chats' keys
and values, so that little is padded; the first token of a text needs no pass of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel

from safescape.engines.kv_cache import (
    Caching,
    States,
    cache_with_prefix,
    common_prefix_length,
    padded_at_end,
    read_prefix,
    read_rows,
    states_of,
)
from safescape.engines.loglikelihood import LOGITS, Request, score
from safescape.engines.row_lengths import caching_within, needs_equal_lengths
from safescape.engines.shared_cache import PASS
from safescape.probes import Scored


def score_openings(
    model: PreTrainedModel,
    requests: Sequence[Sequence[Request]],
    *,
    batch_size: int,
    caching: Caching = Caching.SHARED,
) -> list[list[Scored]]:
    """Return the likelihood of every opening after its chat, in the order of the requests.

    Args:
        model: A causal language model in evaluation mode.
        requests: By chat, the openings after it.
        batch_size: The maximum number of openings read together, or those of one chat.
        caching: How the model's cache is used. Unless keys and values are shared, every opening is read with its chat.

    """
    if not can_share(model, requests, caching):
        flat = [request for some in requests for request in some]
        each = iter(score(model, flat, batch_size=batch_size, caching=caching))
        return [[Scored(*next(each)[:2]) for _ in some] for some in requests]
    found: dict[int, list[Scored]] = {}
    with torch.inference_mode():
        for numbers in batches_of(requests, batch_size):
            read = read_after_chats(model, [requests[number] for number in numbers])
            for number, texts in zip(numbers, read, strict=True):
                # added in order in fp64, so that the sum does not depend on the number of threads
                found[number] = [Scored(sum(text.tolist()), len(text)) for text in texts]
    return [found[number] for number in range(len(requests))]


def can_share(model: PreTrainedModel, requests: Sequence[Sequence[Request]], caching: Caching) -> bool:
    """Return whether `read_after_chats` takes these requests: rows of unequal length can share keys and values.

    All openings of a chat must follow the same tokens; see `speaker.opening_requests` where they do not.
    """
    lengths = [len(context) + len(continuation) for some in requests for context, continuation in some]
    return (
        caching_within(model, caching, min(lengths), max(lengths)) is Caching.SHARED
        and not needs_equal_lengths(model, max(lengths))
        and all(len({tuple(request.context) for request in some}) == 1 for some in requests)
    )


def batches_of(requests: Sequence[Sequence[Request]], most: int) -> Iterator[list[int]]:
    """Split chats, by their numbers, into batches of similar length with at most `most` openings, or of one chat."""
    batch: list[int] = []
    openings = 0
    for number in sorted(range(len(requests)), key=lambda number: len(requests[number][0].context)):
        if batch and openings + len(requests[number]) > most:
            yield batch
            batch, openings = [], 0
        batch.append(number)
        openings += len(requests[number])
    yield batch


def read_after_chats(model: PreTrainedModel, requests: Sequence[Sequence[Request]]) -> list[list[Tensor]]:
    """Return the log-probabilities of the tokens of every opening, (tokens,), with a graph where gradients are enabled.

    Args:
        model: A causal language model in evaluation mode, which shares keys and values.
        requests: By chat, its openings, all after the same tokens; see `can_share`.

    """
    chats = [some[0].context for some in requests]
    shared = min(common_prefix_length(chats), min(map(len, chats)) - 1)
    cache = cache_with_prefix(read_prefix(model, chats[0][:shared]), len(chats))
    first = read_rows(model, [chat[shared:] for chat in chats], cache).float().log_softmax(dim=-1)
    states, lengths = states_of(cache), list(map(len, chats))
    texts = [(place, request.continuation) for place, some in enumerate(requests) for request in some]
    after = {number: first[place][None] for number, (place, _) in enumerate(texts)}
    # the first token follows the chat, so that a text of one token is not read
    longer = sorted((n for n, (_, text) in enumerate(texts) if len(text) > 1), key=lambda n: len(texts[n][1]))
    most = max(1, LOGITS // model.config.get_text_config().vocab_size)
    for start, end in _passes([len(texts[number][1]) - 1 for number in longer], most):
        numbers = longer[start:end]
        read = [texts[number][1][:-1] for number in numbers]
        rows = _read_after(model, states, lengths, [texts[number][0] for number in numbers], read)
        for number, text, row in zip(numbers, read, rows, strict=True):
            after[number] = torch.cat([after[number], row[: len(text)]])
    each = iter(_taken(after[number], text) for number, (_, text) in enumerate(texts))
    return [[next(each) for _ in some] for some in requests]


def _taken(log_probabilities: Tensor, text: Sequence[int]) -> Tensor:
    """Return those of a text's tokens, (tokens,), from those of all tokens, (tokens, vocabulary)."""
    targets = torch.tensor(list(text), device=log_probabilities.device)
    return log_probabilities.gather(1, targets[:, None])[:, 0]


def _read_after(
    model: PreTrainedModel,
    states: Sequence[States],
    lengths: Sequence[int],
    places: Sequence[int],
    texts: Sequence[Sequence[int]],
) -> Tensor:
    """Return the log-probabilities after each token of texts that are read after chats: (texts, tokens, vocabulary).

    `states` are those of chats of `lengths` tokens, padded at their end; `places` are the chats of the texts.
    """
    rows = torch.tensor(list(places), device=model.device)
    cache, tokens = DynamicCache(), padded_at_end(texts, model.device)
    for layer, (keys, values) in enumerate(states):
        cache.update(keys[rows], values[rows], layer)
    arguments = {}
    if min(lengths) < max(lengths):
        own = torch.tensor(list(lengths), device=model.device)[rows][:, None]
        is_read = torch.arange(max(lengths), device=model.device) < own
        arguments["position_ids"] = own + torch.arange(tokens.shape[1], device=model.device)
        arguments["attention_mask"] = pad(is_read, (0, tokens.shape[1]), value=True)
    logits = model(input_ids=tokens, past_key_values=cache, use_cache=True, **arguments).logits
    return logits.float().log_softmax(dim=-1)


def _passes(lengths: Sequence[int], positions: int) -> Iterator[tuple[int, int]]:
    """Split texts, sorted by length, into those that are read in one pass, and yield where each part begins and ends.

    They are padded where that takes less time than another pass, and up to `positions` positions.
    """
    start = padding = 0
    for end in range(1, len(lengths) + 1):
        if end < len(lengths):
            padding += (lengths[end] - lengths[end - 1]) * (end - start)
            if (
                padding <= PASS
                and lengths[end] * (end + 1 - start) <= positions
                and (lengths[start] or not lengths[end])
            ):
                continue
        yield start, end
        start, padding = end, 0
