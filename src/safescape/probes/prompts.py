"""Prompt sets: from what the user typed to a list of requests, each one short text."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from safescape.errors import InputError

__all__ = ["load_prompts"]

_BUILTIN = ("harmful", "benign")
_FORMS = (
    "builtin:harmful, builtin:benign, file.csv:column, file.jsonl:key, hf:dataset/id:split:column "
    "or a JailbreakBench file"
)


def load_prompts(spec: str, limit: int | None = None, *, flag: str = "--prompts") -> tuple[str, ...]:
    """Return the first `limit` prompts of a set, in its own order.

    Args:
        spec: `builtin:harmful`, `builtin:benign`, `file.csv:column`, `file.jsonl:key`, `hf:dataset/id:split:column`,
            or a JailbreakBench artifact file (its `jailbreaks[].prompt`, or after `:` another field such as `goal`).
            A key may be a path into lists and objects: `turns.0`.
        limit: How many; None for all.
        flag: What the user gave it with, for the messages.

    Raises:
        InputError: the set, its column or a prompt in it is missing or empty.

    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: expected at least 1 prompt")
    kind, _, rest = spec.partition(":")
    if kind == "builtin":
        rows = _builtin(rest, flag)
    elif kind == "hf":
        rows = _from_hub(spec, rest, flag)
    else:
        rows = _from_file(spec, flag)
    prompts = tuple(itertools.islice(rows, limit))
    if not prompts:
        raise InputError(f"{flag} {spec}: no prompts in it; expected at least one")
    return prompts


def _builtin(name: str, flag: str) -> Iterator[str]:
    if name not in _BUILTIN:
        raise InputError(f"{flag} builtin:{name}: no such set; expected {_FORMS}")
    path = resources.files("safescape") / "data" / f"{name}.csv"
    return _checked(
        f"builtin:{name}", _column(f"builtin:{name}", path.read_text(encoding="utf-8"), "prompt", flag), flag
    )


def _from_file(spec: str, flag: str) -> Iterator[str]:
    path, column = Path(spec), None
    if not path.is_file() and ":" in spec:
        name, _, column = spec.rpartition(":")
        path = Path(name)
    if not path.is_file():
        raise InputError(f"{flag} {spec}: no such file; expected {_FORMS}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{flag} {path}: cannot be read as UTF-8 text ({error}); convert it first") from error
    if path.suffix == ".json":
        return _checked(spec, _jailbreaks(spec, text, column or "prompt", flag), flag)
    if column is None:
        raise InputError(f"{flag} {spec}: which column? expected {path}:COLUMN")
    if path.suffix == ".csv":
        return _checked(spec, _column(spec, text, column, flag), flag)
    if path.suffix in (".jsonl", ".ndjson"):
        return _checked(spec, _key(spec, text, column, flag), flag)
    raise InputError(f"{flag} {spec}: is neither .csv nor .jsonl; expected {_FORMS}")


def _column(spec: str, text: str, column: str, flag: str) -> Iterator[str]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = reader.fieldnames or []
    if column not in names:
        raise InputError(f"{flag} {spec}: no column {column!r}; it has {', '.join(map(repr, names)) or 'none'}")
    for row in reader:
        yield row[column] or ""


def _key(spec: str, text: str, key: str, flag: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InputError(f"{flag} {spec}: line {number} is not JSON ({error}); mend or remove it") from error
        found = _under(value, key)
        if not isinstance(found, str):
            names = ", ".join(map(repr, value)) if isinstance(value, dict) else type(value).__name__
            raise InputError(f"{flag} {spec}: line {number} has no text under {key!r}; it has {names or 'nothing'}")
        yield found


def _under(value: object, key: str) -> object:
    """What lies under a key, or under a path of keys and numbers; None if nothing does."""
    if isinstance(value, dict) and key in value:
        return value[key]
    for step in key.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _jailbreaks(spec: str, text: str, field: str, flag: str) -> Iterator[str]:
    try:
        entries = json.loads(text)["jailbreaks"]
        # an attack that found nothing has a null prompt; it is no attempt, and its goal has no counterpart
        prompts = [entry[field] for entry in entries if entry["prompt"] is not None]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{flag} {spec}: is no JailbreakBench artifact with jailbreaks[].{field}; expected {_FORMS}"
        ) from error
    return iter(prompts)


def _from_hub(spec: str, rest: str, flag: str) -> Iterator[str]:
    try:
        dataset, split, column = rest.rsplit(":", 2)
    except ValueError as error:
        raise InputError(f"{flag} {spec}: expected hf:dataset/id:split:column") from error
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"{flag} {spec}: needs the datasets library; pip install 'safescape[hub]'") from error
    try:
        rows = datasets.load_dataset(dataset, split=split)
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise InputError(f"{flag} {spec}: cannot be loaded ({reason}); check the id and the split") from error
    if column not in rows.column_names:
        raise InputError(f"{flag} {spec}: no column {column!r}; it has {', '.join(map(repr, rows.column_names))}")
    return _checked(spec, rows[column], flag)


def _checked(spec: str, rows: Iterable[object], flag: str) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, str) or not row.strip():
            raise InputError(f"{flag} {spec}: row {number} is empty; fill or remove it")
        if not row.isprintable() and any("\ud800" <= character <= "\udfff" for character in row):
            raise InputError(f"{flag} {spec}: row {number} holds half of a surrogate pair; mend or remove it")
        yield row
