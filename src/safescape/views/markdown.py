"""A gate as Markdown that a CI job can post.

Names are hostile text: where they are posted they could draw tables, load pictures, mention people. They stand in
`<code>` with every sign that Markdown reads as a character reference, which nothing reads as markup.
"""

from __future__ import annotations

import string
from collections.abc import Iterator

from safescape.landscape import Gate
from safescape.views.gate import changes_of, failure_of, headline_of, notes_of, rulings_of
from safescape.views.tables import Table
from safescape.views.words import printable

__all__ = ["markdown_of"]

_MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation if sign not in "-/"}


def markdown_of(gate: Gate) -> str:
    """Return the summary: the verdict, the thresholds that fail, and the figures as tables."""
    return "\n".join(_lines(gate)) + "\n"


def _lines(gate: Gate) -> Iterator[str]:
    yield f"## safescape check: {'passed' if gate.passed else 'failed'}"
    yield ""
    yield f"BASE {_named(gate.base)}, TUNED {_named(gate.tuned)}"
    yield ""
    yield f"**{headline_of(gate)}**"
    yield ""
    for ruling in gate.failed:
        yield f"- {failure_of(ruling, gate, _named)}"
    yield ""
    for note in notes_of(gate):
        yield note
        yield ""
    yield from _table(rulings_of(gate, _named))
    yield ""
    yield from _table(changes_of(gate, _named))


def _table(table: Table) -> Iterator[str]:
    for row in (table.columns, ("---", *("---:" for _ in table.columns[1:])), *table.rows):
        yield f"| {' | '.join(row)} |"


def _named(name: str) -> str:
    return f"<code>{printable(name).translate(_MARKUP)}</code>"
