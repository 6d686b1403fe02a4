"""Readers of data that the user names, row by row: CSV, JSON Lines and JSON files, and data sets on the Hub.

A file is read exactly as its format defines, or refused with the place of what does not fit; nothing is guessed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from safescape.errors import InputError, first_line

Value = TypeVar("Value")

_LONGEST_CELL = 2**31 - 1
"""Characters; the csv module's own limit is 131,072, and a C long may have 32 bits."""
_QUOTED_CELL = re.compile(r'(?:\A|(?<=,))"[^"]*(?:""[^"]*)*"(?=[,\r\n]|\Z)')
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""What separates cells in files that are named .csv and are not."""
_MEND_QUOTES = 'put a cell that holds a comma, a quote or a line end in quotes, and write a quote inside it twice ("")'


class Row(NamedTuple, Generic[Value]):
    """One row of a file or a data set."""

    place: str
    """Where it is, for messages: `row 1 (line 2)` of a CSV file, `line 3` of JSON Lines, `row 2` of anything else."""
    value: Value


class Table(NamedTuple, Generic[Value]):
    """The rows of a file or a data set."""

    columns: tuple[str, ...] | None
    """The names that every row has; None: each JSON value has its own."""
    rows: Iterable[Row[Value]]
    """Can be iterated once."""
    column: str | None = None
    """The column that is meant where none is given."""
    can_fail: bool = False
    """Whether null under `column` means an attack that found no prompt."""


def is_file(path: str | Path) -> bool:
    """Return whether `path` is a file; a text that cannot be a path, such as a long prompt, is none."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def read_rows(path: Path, given: str) -> Table[Any]:
    """Return the rows of a .csv, .jsonl, .ndjson or .json file.

    The rows of a .json file are the elements of its list, or the entries of a JailbreakBench artifact.

    Args:
        path: The file.
        given: What the user gave, flag included; every message begins with it.

    Raises:
        InputError: the file cannot be read, or is not what its name says; JSON Lines are checked when they are reached.

    """
    kind = path.suffix.lower()
    if kind == ".csv":
        return csv_table(read_text(path, given, newline=""), given)
    if kind in (".jsonl", ".ndjson"):
        return Table(None, json_lines(read_text(path, given, newline=""), given))
    if kind == ".json":
        return _json_table(read_text(path, given, newline=""), given)
    raise InputError(f"{given}: is named neither .csv nor .jsonl nor .json; convert it to one of them")


