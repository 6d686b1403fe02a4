"""Answering chats and scoring texts with a live model, whose weights an engine moved or a Trainer trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.decoding import Continuation, OpenBatch, decode
from safescape.engines.greedy import GreedyRules, Settings, greedy_settings
from safescape.engines.kv_cache import Caching
from safescape.engines.loglikelihood import Likelihood, Request, score
from safescape.engines.openings import score_openings
from safescape.engines.stages import Ending, TellsNoise, responses, text_of
from safescape.errors import InputError
from safescape.probes import Scored
from safescape.survey import Finish, Response, Thinking


class Speaker:
    """Answers chats and scores texts with a causal language model in evaluation mode; keeps nothing between calls.

    At most `batch_size` answers are decoded together. `open_batch`, `caching` and `padded` are those of `decode`.
    `generation` is what the model's generation settings change of greedy decoding; None: what they say now.

    Raises:
        InputError: The model's generation settings ask for another decoding.

    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        open_batch: OpenBatch | None = None,
        generation: Settings | None = None,
        caching: Caching = Caching.SHARED,
        *,
        padded: bool = False,
    ) -> None:
        self._model, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        if generation is None:
            generation = settings_of(model, tokenizer)
        self._rules = GreedyRules(model, tokenizer, generation)
        self._open_batch, self.caching, self.padded = open_batch, caching, padded

    def respond(
        self,
        chats: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str],
        noise: TellsNoise | None = None,
        raw: bool = False,
        thinking: Thinking | None = None,
    ) -> list[Response]:
        """Answer every chat greedily; see `Voice.respond`."""
        rows = tokens_of(self._tokenizer, chats, head_of(self._tokenizer, raw=raw))
        self._check(rows)
        return responses(
            self._continued, self._tokenizer, rows, thinking, max_new_tokens=max_new_tokens, ending=Ending(stop, noise)
        )

    def _continued(
        self, rows: Mapping[int, Sequence[int]], max_new_tokens: int, ending: Ending, *, special: bool
    ) -> dict[int, Continuation]:
        """Continue rows; see `stages.Continuing`."""
        found = decode(
            self._model,
            list(rows.values()),
            end_tokens=self._rules.ends,
            max_new_tokens=max_new_tokens,
            batch_size=self._batch_size,
            ends_as=self._ends_as(ending, max_new_tokens, special=special),
            open_batch=self._open_batch,
            is_ended=self._rules.is_ended,
            ruled=self._rules.ruled if self._rules.changes_tokens else None,
            caching=self.caching,
            padded=self.padded,
        )
        return dict(zip(rows, found, strict=True))

    def loglikelihood(self, requests: Sequence[tuple[str, str]], *, raw: bool = True) -> list[Likelihood]:
        """Score continuations after their contexts; see `Voice.loglikelihood`."""
        head = head_of(self._tokenizer, raw=raw)
        wanted = [request_of(self._tokenizer, *request, head) for request in requests]
        self._check([*context, *continuation] for context, continuation in wanted)
        return score(self._model, wanted, batch_size=self._batch_size, caching=self.caching)

    def openings(self, chats: Sequence[str], openings: Sequence[Sequence[str]]) -> list[list[Scored]]:
        """Score texts that an answer may begin with; see `ScoresOpenings.openings`."""
        wanted = opening_requests(self._tokenizer, chats, openings)
        self._check([*context, *continuation] for some in wanted for context, continuation in some)
        return score_openings(self._model, wanted, batch_size=self._batch_size, caching=self.caching)

    def _check(self, rows: Iterable[Sequence[int]]) -> None:
        config = self._model.config
        check_tokens(
            config.name_or_path or config.model_type, self._tokenizer, rows, config.get_text_config().vocab_size
        )

    def _ends_as(self, ending: Ending, most: int, *, special: bool) -> Callable[[Sequence[int]], Finish | None]:
        """Return a function that tells whether an answer of at most `most` tokens ends early with its newest token."""
        stop, noise = ending
        # A token is at least one byte, so the longest substring lies within this many tokens. The extra ones are for
        # a character that begins before the window.
        window = max((len(text.encode()) for text in stop), default=0) + 8
        checks = frozenset(number for number in noise.checks if number < most) if noise else frozenset()

        def ends_as(tokens: Sequence[int]) -> Finish | None:
            if stop:
                newest = text_of(self._tokenizer, tokens[-window:], special=special)
                if any(text in newest for text in stop):
                    return Finish.SETTLED
            if noise and len(tokens) in checks and noise(text_of(self._tokenizer, tokens), tokens):
                return Finish.NOISE
            return None

        return ends_as


