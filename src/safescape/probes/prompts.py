"""Prompt sets: from what the user typed to a list of requests, each one short text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from safescape.errors import InputError, first_line
from safescape.probes.public_sets import Column, Named, Purpose, did_you_mean, names_for, parse_name
from safescape.probes.rows import csv_table, datasets_library, is_file, json_lines, read_text
from safescape.probes.set_files import set_paths

_BUILTIN = ("harmful", "benign")
_FORMS = (
    "builtin:harmful, builtin:benign, the name of a public set (`safescape data` lists them), file.csv:column, "
    "file.jsonl:key, hf:dataset/id:split:column or a JailbreakBench file"
)


def load_prompts(
    spec: str, limit: int | None = None, *, flag: str = "--prompts", purpose: Purpose = "harmful"
) -> tuple[str, ...]:
    """Return the first `limit` prompts of a set, in its own order.

    Args:
        spec: `builtin:harmful`, `builtin:benign`, the name of a public set such as `advbench`, `file.csv:column`,
            `file.jsonl:key`, `hf:dataset/id:split:column`, or a JailbreakBench artifact file (its
            `jailbreaks[].prompt`, or after `:` another field such as `goal`). A key may be a path into lists and
            objects: `turns.0`. After the name of a public set, `:column` takes all rows of that column.
        limit: The number of prompts; None for all.
        flag: What the user gave it with, for the messages.
        purpose: Which prompts of a public set are meant, where it has harmful and harmless ones.

    Raises:
        InputError: the set, its column or a prompt in it is missing or empty.

    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: expected at least 1 prompt")
    given = f"{flag} {spec}"
    kind, _, rest = spec.partition(":")
    if kind == "builtin":
        rows = _builtin(rest, given)
    elif kind == "hf":
        rows = _from_hub(rest, given)
    elif named := parse_name(spec):
        rows = _from_public_set(named, purpose, given)
    else:
        rows = _from_file(spec, given)
    prompts = tuple(itertools.islice(_checked(rows, given), limit))
    if not prompts:
        raise InputError(f"{given}: no prompts in it; expected at least one")
    return prompts


def _checked(rows: Iterable[object], given: str) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, str) or not row.strip():
            raise InputError(f"{given}: row {number} is empty; fill or remove it")
        if not row.isprintable() and any("\ud800" <= character <= "\udfff" for character in row):
            raise InputError(f"{given}: row {number} holds half of a surrogate pair; mend or remove it")
        yield row


def _builtin(name: str, given: str) -> Iterator[str]:
    if name not in _BUILTIN:
        raise InputError(f"{given}: no such set; expected {_FORMS}")
    path = resources.files("safescape") / "data" / f"{name}.csv"
    return _column(path.read_text(encoding="utf-8"), "prompt", given)


def _from_public_set(named: Named, purpose: Purpose, given: str) -> Iterator[str]:
    data = named.data
    wanted = data.column(purpose) if named.column is None else Column(named.column)
    if wanted is None:
        kind = {"harmful": "harmful requests", "harmless": "harmless requests", "text": "prompts"}[purpose]
        choices = "choice:" + data.name if data.name.startswith("mmlu:") else ", ".join(names_for(purpose))
        raise InputError(f"{given}: holds {data.holds}, and no {kind}; expected {choices}, or NAME:COLUMN")
    return _from_named_column(set_paths(data, given)[wanted.file], wanted.name, given, wanted.only)


def _from_file(spec: str, given: str) -> Iterator[str]:
    path, column = Path(spec), None
    if not is_file(path) and ":" in spec:
        name, _, column = spec.rpartition(":")
        path = Path(name)
    if not is_file(path):
        raise InputError(f"{given}: no such file or set; {did_you_mean(spec, f'expected {_FORMS}')}")
    if path.suffix == ".json":
        return _jailbreaks(read_text(path, given), column or "prompt", given)
    if column is None:
        raise InputError(f"{given}: which column? expected {path}:COLUMN")
    return _from_named_column(path, column, given)


def _from_named_column(path: Path, column: str, given: str, only: tuple[str, str] | None = None) -> Iterator[str]:
    """Read a column of a CSV file or a key of a JSON Lines file, of the rows that have `only`'s value."""
    text = read_text(path, given)
    if path.suffix == ".csv":
        return _column(text, column, given, only)
    if path.suffix in (".jsonl", ".ndjson"):
        return _key(text, column, given)
    raise InputError(f"{given}: is neither .csv nor .jsonl; expected {_FORMS}")


def _column(text: str, column: str, given: str, only: tuple[str, str] | None = None) -> Iterator[str]:
    table = csv_table(text)
    for needed in (column, only[0]) if only else (column,):
        if needed not in table.columns:
            names = ", ".join(map(repr, table.columns)) or "none"
            raise InputError(f"{given}: no column {needed!r}; it has {names}")
    return (row[column] or "" for row in table.rows if only is None or row[only[0]] == only[1])


def _key(text: str, key: str, given: str) -> Iterator[str]:
    for number, value in json_lines(text, given):
        found = _under(value, key)
        if not isinstance(found, str):
            names = ", ".join(map(repr, value)) if isinstance(value, dict) else type(value).__name__
            raise InputError(f"{given}: line {number} has no text under {key!r}; it has {names or 'nothing'}")
        yield found


def _under(value: object, key: str) -> object:
    """Return what is under a key, or under a path of keys and numbers; None if nothing is."""
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


def _jailbreaks(text: str, field: str, given: str) -> Iterator[str]:
    try:
        entries = json.loads(text)["jailbreaks"]
        # an attack that found nothing has a null prompt; it is no attempt, and its goal has no counterpart
        prompts = [entry[field] for entry in entries if entry["prompt"] is not None]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{given}: is no JailbreakBench artifact with jailbreaks[].{field}; expected {_FORMS}"
        ) from error
    return iter(prompts)


def _from_hub(spec: str, given: str) -> Iterator[str]:
    try:
        dataset, split, column = spec.rsplit(":", 2)
    except ValueError as error:
        raise InputError(f"{given}: expected hf:dataset/id:split:column") from error
    datasets = datasets_library(given)
    try:
        rows = datasets.load_dataset(dataset, split=split)
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"{given}: cannot be loaded ({first_line(error)}); check the id and the split") from error
    if column not in rows.column_names:
        raise InputError(f"{given}: no column {column!r}; it has {', '.join(map(repr, rows.column_names))}")
    return iter(rows[column])
