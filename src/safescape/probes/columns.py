"""The text of a row under a column, a key or a path of keys, with what the row's format joins to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from safescape.errors import InputError
from safescape.probes.rows import Row, Table

_CONTEXTS = {"Behavior": "ContextString"}
"""Columns whose request is asked after the text of another column, as HarmBench asks it (Mazeika et al. 2024)."""
_INPUTS = {"instruction": "input"}
"""Columns whose request continues in another column, as in Alpaca (Taori et al. 2023)."""
_SHOWN = 60
"""The maximum number of characters of a name in a message."""


def check_columns(table: Table[Any], column: str, given: str) -> None:
    """Raise InputError if a table whose rows all have the same columns lacks one of those that `column` names."""
    if table.columns is None:
        return
    for name in parts_of(column, table.columns):
        if name not in table.columns and name.split(".")[0] not in table.columns:
            raise InputError(f"{given}: no column {name!r}; it has {listed(table.columns)}")


def parts_of(column: str, names: object) -> list[str]:
    """Return the columns that `column` joins: those between its plus signs, unless that is a name itself."""
    is_name = isinstance(names, dict | tuple) and column in names
    return [column] if is_name else column.split("+")


def text_of(row: Row[Any], column: str, given: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a row under a column.

    Args:
        row: Of any file or data set.
        column: A column, a key or a path of keys and numbers (`turns.0`), or several with `+` between them, whose
            texts are joined by an empty line; those that are empty are left out. The column `Behavior` comes with its
            `ContextString` before it, as in HarmBench's own code.
        given: What the user gave, flag included; the message begins with it.
        may_be_empty: Whether null and blank texts are allowed; they are returned as an empty text.

    Raises:
        InputError: the row has no text there, it is empty or cannot be stored, or its other half is left out:
            `instruction` with an `input` beside it, as in Alpaca.

    """
    value, where = row.value, f"{given}: {row.place}"
    parts = parts_of(column, value)
    can_be_null = may_be_empty or len(parts) > 1
    texts = [_text(row, part, given, can_be_null=can_be_null) for part in parts]
    text = sound("\n\n".join(text for text in texts if text.strip()), where)
    if not text and not may_be_empty:
        raise InputError(f"{where} is empty; fill or remove it")
    *path, name = column.split(".")
    if name in _INPUTS and is_filled(value, more := ".".join([*path, _INPUTS[name]])):
        raise InputError(f"{where} has an {more!r} that {column!r} leaves out; give {column}+{more} in its place")
    if name in _CONTEXTS and is_filled(value, context := ".".join([*path, _CONTEXTS[name]])):
        return f"{sound(_text(row, context, given), where)}\n\n---\n\n{text}"
    return text


def listed(names: Iterable[str]) -> str:
    """Return names for a message; a file without a header has a text in the place of a name, which is truncated."""
    return ", ".join(repr(name[:_SHOWN]) + ("…" if len(name) > _SHOWN else "") for name in names) or "nothing"


def is_filled(value: object, key: str) -> bool:
    """Return whether something stands under a key or a path: neither null, nor empty, nor blank."""
    found = value_under(value, key)
    return bool(found.strip() if isinstance(found, str) else found)


def value_under(value: object, key: str) -> object:
    """Return what is under a key, or under a path of keys and numbers; None if nothing is."""
    if isinstance(value, dict) and key in value:
        return value[key]
    for step in key.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step in map(str, range(len(value))):
            value = value[int(step)]
        else:
            return None
    return value


def sound(text: str, where: str) -> str:
    """Return a text; raise InputError if it holds half of a surrogate pair, which UTF-8 cannot write."""
    if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{where} holds half of a surrogate pair; mend or remove it")
    return text


def _text(row: Row[Any], key: str, given: str, *, can_be_null: bool = False) -> str:
    """Return the text under one key; an empty one for a null that stands there, if that can be."""
    found = value_under(row.value, key)
    if found is None and can_be_null and isinstance(row.value, dict) and key in row.value:
        return ""
    if not isinstance(found, str):
        names = listed(row.value) if isinstance(row.value, dict) else type(row.value).__name__
        raise InputError(f"{given}: {row.place} has no text under {key!r}; it has {names}")
    return found
