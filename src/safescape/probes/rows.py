"""Readers of data that the user names: CSV and JSON Lines files, and the `datasets` library for what is on the Hub."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safescape.errors import InputError

_LONGEST_CELL = 2**31 - 1
"""Characters; the csv module's own limit is 131,072, and a C long may have 32 bits."""


class Table(NamedTuple):
    """A CSV file with a header."""

    columns: tuple[str, ...]
    rows: Iterator[dict[str, str | None]]
    """One dictionary per row; a short row has None in its last columns. Can be iterated once."""


def is_file(path: str | Path) -> bool:
    """Return whether `path` is a file; a text that cannot be a path, such as a long prompt, is none."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


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


def csv_table(text: str) -> Table:
    """Return the header and the rows of a CSV text; cells may be of any length."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    return Table(tuple(reader.fieldnames or ()), reader)


def json_lines(text: str, given: str) -> Iterator[tuple[int, object]]:
    """Yield the number and the value of each line of a JSON Lines text that is not blank.

    Only a line feed ends a line: a JSON string may hold U+2028 and its kind, at which `str.splitlines` would split.

    Raises:
        InputError: a line is not JSON; when that line is reached.

    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{given}: line {number} is not JSON ({error}); mend or remove it") from error


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
