"""Whether a model's context is long enough for what a survey asks: each refusal names the text that is too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from safescape.engines.speaker import head_of, tokens_of
from safescape.errors import InputError
from safescape.survey import ChoiceProbe, MarginProbe, PerplexityProbe, PromptProbe, Survey

_SHOWN = 40
"""Characters of a text that is too long; an adaptive survey shuffles its prompts, so that they have no row."""


def check_context(
    survey: Survey, model: str, most: int, tokenizer: PreTrainedTokenizerBase, chats: Mapping[str, Sequence[str]]
) -> None:
    """Check that every prompt with its answer, and every text to score, fits into the context of a model.

    The texts of an lm-eval task are known only when it runs.

    Args:
        survey: What is asked.
        model: The model's name, for the message.
        most: The number of tokens that it reads.
        tokenizer: Of the model.
        chats: The prompts of each probe in the chat template.

    Raises:
        InputError: a text is too long.

    """

    def counts(texts: Sequence[str], *, raw: bool) -> list[int]:
        return list(map(len, tokens_of(tokenizer, texts, head_of(tokenizer, raw=raw))))

    recipes = [probe for probe in survey.chat_probes if probe not in survey.probes]
    for probe in (*survey.probes, *recipes):
        if isinstance(probe, PromptProbe):
            tokens, text = max(zip(counts(chats[probe.name], raw=False), probe.prompts, strict=True))
            if tokens >= most:
                raise InputError(
                    f"{probe.source}: the prompt {_beginning(text)} has {tokens} tokens in the chat template, {model} "
                    f"reads {most}; shorten or remove it"
                )
            written = longest_answer(survey, tokenizer)
            if tokens + written > most:
                limits = "--max-new-tokens"
                if survey.markers is not None:
                    limits = "--max-thinking-tokens and --max-new-tokens together"
                raise InputError(
                    f"{model}: reads {most} tokens, {tokens + written} are asked for; lower {limits} to "
                    f"{most - tokens}, or shorten the prompt {_beginning(text)} of {probe.source}"
                )
        elif isinstance(probe, MarginProbe):
            longest = with_longest_openings(probe, chats[probe.name])
            _check_scored(probe.source, longest, counts(longest, raw=False), model, most)
        elif isinstance(probe, PerplexityProbe):
            _check_scored(probe.source, probe.texts, counts(probe.texts, raw=True), model, most)
        elif isinstance(probe, ChoiceProbe):
            longest = [question.context + max(question.options, key=len) for question in probe.questions]
            _check_scored(probe.source, longest, counts(longest, raw=True), model, most)


def with_longest_openings(probe: MarginProbe, chats: Sequence[str]) -> list[str]:
    """Return the chats of a probe, each with the longest opening that is scored after it."""
    return [
        chat + max((*given.refusing, *given.complying), key=len)
        for chat, given in zip(chats, probe.openings, strict=True)
    ]


def longest_answer(survey: Survey, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the maximum number of tokens after a prompt: those of the answer, and of the thought before it."""
    if survey.markers is None:
        return survey.max_new_tokens
    (closing,) = tokens_of(tokenizer, [survey.markers.ends[0]], ())
    return (survey.max_thinking_tokens or survey.max_new_tokens) + len(closing) + survey.max_new_tokens


def _check_scored(source: str, texts: Sequence[str], counts: Sequence[int], model: str, most: int) -> None:
    for row, (text, tokens) in enumerate(zip(texts, counts, strict=True), start=1):
        if tokens >= most:
            raise InputError(
                f"{source}: row {row} ({_beginning(text)}) has {tokens} tokens, {model} scores fewer than {most}; "
                "shorten, split or remove it"
            )


def _beginning(text: str) -> str:
    return repr(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")
