"""What `safescape inspect` says of a model, in words and tables."""

from __future__ import annotations

import json
from typing import NamedTuple

from safescape.survey import ChatForm, Inspection, TensorGroup
from safescape.views.text.tables import Table
from safescape.views.text.words import printable

_ROLES = {
    "moves": "moves",
    "normalisation": "normalisation: moves only between models",
    "copy": "copy of a tied tensor",
    "buffer": "buffer: stays",
    "not loaded": "not loaded by transformers",
}
_ROWS = 80
"""Answers that are decoded together by default: as many as there are prompts."""
_TOKENS = 256
"""Tokens of a chat with its answer, for the size of the cache."""


class InspectionText(NamedTuple):
    """The lines before and after the tables."""

    head: tuple[str, ...]
    tables: tuple[Table, ...]
    foot: tuple[str, ...]


def inspection_text(found: Inspection) -> InspectionText:
    """Return an inspection as text."""
    context = "" if found.context is None else f", reads {found.context:,} tokens"
    head = [
        f"{printable(found.model)}: {found.architecture} ({found.model_type}), {found.parameters:,} parameters, "
        f"{found.layers} layers{context}",
        f"in {printable(found.directory)}",
        *(f"adapter {printable(adapter)}" for adapter in found.adapters),
    ]
    groups = Table(("tensors", "number", "shape", "dtype", ""), tuple(map(_row, found.tensors)))
    foot = [f"tied: {' = '.join(map(printable, names))}" for names in found.tied]
    foot += [] if found.chat is None else _chat_lines(found.chat)
    foot += [f"note: {note}" for note in found.notes]
    if not found.problems:
        foot.append(f"can be scanned: safescape scan {printable(found.model)} --quick")
    return InspectionText(tuple(head), (groups, _memory(found)), tuple(foot))


def _row(group: TensorGroup) -> tuple[str, ...]:
    adapted = f", {group.adapted} changed by an adapter" if group.adapted else ""
    shape = " × ".join(f"{size:,}" for size in group.shape) or "a number"
    return (printable(group.name), f"{group.count:,}", shape, group.dtype, _ROLES[group.role] + adapted)


def _memory(found: Inspection) -> Table:
    rows = []
    for dtype, need in found.memory.items():
        cache = "–" if need.token is None else _gigabytes(need.token * _ROWS * _TOKENS)
        rows.append((dtype, _gigabytes(need.weights), _gigabytes(need.direction), cache))
    columns = ("memory", "weights GB", "one direction GB", f"cache of {_ROWS} chats of {_TOKENS} tokens GB")
    return Table(columns, tuple(rows))


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.2f}"


def _chat_lines(chat: ChatForm) -> list[str]:
    """The chat template at work, and what ends an answer."""
    special = ", ".join(f"{name} {printable(token)}" for name, token in chat.special_tokens.items())
    lines = [
        f"special tokens: {special or 'none'}; an answer ends with {', '.join(map(printable, chat.ends)) or 'none'}"
    ]
    if chat.templates:
        lines.append(f"chat templates, for --chat-template-name: {', '.join(map(printable, chat.templates))}")
    if chat.variables:
        lines.append(f"variables of the chat template, for --template-var: {', '.join(chat.variables)}")
    if chat.markers is not None:
        lines.append(
            f"thoughts begin with {printable(chat.markers.starts[0])} and end with {printable(chat.markers.ends[0])}; "
            "only the answer after them is judged"
        )
    if chat.generation:
        lines.append(f"generation_config.json changes greedy decoding: {printable(json.dumps(dict(chat.generation)))}")
    shown = "\n".join(f"  {printable(line)}" for line in chat.rendered.splitlines())
    return [*lines, "a request in the chat template, up to where the answer begins:", shown]
