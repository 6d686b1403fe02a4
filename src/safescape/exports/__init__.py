"""Exports for other tools: tables (CSV, Parquet), a section of a model card, a log for Inspect AI.

Reads the store and uses the words of `views`; loads no model and opens no socket. The only room that imports pyarrow
and inspect-ai.
"""

from safescape.exports.csv import write_csv
from safescape.exports.inspect_log import check_inspect, write_inspect_log
from safescape.exports.model_card import model_card
from safescape.exports.parquet import check_parquet, write_parquet
from safescape.exports.tables import TABLES, Column, Table, table_of

__all__ = [
    "TABLES",
    "Column",
    "Table",
    "check_inspect",
    "check_parquet",
    "model_card",
    "table_of",
    "write_csv",
    "write_inspect_log",
    "write_parquet",
]
