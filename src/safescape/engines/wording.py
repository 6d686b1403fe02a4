"""From text to token numbers and back, alike in every engine."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import GenerationConfig, PreTrainedTokenizerBase

from safescape.engines.scoring import Request
from safescape.errors import InputError

__all__ = ["end_tokens", "request_of", "text_of"]


def request_of(tokenizer: PreTrainedTokenizerBase, context: str, continuation: str) -> Request:
    """Split what is given from what is scored; see `Speaker.loglikelihood`.

    Raises:
        InputError: nothing is left to score.

    """
    kept = context.rstrip()
    whole = tokenizer(kept + context[len(kept) :] + continuation)["input_ids"]
    given = len(tokenizer(kept)["input_ids"]) if kept else 1
    if len(whole) <= given:
        raise InputError(f"{(context + continuation)[:40]!r}: too short to be scored; give a longer text")
    return Request(whole[:given], whole[given:])


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Return what tokens say; special ones say nothing."""
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True))


def end_tokens(tokenizer: PreTrainedTokenizerBase, settings: GenerationConfig | None) -> frozenset[int]:
    """Return the tokens that end an answer."""
    configured = settings.eos_token_id if settings is not None else None
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in (*ends, tokenizer.eos_token_id) if token is not None)
