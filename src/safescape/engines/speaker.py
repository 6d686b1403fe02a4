"""Answers chats and scores texts with a live model, wherever its weights stand.

The way from text to token numbers and back. Knows nothing of how the weights came to stand there: an engine moved
them, or somebody's training did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.decoding import OpenRows, decode
from safescape.engines.loglikelihood import Likelihood, Request, score
from safescape.errors import InputError
from safescape.survey import Response

__all__ = ["Speaker", "end_tokens", "request_of", "text_of"]


class Speaker:
    """Answers chats and scores texts.

    Args:
        model: A causal language model in evaluation mode; it is read anew at every call, and nothing of it is kept.
        tokenizer: The model's.
        batch_size: The most answers decoded together.
        open_rows: Another way to decode; see `decode`.

    Raises:
        InputError: the model keeps something else than keys and values between its tokens.

    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        open_rows: OpenRows | None = None,
    ) -> None:
        if getattr(model, "_is_stateful", False):
            raise InputError(
                f"{model.config.name_or_path or model.config.model_type}: a model with a recurrent state is not "
                "supported; give a transformer"
            )
        self._model, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        self._open_rows = open_rows

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        """Answer every chat greedily.

        Args:
            chats: What the model reads, chat template and all.
            max_new_tokens: The most tokens of an answer.
            stop: Substrings that settle an answer as soon as they appear; empty: every answer is written to its end.

        """
        tokens = self._tokenizer(list(chats), add_special_tokens=False)["input_ids"]
        continuations = decode(
            self._model,
            tokens,
            end_tokens=end_tokens(self._tokenizer, self._model.generation_config),
            max_new_tokens=max_new_tokens,
            batch_size=self._batch_size,
            is_settled=self._settled_by(stop),
            open_rows=self._open_rows,
        )
        return [Response(text_of(self._tokenizer, tokens), finish, len(tokens)) for tokens, finish in continuations]

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score texts after contexts, each on its own.

        Args:
            requests: (context, continuation). A context's trailing spaces count as the continuation's, as in lm-eval.
                With an empty context the continuation's first token is given, not scored, as in transformers' loss.

        Raises:
            InputError: nothing is left to score.

        """
        wanted = [request_of(self._tokenizer, *request) for request in requests]
        return score(self._model, wanted, batch_size=self._batch_size)

    def _settled_by(self, stop: Sequence[str]) -> Callable[[Sequence[int]], bool]:
        """Tell whether an answer holds one of the substrings, looking only where its newest token can have made one."""
        if not stop:
            return lambda tokens: False
        # a token is at least one byte, so the longest substring lies within this many; the slack is for a
        # character that began before the window
        window = max(len(text.encode()) for text in stop) + 8

        def is_settled(tokens: Sequence[int]) -> bool:
            newest = text_of(self._tokenizer, tokens[-window:])
            return any(text in newest for text in stop)

        return is_settled


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
