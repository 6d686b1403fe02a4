"""Answers of a reasoning model: first its thought, up to its end or a limit, then the answer after it.

Both engines answer in these stages, each of which continues token rows. What is judged, and may end an answer early, is
the answer alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from transformers import PreTrainedTokenizerBase

from safescape.engines.decoding import Continuation
from safescape.survey import Finish, Response, Thinking, Thought

_LOOK = 2
"""Tokens that a model may write before the marker of a thought, such as line breaks."""


class TellsNoise(Protocol):
    """Tells whether an answer ends as noise."""

    checks: tuple[int, ...]
    """Numbers of tokens of an answer, ascending, after which it is asked."""

    def __call__(self, text: str, tokens: Sequence[int]) -> bool:
        """Return whether an answer of which `text` was written, as `tokens`, is noise."""
        ...


class Ending(NamedTuple):
    """What ends an answer early."""

    stop: Sequence[str] = ()
    """Texts that settle it."""
    noise: TellsNoise | None = None
    """None: noise is written on."""


class Continuing(Protocol):
    """Continues rows of tokens greedily; both engines have it."""

    def __call__(
        self, rows: Mapping[int, Sequence[int]], max_new_tokens: int, ending: Ending, *, special: bool
    ) -> dict[int, Continuation]:
        """Return the continuation of each row, by the number of its prompt.

        Args:
            rows: By the number of the prompt.
            max_new_tokens: The maximum number of new tokens.
            ending: Ends a continuation, which is then `Finish.SETTLED` or `Finish.NOISE`.
            special: Whether its texts may hold special tokens.

        """
        ...


class _Stages(NamedTuple):
    """What was written for one prompt."""

    thought: Continuation | None
    """None: the model did not begin with a thought."""
    closing: list[int]
    """The tokens of the end marker, where safescape wrote it."""
    answer: Continuation | None
    """None: the thought was cut."""


def responses(
    continued: Continuing,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Sequence[int]],
    thinking: Thinking | None,
    *,
    max_new_tokens: int,
    ending: Ending,
) -> list[Response]:
    """Let a model answer, after its thought if it thinks; return one response per row, in order.

    Args:
        continued: Of the engine.
        tokenizer: Of the model.
        rows: The chats as tokens.
        thinking: How thoughts are told from answers, and how long they may be; None: all that is written is the answer.
        max_new_tokens: The maximum number of tokens of an answer.
        ending: Ends an answer early, not a thought.

    """
    prompts = dict(enumerate(map(list, rows)))
    if thinking is None:
        found = continued(prompts, max_new_tokens, ending, special=False)
        return [
            Response(text_of(tokenizer, tokens), finish, len(tokens))
            for tokens, finish in (found[number] for number in prompts)
        ]
    markers = thinking.markers
    prompts_that_think = prompts if thinking.opened else _begun(continued, tokenizer, prompts, thinking)
    thoughts: dict[int, Continuation] = {}
    if prompts_that_think:
        thoughts = continued(
            prompts_that_think, thinking.max_tokens or max_new_tokens, Ending(markers.ends), special=True
        )
    end = [int(token) for token in tokenizer(markers.ends[0], add_special_tokens=False)["input_ids"]]
    closing = {
        number: end
        for number, thought in thoughts.items()
        if thought.finish is Finish.LENGTH and thinking.max_tokens is not None
    }
    answering = {
        number: [*prompt, *(thoughts[number].tokens if number in thoughts else ()), *closing.get(number, ())]
        for number, prompt in prompts.items()
        if number not in thoughts or number in closing or thoughts[number].finish is Finish.SETTLED
    }
    answers = continued(answering, max_new_tokens, ending, special=False) if answering else {}
    splitter = _Splitter(tokenizer, thinking)
    return [
        splitter.response(_Stages(thoughts.get(number), closing.get(number, []), answers.get(number)))
        for number in prompts
    ]


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], *, special: bool = False) -> str:
    """Return the text of tokens, with or without special tokens."""
    return str(tokenizer.decode(list(tokens), skip_special_tokens=not special))


def _begun(
    continued: Continuing, tokenizer: PreTrainedTokenizerBase, prompts: Mapping[int, list[int]], thinking: Thinking
) -> dict[int, list[int]]:
    """Return the prompts to which the model begins with a thought."""
    starts = tokenizer(list(thinking.markers.starts), add_special_tokens=False)["input_ids"]
    first = continued(prompts, max(map(len, starts)) + _LOOK, Ending(), special=True)
    begins = thinking.markers.begins_thought
    return {
        number: prompt
        for number, prompt in prompts.items()
        if begins(text_of(tokenizer, first[number].tokens, special=True))
    }


class _Splitter:
    """Splits what was written into thought and answer, as texts without special tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, thinking: Thinking) -> None:
        self._tokenizer, self._thinking = tokenizer, thinking
        marked = "\n".join((*thinking.markers.starts, *thinking.markers.ends))
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        self._dropped = {number for text, number in special.items() if text not in marked}
        self._parts_of_markers = [text for text in special if text in marked]

    def response(self, stages: _Stages) -> Response:
        """Return what was written as a response."""
        before, after = stages.thought, stages.answer
        written = [*(before.tokens if before else ()), *stages.closing, *(after.tokens if after else ())]
        text = text_of(self._tokenizer, [token for token in written if token not in self._dropped], special=True)
        said = self._thinking.markers.split(text, opened=self._thinking.opened)
        last = after or before
        assert last is not None
        response = Response(self._plain(said.answer), last.finish, len(written) - len(stages.closing))
        if said.thought is None:
            return response
        if before is None:
            # it did not begin with this thought, whose tokens were not counted
            count, is_ended = (
                len(self._tokenizer(said.thought, add_special_tokens=False)["input_ids"]),
                not said.is_open,
            )
        else:
            count, is_ended = len(before.tokens), before.finish is Finish.SETTLED
        return response._replace(thought=Thought(self._plain(said.thought), count, is_ended))

    def _plain(self, text: str) -> str:
        for part in self._parts_of_markers:
            text = text.replace(part, "")
        return text
