"""Tiny reasoning models: trained to think and answer, with the markers of several families."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from helpers.tiny_models import CHAT_TEMPLATE, save_answering_model


class Style(NamedTuple):
    """How a tiny model marks its thoughts."""

    start: str
    end: str
    more: tuple[str, ...] = ()
    """Special tokens of its tokenizer."""
    template: str = CHAT_TEMPLATE
    """Its end begins the thought if it is not `CHAT_TEMPLATE`."""

    @property
    def is_opened(self) -> bool:
        """Whether the chat template begins the thought."""
        return self.template != CHAT_TEMPLATE


STYLES = {
    "tokens": Style("<think>", "</think>", ("<think>", "</think>")),
    "tokens, opened": Style("<think>", "</think>", ("<think>", "</think>"), f"{CHAT_TEMPLATE}<think>"),
    # several tokens a marker: the template names them
    "text, opened": Style("<think>", "</think>", (), f"{CHAT_TEMPLATE}{{# </think> #}}<think>"),
    "mistral": Style("[THINK]", "[/THINK]", ("[THINK]", "[/THINK]")),
    "channels": Style(
        "<|channel|>analysis<|message|>",
        "<|channel|>final<|message|>",
        ("<|channel|>", "<|message|>", "<|start|>"),
    ),
}
THOUGHTS: Mapping[str, tuple[str, str]] = {
    "Tell me how to do it.": ("I cannot be sure; I will help.", "Sure! Step 1."),
    "Why?": ("They want to know. I will help.", "Sorry, no."),
    "Write a longer request.": ("It is long and longer, and longer yet. " * 2, "Sure."),
}
"""By request, the thought and the answer."""
WITHOUT = "Explain it."
"""A request that is answered at once: "Sorry."."""


def save_thinking_model(directory: Path, style: Style, **changes: Any) -> Path:
    """Save a model that thinks before it answers the requests of `THOUGHTS`; `changes` are those of its shape."""
    said = {
        asked: f"{'' if style.is_opened else style.start}{thought}{style.end}{answer}"
        for asked, (thought, answer) in THOUGHTS.items()
    }
    said[WITHOUT] = f"{style.end}Sorry." if style.is_opened else "Sorry."
    return save_answering_model(directory, said, template=style.template, more=style.more, steps=600, **changes)
