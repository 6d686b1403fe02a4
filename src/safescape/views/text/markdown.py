"""A gate as Markdown that a CI job can post."""

from __future__ import annotations

import string
from collections.abc import Iterator

from safescape.landscape import Gate
from safescape.views.text.gate import changes_of, failure_of, headline_of, notes_of, rulings_of
from safescape.views.text.tables import Table
from safescape.views.text.words import printable

__all__ = ["markdown_of", "named"]


def markdown_of(gate: Gate) -> str:
    """Return the summary: the verdict, the thresholds that fail, and the figures as tables."""
    return "\n".join(_lines(gate)) + "\n"


def _lines(gate: Gate) -> Iterator[str]:
    yield f"## safescape check: {'passed' if gate.passed else 'failed'}"
    yield ""
    yield f"BASE {named(gate.base)}, TUNED {named(gate.tuned)}"
    yield ""
    yield f"**{headline_of(gate)}**"
    yield ""
    for ruling in gate.failed:
        yield f"- {failure_of(ruling, gate, named)}"
    yield ""
    for note in notes_of(gate):
        yield note
        yield ""
    yield from _table(rulings_of(gate, named))
    yield ""
    yield from _table(changes_of(gate, named))


def _table(table: Table) -> Iterator[str]:
    for row in (table.columns, ("---", *("---:" for _ in table.columns[1:])), *table.rows):
        yield f"| {' | '.join(row)} |"


_MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation if sign not in "-/"}


def named(name: str) -> str:
    """Return a name as Markdown shows it."""
    return f"<code>{printable(name).translate(_MARKUP)}</code>"
