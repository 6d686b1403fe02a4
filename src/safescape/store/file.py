"""The SQLite file of a run: its tables, and how it is written.

A table is strict and a transaction is all there or not there; whatever keeps a file from being written is one line.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from safescape.errors import InputError, RunError
from safescape.survey import Point

__all__ = [
    "ADD_VERDICT",
    "AT_POINT",
    "FAILURES",
    "SCHEMA",
    "SCHEMA_VERSION",
    "check_version",
    "place_of",
    "reading",
    "transaction",
    "version_of",
    "write_text",
    "writing",
]

SCHEMA_VERSION = 3
SCHEMA = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    started_at TEXT NOT NULL,
    closed_at TEXT,            -- NULL: the process died
    noise_device TEXT NOT NULL,
    origin_at_start TEXT NOT NULL,
    origin_at_close TEXT,
    versions TEXT NOT NULL     -- JSON
) STRICT;
CREATE TABLE points (
    id INTEGER PRIMARY KEY,
    line INTEGER,              -- NULL: the origin, which lies on every line; points of a plane; checkpoints
    coords TEXT NOT NULL,      -- JSON array
    waypoint INTEGER,          -- NULL: a point of the subspace
    effective TEXT NOT NULL,   -- JSON array
    off REAL NOT NULL,         -- share of the squared distance outside of the subspace
    seconds REAL NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (id),
    finished_at TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX once ON points (ifnull(line, -1), coords, ifnull(waypoint, -1));
CREATE TABLE responses (
    id INTEGER PRIMARY KEY,
    point INTEGER NOT NULL REFERENCES points (id),
    probe TEXT NOT NULL,
    number INTEGER NOT NULL,   -- of the prompt in the probe
    text TEXT NOT NULL,
    finish TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    UNIQUE (point, probe, number)
) STRICT;
CREATE TABLE verdicts (
    response INTEGER NOT NULL REFERENCES responses (id),
    judge TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    probability REAL,          -- that the answer complied; NULL: the judge states none
    PRIMARY KEY (response, judge)
) STRICT, WITHOUT ROWID;
CREATE TABLE calibration (     -- what the origin finds of language; one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    threshold REAL NOT NULL,
    width REAL NOT NULL
) STRICT;
CREATE TABLE evidence (        -- how likely the origin finds a response
    response INTEGER PRIMARY KEY REFERENCES responses (id),
    log_probability REAL NOT NULL,
    tokens INTEGER NOT NULL
) STRICT;
CREATE TABLE judges (          -- what the verdicts of a judge come from
    name TEXT PRIMARY KEY,
    made_of TEXT NOT NULL      -- JSON
) STRICT;
CREATE TABLE scores (
    point INTEGER NOT NULL REFERENCES points (id),
    probe TEXT NOT NULL,
    number INTEGER NOT NULL,   -- of the item in the probe
    value REAL NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY (point, probe, number)
) STRICT, WITHOUT ROWID;
"""
FAILURES = """
CREATE TABLE IF NOT EXISTS failures (   -- made when a run is claimed, as runs of before have none
    line INTEGER,              -- as of a point
    coords TEXT NOT NULL,
    waypoint INTEGER,
    reason TEXT NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (id)
) STRICT;
"""
"""Points that could not be measured; measured later, they leave the table."""
ADD_VERDICT = "INSERT OR REPLACE INTO verdicts (response, judge, outcome, reason, probability) VALUES (?, ?, ?, ?, ?)"
"""The number of the response and the judge, then a verdict's fields in their order."""
AT_POINT = "ifnull(p.line, -1) = ifnull(?, -1) AND p.coords = ? AND ifnull(p.waypoint, -1) = ifnull(?, -1)"
"""A point's place, written as the index `once` has it: else every look at a point reads all of them."""


def place_of(point: Point) -> tuple[int | None, str, int | None]:
    """Return a point as the tables name it."""
    return point.line, json.dumps(point.coords), point.waypoint


def write_text(path: Path, text: str) -> None:
    """Write a file of a run directory, whole or not at all.

    Raises:
        RunError: it cannot be written; a former version of the file stays.

    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path}: cannot be written ({error.strerror}); mend that and repeat the command") from error


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the tables in a file; 0 if it has none yet."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_version(directory: Path, connection: sqlite3.Connection) -> None:
    """Find out that a file has the tables of this version.

    Raises:
        InputError: it has not.

    """
    version = version_of(connection)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{directory}: its run.sqlite has version {version}, this safescape reads version {SCHEMA_VERSION}; "
            "use the safescape that wrote it"
        )


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn what keeps a run's file from being written into one line."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RunError(
            f"{directory}: run.sqlite cannot be written ({error}); free space or mend the permissions, "
            "then repeat the command: it resumes where it stopped"
        ) from error


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Turn what keeps a run's file from being read, such as its removal while it is open, into one line."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(
            f"{directory}: run.sqlite cannot be read ({error}); if the run was moved or deleted, give its new place"
        ) from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that is written in the block, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        # SQLite has already rolled back by itself after a full disk
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
