"""How a model's own files mark its thoughts, and how its chat template is asked not to let it think."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase

from safescape.errors import InputError
from safescape.probes.chat import format_chats, variables_of
from safescape.survey import Chats, Markers, Thinking

OFF = "off"
"""Value of `reasoning` that asks the chat template to switch thinking off."""


class _Style(NamedTuple):
    """The markers of a family of models."""

    markers: Markers
    tokens: tuple[str, ...]
    """Tokens that a tokenizer adds to its vocabulary for them."""


def _style(start: str, end: str) -> _Style:
    return _Style(Markers(starts=(start,), ends=(end,)), (start, end))


_CHANNELS = Markers(
    starts=("<|channel|>analysis<|message|>", "<|channel|>commentary<|message|>"),
    ends=("<|end|><|start|>assistant<|channel|>final<|message|>", "<|channel|>final<|message|>"),
)
_STYLES = (
    # Qwen 3, DeepSeek R1 and V3.1, SmolLM 3, Phi 4 reasoning, GLM 4.5, EXAONE 4, Nemotron, Granite 3.3
    _style("<think>", "</think>"),
    _style("[THINK]", "[/THINK]"),  # Magistral
    _Style(_CHANNELS, ("<|channel|>", "<|message|>")),  # gpt-oss
    _style("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    _style("<seed:think>", "</seed:think>"),  # Seed-OSS
    _style("<thought>", "</thought>"),  # EXAONE Deep
    _style("◁think▷", "◁/think▷"),  # Kimi
)
_ASKED = "Hello"
_SWITCHES = ("enable_thinking", "thinking")
"""Variables of chat templates that switch thinking off if they are false."""


def markers_of(tokenizer: PreTrainedTokenizerBase, reasoning: str | None) -> Markers | None:
    """Return the markers of a model's thoughts; None if it has none.

    A pair of known markers is the model's own if its tokenizer has tokens for both, or its chat template names both.

    Args:
        tokenizer: With the chat template that is used.
        reasoning: `START,END` as the user gave it; otherwise the model's own are found.

    Raises:
        InputError: `reasoning` is not of that form.

    """
    if reasoning is not None and reasoning != OFF:
        return given_markers(reasoning)
    added, template = tokenizer.get_added_vocab(), str(tokenizer.get_chat_template())
    for markers, tokens in _STYLES:
        if all(token in added for token in tokens) or all(token in template for token in tokens):
            return markers
    return None


def thinking_of(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], chats: Sequence[str], max_tokens: int | None
) -> Thinking | None:
    """Return how prompts are answered by a model that thinks first; None if it has no markers of thoughts.

    Args:
        tokenizer: With the chat template that is used.
        prompts: What is asked.
        chats: The prompts as the model reads them.
        max_tokens: See `Thinking`.

    """
    markers = markers_of(tokenizer, None)
    if markers is None:
        return None
    return Thinking(markers, markers.is_open(Chats.of(prompts, chats).after), max_tokens)


def without_thought(text: str) -> str | None:
    """Return the answer in a text of unknown origin; None if it is a thought without an answer.

    A text that begins with a known start marker, or has a known end marker before any start marker, is split there.
    """
    for markers, _ in _STYLES:
        said = markers.split(text)
        begins = markers.begins_thought(text) or _first(text, markers.ends) < _first(text, markers.starts)
        if said.thought is not None and begins:
            return said.answer or None
    return text


def _first(text: str, parts: tuple[str, ...]) -> int:
    """Return the place of the first of some texts; the length of the text if there is none."""
    return min((text.find(part) for part in parts if part in text), default=len(text))


def given_markers(text: str) -> Markers:
    """Return markers given as `START,END`.

    Raises:
        InputError: the text is not of that form.

    """
    start, comma, end = text.partition(",")
    if not comma or not start.strip() or not end.strip() or start.strip() == end.strip() or "," in end:
        raise InputError(f"--reasoning {text:.80}: expected off, or START,END, for example '<think>,</think>'")
    return Markers(starts=(start.strip(),), ends=(end.strip(),))


def switched_off(tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Return the variable of the chat template that switches thinking off, and that it does so.

    Args:
        tokenizer: With the chat template that is used.
        variables: The other variables of the template.

    Raises:
        InputError: the template has no such variable, or it is among the other ones.

    """
    read = variables_of(tokenizer)
    for name in _SWITCHES:
        if name in read:
            on, off = (format_chats(tokenizer, [_ASKED], None, {**variables, name: value}) for value in (True, False))
            if name in variables:
                raise InputError(f"--reasoning off: sets {name}, and so does --template-var; give one of them")
            if on != off:
                return {name: False}
    raise InputError(
        f"--reasoning off: {' or '.join(_SWITCHES)} changes nothing in the chat template; leave it out and give "
        "--max-thinking-tokens N, or switch thinking off with another --template-var, or with --system-prompt"
    )
