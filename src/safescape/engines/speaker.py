"""Answering chats and scoring texts with a live model, whose weights an engine moved or a Trainer trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.decoding import OpenBatch, decode
from safescape.engines.kv_cache import Caching
from safescape.engines.loglikelihood import Likelihood, Request, score
from safescape.errors import InputError
from safescape.survey import Response


class Speaker:
    """Answers chats and scores texts with a causal language model in evaluation mode; keeps nothing between calls.

    At most `batch_size` answers are decoded together. `open_batch` and `caching` are those of `decode`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        open_batch: OpenBatch | None = None,
        caching: Caching = Caching.SHARED,
    ) -> None:
        self._model, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        self._open_batch, self.caching = open_batch, caching

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        """Answer every chat greedily; see `Voice.respond`."""
        continuations = decode(
            self._model,
            self._tokenizer(list(chats), add_special_tokens=False)["input_ids"],
            end_tokens=end_tokens(self._tokenizer, self._model.generation_config),
            max_new_tokens=max_new_tokens,
            batch_size=self._batch_size,
            is_settled=self._settled_by(stop),
            open_batch=self._open_batch,
            caching=self.caching,
        )
        return [Response(text_of(self._tokenizer, tokens), finish, len(tokens)) for tokens, finish in continuations]

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score continuations after their contexts; see `Voice.loglikelihood`."""
        wanted = [request_of(self._tokenizer, *request) for request in requests]
        return score(self._model, wanted, batch_size=self._batch_size, caching=self.caching)

    def _settled_by(self, stop: Sequence[str]) -> Callable[[Sequence[int]], bool]:
        """Return a function that tells whether an answer contains a substring that its newest token can end."""
        if not stop:
            return lambda tokens: False
        # A token is at least one byte, so the longest substring lies within this many tokens. The extra ones are for
        # a character that begins before the window.
        window = max(len(text.encode()) for text in stop) + 8

        def is_settled(tokens: Sequence[int]) -> bool:
            newest = text_of(self._tokenizer, tokens[-window:])
            return any(text in newest for text in stop)

        return is_settled


def request_of(tokenizer: PreTrainedTokenizerBase, context: str, continuation: str) -> Request:
    """Tokenise a context and its continuation; see `Voice.loglikelihood`."""
    kept = context.rstrip()
    whole = tokenizer(context + continuation)["input_ids"]
    given = len(tokenizer(kept)["input_ids"]) if kept else 1
    if len(whole) <= given:
        raise InputError(f"{(context + continuation)[:40]!r}: too short to be scored; give a longer text")
    return Request(whole[:given], whole[given:])


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Return the text of tokens, without special tokens."""
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True))


def end_tokens(tokenizer: PreTrainedTokenizerBase, settings: GenerationConfig | None) -> frozenset[int]:
    """Return the tokens that end an answer."""
    configured = settings.eos_token_id if settings is not None else None
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in (*ends, tokenizer.eos_token_id) if token is not None)