def read_text(path: Path, given: str, *, newline: str | None = None) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Args:
        path: The file.
        given: What the user gave, flag included; every message begins with it.
        newline: As for `open`: None translates line endings to a line feed, an empty string keeps them.

    Raises:
        InputError: the file cannot be opened, or is not UTF-8.

    """
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise InputError(f"{given}: cannot be read as UTF-8 text ({error}); convert it first") from error
    except OSError as error:
        raise InputError(f"{given}: cannot be read ({error.strerror or error}); check the path") from error


def csv_table(text: str, given: str) -> Table[dict[str, str]]:
    """Return the header and the rows of a CSV text as RFC 4180 defines it.

    Cells are separated by commas and may have any length; blank lines are skipped; line ends inside quotes are kept.
    The first column may have no name, since pandas writes its index so.

    Raises:
        InputError: a row has more or fewer cells than the header, a quote is out of place, the header lacks a name or
            has one twice, or cells are separated by something else; the message names the line.

    """
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise InputError(f"{given}: line {line} holds a NUL character; convert the file to UTF-8, or fetch it again")
    records = _records(text, given)
    columns = _header(next(records, None), given)
    rows = []
    for number, record in enumerate(records, start=1):
        place, cells = f"row {number} (line {record.line})", record.cells
        if len(cells) != len(columns):
            count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
            raise InputError(f"{given}: {place} has {count} where the header has {len(columns)}; {_MEND_QUOTES}")
        rows.append(Row(place, dict(zip(columns, cells, strict=True))))
    return Table(columns, rows)


class _Record(NamedTuple):
    line: int
    """The line in which it begins, counted from 1."""
    cells: list[str]
    text: str


def _records(text: str, given: str) -> Iterator[_Record]:
    """Yield the records of a CSV text, without blank lines except in the place of the header."""
    csv.field_size_limit(_LONGEST_CELL)
    lines: list[str] = []  # of the record that is being read

    def remembered() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            lines.append(line)
            yield line
        lines.append("")

    reader = csv.reader(remembered(), strict=True)
    while True:
        lines.clear()
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if not lines[-1]:
                raise InputError(
                    f"{given}: line {start} begins a row with a quote that is never closed; {_MEND_QUOTES}"
                ) from error
            raise InputError(
                f"{given}: line {reader.line_num} has a quote out of place ({error}), in the row that begins in line "
                f"{start}; {_MEND_QUOTES}"
            ) from error
        if cells is None:
            return
        record = _Record(start, cells, "".join(lines))
        if '"' in record.text and '"' in _QUOTED_CELL.sub("", record.text):
            raise InputError(
                f"{given}: line {start} has a quote inside a cell that does not begin with one; {_MEND_QUOTES}"
            )
        if cells or start == 1:
            yield record


def _header(record: _Record | None, given: str) -> tuple[str, ...]:
    if record is None or not record.cells:
        raise InputError(f"{given}: its first line is empty; expected the names of the columns")
    columns = tuple(record.cells)
    found = next((separator for separator in _SEPARATORS if separator in record.text), None)
    if len(columns) == 1 and found and not record.text.startswith('"'):
        raise InputError(
            f"{given}: its header {columns[0][:60]!r} has no comma, and cells seem to be separated by "
            f"{_SEPARATORS[found]}; expected commas: in Python, pandas.read_csv(FILE, sep={found!r}).to_csv(NEW, "
            "index=False); if it is one name, put it in quotes"
        )
    for number, column in enumerate(columns, start=1):
        if not column.strip() and number > 1:
            raise InputError(f"{given}: column {number} of its header has no name; name it or remove it")
        if column in columns[: number - 1]:
            raise InputError(f"{given}: its header has the name {column!r} twice; rename one of them")
    return columns


def json_lines(text: str, given: str) -> Iterator[Row[Any]]:
    """Yield the value of each line of a JSON Lines text that is not blank.

    Only a line feed ends a line: a JSON string may hold U+2028 and its kind, at which `str.splitlines` would split.

    Raises:
        InputError: a line is not JSON; when that line is reached.

    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _parsed(line)
        except (ValueError, RecursionError) as error:
            if _is_json(text):
                raise InputError(
                    f"{given}: is one JSON document over several lines, not one in each line; rename it to .json"
                ) from error
            raise InputError(f"{given}: line {number} is not JSON ({_why(error)}); mend or remove it") from error
        yield Row(f"line {number}", value)


def _json_table(text: str, given: str) -> Table[Any]:
    try:
        document = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{given}: is not JSON ({_why(error)}); mend it, or name it .jsonl if each line is a document"
        ) from error
    if isinstance(document, list):
        return Table(None, _numbered(document))
    entries = document.get("jailbreaks") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "prompt" in entry for entry in entries):
        raise InputError(
            f"{given}: is neither a list of objects nor a JailbreakBench artifact with jailbreaks[].prompt; "
            'expected [{"KEY": "text"}, …]'
        )
    return Table(None, _numbered(entries), "prompt", can_fail=True)


def _numbered(values: Iterable[Value]) -> Iterator[Row[Value]]:
    return (Row(f"row {number}", value) for number, value in enumerate(values, start=1))


def _parsed(text: str) -> Any:
    """Return a JSON value as RFC 8259 defines it; Python's own reader also takes NaN, and the last of equal keys."""
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _is_json(text: str) -> bool:
    try:
        _parsed(text)
    except (ValueError, RecursionError):
        return False
    return True


def _why(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno}, " if "\n" in error.doc else ""
        return f"{error.msg}: {line}column {error.colno}"
    return first_line(error)


def hub_rows(dataset: str, split: str, given: str) -> Table[Any]:
    """Return the rows of a data set on the Hub, or of a local directory that `datasets` can load.

    Raises:
        InputError: the library `datasets` is not installed, or cannot load the data set.

    """
    datasets = datasets_library(given)
    try:
        rows = datasets.load_dataset(dataset, split=split)
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"{given}: cannot be loaded ({first_line(error)}); check the id and the split") from error
    return Table(tuple(rows.column_names), _numbered(rows))


def datasets_library(given: str) -> Any:
    """Return the module `datasets`, which is optional.

    Raises:
        InputError: it is not installed.

    """
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"{given}: needs the datasets library; pip install 'safescape[hub]'") from error
    return datasets
