"""Likelihoods of several texts after each of many chats: the chats are read once, then all texts after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from safescape.engines.kv_cache import Caching, common_prefix_length, read_prefix
from safescape.engines.loglikelihood import LOGITS, Likelihood, Request, score
from safescape.engines.row_lengths import caching_within, needs_equal_lengths
from safescape.engines.shared_cache import SharedBatch

_Tokens = tuple[int, ...]


def score_openings(
    model: PreTrainedModel,
    requests: Sequence[Sequence[Request]],
    *,
    batch_size: int,
    caching: Caching = Caching.SHARED,
) -> list[list[Likelihood]]:
    """Return the likelihood of every opening after its chat, in the order of the requests.

    Args:
        model: A causal language model in evaluation mode.
        requests: By chat, the openings after it.
        batch_size: The maximum number of openings read together, or those of one chat.
        caching: How the model's cache is used. Unless keys and values are shared, every opening is read with its chat.

    """
    flat = [request for some in requests for request in some]
    lengths = [len(request.context) + len(request.continuation) for request in flat]
    caching = caching_within(model, caching, min(lengths), max(lengths))
    if caching is not Caching.SHARED or needs_equal_lengths(model, max(lengths)):
        found = iter(score(model, flat, batch_size=batch_size, caching=caching))
        return [[next(found) for _ in some] for some in requests]
    texts: dict[_Tokens, dict[_Tokens, None]] = {}
    for context, continuation in flat:
        texts.setdefault(tuple(context), {})[tuple(continuation)] = None
    scored: dict[tuple[_Tokens, _Tokens], Likelihood] = {}
    contexts = sorted(texts, key=len)
    shared = min(common_prefix_length(contexts), len(contexts[0]) - 1)
    with torch.inference_mode():
        prefix = read_prefix(model, contexts[0][:shared])
        for batch in _batches(contexts, texts, batch_size, LOGITS // model.config.get_text_config().vocab_size):
            read = SharedBatch(model, batch, prefix, shared)
            first = torch.log_softmax(read.logits.float(), dim=-1)
            after = [(place, text) for place, context in enumerate(batch) for text in texts[context]]
            # the logits after an opening's last token are not needed; one of a single token is not read
            logits = read.read([place for place, _ in after], [text[:-1] or text for _, text in after])
            later = torch.log_softmax(logits.float(), dim=-1)
            for row, (place, text) in enumerate(after):
                scored[batch[place], text] = _likelihood(first[place], later[row], text)
    return [[scored[tuple(context), tuple(continuation)] for context, continuation in some] for some in requests]


def _batches(
    contexts: Sequence[_Tokens], texts: Mapping[_Tokens, Mapping[_Tokens, None]], most_rows: int, most_positions: int
) -> Iterator[list[_Tokens]]:
    """Split contexts into batches with at most `most_rows` texts and `most_positions` tokens, or of one context."""
    batch: list[_Tokens] = []
    rows = longest = 0
    for context in contexts:
        more, length = len(texts[context]), max(map(len, texts[context]))
        is_full = rows + more > most_rows or (rows + more) * max(longest, length) > most_positions
        if batch and is_full:
            yield batch
            batch, rows, longest = [], 0, 0
        batch.append(context)
        rows, longest = rows + more, max(longest, length)
    yield batch


def _likelihood(first: Tensor, later: Tensor, text: _Tokens) -> Likelihood:
    """Return a text's likelihood from log-probabilities after the chat, (vocabulary,), and after each of its tokens."""
    places = torch.cat([first[None], later[: len(text) - 1]])
    targets = torch.tensor(text, device=places.device)
    taken = places.gather(1, targets[:, None])[:, 0]
    # Added in order in fp64, so that the sum does not depend on the number of threads.
    return Likelihood(sum(taken.tolist()), len(text), bool((places.argmax(dim=1) == targets).all()))
