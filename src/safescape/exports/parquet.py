"""A table as Parquet: typed columns, unchanged texts, and the survey in the metadata of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from safescape.errors import InputError
from safescape.exports.tables import Cell, Row, Table

_ROWS = 10_000
"""Rows in a row group: about 20 MB of long answers."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_parquet() -> None:
    """Check that pyarrow is installed.

    Raises:
        InputError: pyarrow is not installed.

    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            "--to …parquet: pyarrow is not installed; type pip install 'safescape[export]', or give a .csv file"
        ) from error


def write_parquet(table: Table, path: Path) -> None:
    """Write a table. Call `check_parquet` first.

    A lone surrogate, which UTF-8 cannot encode, becomes U+FFFD; nothing else changes.

    Raises:
        OSError: it cannot be written.

    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {"integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_(), "text": pa.string()}
    fields = [pa.field(name, types[kind]) for name, kind in table.columns]
    schema = pa.schema(fields, metadata={"safescape.table": table.what, **table.about})
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _groups(table.rows):
            columns = [[_encodable(row[place]) for row in rows] for place in range(len(fields))]
            arrays = [pa.array(cells, type=field.type) for cells, field in zip(columns, fields, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while group := list(islice(rows, _ROWS)):
        yield group


def _encodable(cell: Cell) -> Cell:
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", cell) if isinstance(cell, str) else cell
