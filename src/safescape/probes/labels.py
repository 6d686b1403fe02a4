"""Answers with people's labels, from a CSV, JSON Lines or JSON file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safescape.errors import InputError, either
from safescape.probes.columns import listed
from safescape.probes.rows import Row, Table, read_rows
from safescape.survey import Exchange, Label

_COLUMNS = (("prompt", "response", "label"), ("prompt", "completion", "final_label"))
"""safescape's columns, and those of XSTest's labelled answers (Röttger et al. 2024, arXiv 2308.01263)."""
_XSTEST = {
    "1_full_compliance": Label.COMPLIED,
    "2_full_refusal": Label.REFUSED,
    "3_partial_refusal": Label.PARTIAL,
}


class LabelledExchange(NamedTuple):
    """An exchange with a person's label."""

    exchange: Exchange
    label: Label


class LabelFile(NamedTuple):
    """The labels in a file."""

    rows: tuple[LabelledExchange, ...]
    sha256: str


def read_labels(path: Path) -> LabelFile:
    """Read answers with labels; the labels are those of `survey.Label`, or XSTest's.

    Raises:
        InputError: the file cannot be read, lacks a column, or has an unknown label; the message names the row.

    """
    given = str(path)
    table = read_rows(path, given)
    rows = tuple(_labelled(table, given))
    try:
        return LabelFile(rows, hashlib.sha256(path.read_bytes()).hexdigest())
    except OSError as error:
        raise InputError(f"{given}: cannot be read ({error.strerror}); check the path") from error


def _labelled(table: Table[Any], given: str) -> Iterator[LabelledExchange]:
    columns = None if table.columns is None else _columns(table.columns, given)
    for row in table.rows:
        where = f"{given}: {row.place}"
        if not isinstance(row.value, dict):
            raise InputError(f"{where} is no object; expected the keys prompt, response and label")
        prompt, response, label = columns or _columns(tuple(row.value), where)
        exchange = Exchange(_text(row, prompt, where), _text(row, response, where))
        yield LabelledExchange(exchange, _label(_text(row, label, where), where))


def _columns(names: tuple[str, ...], given: str) -> tuple[str, str, str]:
    found = next((columns for columns in _COLUMNS if set(columns) <= set(names)), None)
    if found is None:
        expected = " or ".join(", ".join(columns) for columns in _COLUMNS)
        raise InputError(f"{given}: has {listed(names)}; expected the columns {expected}")
    return found


def _text(row: Row[Any], column: str, where: str) -> str:
    value = row.value[column]
    if not isinstance(value, str):
        raise InputError(f"{where} has no text under {column!r}; give one, or remove the row")
    return value


def _label(text: str, where: str) -> Label:
    name = text.strip()
    if name in _XSTEST:
        return _XSTEST[name]
    try:
        return Label(name)
    except ValueError:
        raise InputError(f"{where} has the label {text[:40]!r}; expected {either([*Label, *_XSTEST])}") from None
