"""What a reasoning model thinks is not what it answers: the markers of a thought, and the text split at them."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import Field

from safescape.survey.types import Frozen

_Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Split(NamedTuple):
    """What a model wrote, as thought and answer."""

    thought: str | None
    """None if no thought was begun."""
    answer: str
    is_open: bool
    """Whether the text ends within a thought."""


class Markers(Frozen):
    """The texts with which a model begins and ends a thought, such as `<think>` and `</think>`."""

    starts: _Texts
    ends: _Texts
    """The first one is written where safescape ends a thought itself."""

    @property
    def _pattern(self) -> re.Pattern[str]:
        texts = sorted({*self.starts, *self.ends}, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)))

    def is_open(self, text: str) -> bool:
        """Return whether a text ends within a thought."""
        found = self._pattern.findall(text)
        return bool(found) and found[-1] in self.starts

    def begins_thought(self, text: str) -> bool:
        """Return whether an answer that begins with this text begins with a thought."""
        return text.lstrip().startswith(self.starts)

    def closing(self, tail: str) -> str:
        """Return what to write after a chat that ends with `tail`, so that an answer without a thought comes next."""
        if self.is_open(tail):
            return self.ends[0]
        return "" if self._pattern.search(tail) else f"{self.starts[0]}\n\n{self.ends[0]}\n\n"

    def split(self, text: str, *, opened: bool = False) -> Split:
        """Split what a model wrote; a text without markers is returned as it is.

        A text before an end marker that has no start marker is a thought: the start may have stood in the chat. Several
        thoughts become one, with an empty line between them.

        Args:
            text: With its markers.
            opened: Whether the chat ended with a start marker.

        """
        thoughts: list[str] = []
        answers: list[str] = []
        inside, marked, position = opened, opened, 0
        for match in self._pattern.finditer(text):
            ends = match.group() in self.ends
            (thoughts if inside or (ends and not marked) else answers).append(text[position : match.start()])
            inside, marked, position = not ends, True, match.end()
        if not marked:
            return Split(None, text, False)
        (thoughts if inside else answers).append(text[position:])
        thought = "\n\n".join(filter(None, (each.strip() for each in thoughts)))
        return Split(thought, "".join(answers).strip(), inside)


class Thinking(NamedTuple):
    """How a probe's prompts are answered by a model that thinks first."""

    markers: Markers
    opened: bool
    """Whether the chat template begins the thought."""
    max_tokens: int | None
    """A thought that is this long is ended with the model's own end marker, so that an answer follows. None: it may be
    as long as an answer, and is not ended."""