def head_of(tokenizer: PreTrainedTokenizerBase, *, raw: bool) -> list[int]:
    """Return the tokens that a text begins with: BOS, if the tokenizer puts it before texts; none before a chat.

    A chat template writes BOS itself. What the tokenizer puts after a text (EOS) is never added: the text goes on.

    Args:
        tokenizer: Of the model.
        raw: Whether the text is raw; otherwise it is a chat as its template wrote it.

    Raises:
        InputError: the tokenizer does not only add tokens before and after a text.

    """
    if not raw:
        return []
    plain, whole = (list(tokenizer("a", add_special_tokens=added)["input_ids"]) for added in (False, True))
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    raise InputError(
        f"{tokenizer.name_or_path}: its tokenizer reads a text otherwise with special tokens than without; mend its "
        "post-processor in tokenizer.json"
    )


def tokens_of(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], head: Sequence[int]) -> list[list[int]]:
    """Return the tokens of texts that begin with `head`, each once: a text may have it written out."""
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [row if row[: len(head)] == [*head] else [*head, *row] for row in rows]


def request_of(
    tokenizer: PreTrainedTokenizerBase, context: str, continuation: str, head: Sequence[int] = ()
) -> Request:
    """Tokenise a context and its continuation, which begin with `head`; see `Voice.loglikelihood`."""
    kept = context.rstrip()
    whole, before = tokens_of(tokenizer, [context + continuation, kept], head)
    given = len(before) if kept else max(1, len(head))
    if len(whole) <= given:
        raise InputError(f"{(context + continuation)[:40]!r}: too short to be scored; give a longer text")
    return Request(whole[:given], whole[given:])


def opening_requests(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[str], openings: Sequence[Sequence[str]]
) -> list[list[Request]]:
    """Tokenise texts that answers to chats may begin with; see `ScoresOpenings.openings`."""
    found = []
    for chat, given, some in zip(chats, tokens_of(tokenizer, chats, ()), openings, strict=True):
        whole = tokens_of(tokenizer, [chat + opening for opening in some], ())
        found.append(
            [
                Request(given, row[len(given) :])
                if len(row) > len(given) and row[: len(given)] == given
                else request_of(tokenizer, chat, opening)
                for row, opening in zip(whole, some, strict=True)
            ]
        )
    return found


def check_tokens(name: str, tokenizer: PreTrainedTokenizerBase, rows: Iterable[Sequence[int]], vocabulary: int) -> None:
    """Raise InputError if a row has a token that the embedding of the model `name`, of `vocabulary` rows, lacks."""
    highest = max((max(row) for row in rows if row), default=0)
    if highest >= vocabulary:
        raise InputError(
            f"{name}: {tokenizer.convert_ids_to_tokens(highest)!r} is token {highest} of the tokenizer, and the "
            f"embedding has {vocabulary} rows; save the tokenizer that the model was trained with, give a "
            "--chat-template FILE without this token or, between two models, --template-of base"
        )


def settings_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Settings:
    """Return what a live model's generation settings change of greedy decoding; see `greedy_settings`."""
    config = model.generation_config
    return {} if config is None else greedy_settings(model.config.name_or_path or "the model", config, tokenizer)
