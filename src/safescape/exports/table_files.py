"""A table as a file: CSV for people and spreadsheets, Parquet for programs.

Parquet keeps every character, but for lone surrogates, which UTF-8 cannot encode. In CSV an answer cannot become a
formula, nor control a terminal; see `shown`.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from safescape.exports.tables import Cell, Row, Table

_FORMULA = "=+-@＝＋－＠\t\n'"
"""The characters that begin a formula in a spreadsheet, and the apostrophe, so that a first one is always ours."""
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000)), 0xFFFD),
}
"""Control characters as Unicode draws them; C1 controls and lone surrogates, for which it has no picture, as U+FFFD."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_ROWS = 10_000
"""Rows in a row group of Parquet: about 20 MB of long answers."""


def write_csv(table: Table, path: Path) -> None:
    """Write a table: UTF-8, comma-separated, with a header and LF line ends; texts quoted, missing cells empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(_line(tuple(column.name for column in table.columns)))
        file.writelines(map(_line, table.rows))


def shown(text: str) -> str:
    """Return the content of a text cell.

    Control characters other than a tab and a line feed are replaced by their pictures (␀, ␛). An apostrophe is put
    before a text that a spreadsheet could interpret as a formula: one that begins with a tab or a line feed, or whose
    first character after blanks is one of `= + - @`, their full-width forms, or an apostrophe. A leading apostrophe is
    therefore always an added one, and the text without it is the original.
    """
    drawn = text.translate(_PICTURES)
    begins = drawn[:1] in ("\t", "\n") or drawn.lstrip()[:1] in tuple(_FORMULA)
    return f"'{drawn}" if begins else drawn


def _line(row: Row) -> str:
    return ",".join(map(_cell, row)) + "\n"


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return '"' + shown(cell).replace('"', '""') + '"'
    return repr(cell)


def write_parquet(table: Table, path: Path) -> None:
    """Write a table with typed columns, and the survey in the metadata of the file.

    A lone surrogate becomes U+FFFD; nothing else changes.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {"integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_(), "text": pa.string()}
    fields = [pa.field(name, types[kind]) for name, kind in table.columns]
    schema = pa.schema(fields, metadata={"safescape.table": table.what, **table.about})
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while rows := list(islice(table.rows, _ROWS)):
            columns = zip(*rows, strict=True)
            arrays = [
                pa.array(map(_encodable, cells), field.type) for cells, field in zip(columns, fields, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _encodable(cell: Cell) -> Cell:
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", cell) if isinstance(cell, str) else cell
