"""The SQLite database of a run: its tables, its transactions, and its faults as one-line errors.

Tables are strict. Whatever keeps the file from being read or written becomes an `InputError` or a `RunError`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safescape.errors import InputError, RunError
from safescape.survey import Point, Survey

_log = logging.getLogger(__name__)

FILE = "run.sqlite"
_READ = 2**24
"""Bytes that are read at a time before the file is checked."""
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
CREATE TABLE calibration (     -- of the origin's log-likelihoods; one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    threshold REAL NOT NULL,
    width REAL NOT NULL
) STRICT;
CREATE TABLE evidence (        -- log-likelihood of a response under the origin
    response INTEGER PRIMARY KEY REFERENCES responses (id),
    log_probability REAL NOT NULL,
    tokens INTEGER NOT NULL
) STRICT;
CREATE TABLE judges (          -- what the verdicts of a judge were made with
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
LATER_TABLES = """
CREATE TABLE IF NOT EXISTS failures (
    line INTEGER,              -- as of a point
    coords TEXT NOT NULL,
    waypoint INTEGER,
    reason TEXT NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (id)
) STRICT;
CREATE TABLE IF NOT EXISTS thoughts (
    response INTEGER PRIMARY KEY REFERENCES responses (id),
    text TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    is_ended INTEGER NOT NULL  -- by the model: 0 or 1
) STRICT;
CREATE TABLE IF NOT EXISTS whole_answers (   -- answers that ended as noise, asked again and written to their end
    response INTEGER PRIMARY KEY REFERENCES responses (id),    -- the one that ended as noise
    text TEXT NOT NULL,
    finish TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    outcomes TEXT NOT NULL     -- JSON, by judge
) STRICT;
CREATE TABLE IF NOT EXISTS label_sample (    -- of answers that people label; one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    judge TEXT NOT NULL,       -- whose outcomes the strata are made of
    made_of TEXT NOT NULL,     -- JSON
    seed INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS labels (
    response INTEGER PRIMARY KEY REFERENCES responses (id),
    place INTEGER NOT NULL,    -- in the order in which answers are shown
    stratum TEXT NOT NULL,
    answers INTEGER NOT NULL,  -- in the stratum
    label TEXT,                -- NULL: not labelled yet
    skipped INTEGER NOT NULL   -- by the person: 0 or 1
) STRICT;
CREATE TABLE IF NOT EXISTS agreements (      -- agreement files that were given for this run
    judge TEXT PRIMARY KEY,
    text TEXT NOT NULL         -- JSON
) STRICT;
CREATE TABLE IF NOT EXISTS judgings (        -- of the answers at a point; triggers keep it, whoever writes verdicts
    point INTEGER PRIMARY KEY REFERENCES points (id) ON DELETE CASCADE,
    changes INTEGER NOT NULL   -- how many verdicts were written or removed
) STRICT;
INSERT OR IGNORE INTO judgings (point, changes) SELECT id, 0 FROM points;
CREATE TRIGGER IF NOT EXISTS point_added AFTER INSERT ON points BEGIN
    INSERT OR REPLACE INTO judgings (point, changes) VALUES (NEW.id, 0);
END;
CREATE TRIGGER IF NOT EXISTS verdict_added AFTER INSERT ON verdicts BEGIN
    UPDATE judgings SET changes = changes + 1 WHERE point = (SELECT point FROM responses WHERE id = NEW.response);
END;
CREATE TRIGGER IF NOT EXISTS verdict_removed AFTER DELETE ON verdicts BEGIN
    UPDATE judgings SET changes = changes + 1 WHERE point = (SELECT point FROM responses WHERE id = OLD.response);
END;
CREATE INDEX IF NOT EXISTS finishes ON responses (finish);
"""
"""Tables that runs of earlier versions get when they are claimed.

`failures` are points that could not be measured; a point that is measured later leaves the table. `thoughts` is empty
unless the survey has markers of thoughts, and `whole_answers` unless it lets noise end. The last three are those of
`StoredLabels`.
"""
ADD_VERDICT = "INSERT OR REPLACE INTO verdicts (response, judge, outcome, reason, probability) VALUES (?, ?, ?, ?, ?)"
"""Parameters: the response's id, the judge, and the fields of a `Verdict` in their order."""
AT_POINT = "ifnull(p.line, -1) = ifnull(?, -1) AND p.coords = ? AND ifnull(p.waypoint, -1) = ifnull(?, -1)"
"""A condition whose parameters are a `Place`, with the expressions of the index `once`, so that SQLite uses it."""

Place = tuple[int | None, str, int | None]
"""A point as the tables name it: line, coordinates as JSON, waypoint."""


def place_of(point: Point) -> Place:
    """Return a point as the tables name it."""
    return point.line, json.dumps(point.coords), point.waypoint


def point_of(line: int | None, coords: str, waypoint: int | None) -> Point:
    """Return the point that the tables name so."""
    return Point(line, tuple(json.loads(coords)), waypoint)


def order_of(survey: Survey) -> dict[Place, int]:
    """Return the index of each point in the survey's order, by place."""
    return {place_of(point): number for number, point in enumerate(survey.points())}


class Database:
    """The open run.sqlite of a run directory."""

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        self.directory, self._connection = directory, connection

    @classmethod
    def create(cls, directory: Path) -> Database:
        """Open the database of a run directory for writing; create it if there is none.

        Raises:
            InputError: the file is damaged, belongs to another program, or has tables of another version. It is left
                unchanged.
            RunError: it cannot be written.

        """
        path = directory / FILE
        if path.is_dir():
            raise InputError(f"{path}: is a directory, not a run's database; move it away, or give another --out")
        with _one_line_errors(directory, writing=True):
            connection = sqlite3.connect(path, isolation_level=None)
        try:
            version = _checked_version(directory, connection)
            with _one_line_errors(directory, writing=True):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                if not version:
                    connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
                connection.executescript(LATER_TABLES)
        except BaseException:
            connection.close()
            raise
        return cls(directory, connection)

    @classmethod
    def read(cls, directory: Path) -> Database:
        """Open the database of a run directory read-only.

        Raises:
            InputError: there is none, it cannot be read, or it has tables of another version.

        """
        path = directory / FILE
        if not path.is_file():
            raise InputError(f"{directory}: no run.sqlite in it; give the directory that --out named")
        with _one_line_errors(directory, writing=False):
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            if not _version_of(directory, connection):
                raise InputError(f"{directory}: its run.sqlite is empty; repeat the command that began the run")
        except BaseException:
            connection.close()
            raise
        return cls(directory, connection)

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[Any]:
        """Return all rows of a query.

        Raises:
            InputError: the file cannot be read, for example because it was removed while it was open.

        """
        with _one_line_errors(self.directory, writing=False):
            return self._connection.execute(query, tuple(parameters)).fetchall()

    def row(self, query: str, parameters: Sequence[object] = ()) -> Any:
        """Return the first row of a query; None if there is none.

        Raises:
            InputError: the file cannot be read.

        """
        return next(iter(self.rows(query, parameters)), None)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit everything that the block writes, or nothing.

        Raises:
            RunError: the disk is full or broken; what was stored before stays.

        """
        with _one_line_errors(self.directory, writing=True):
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                # after a full disk SQLite has already rolled back
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _checked_version(directory: Path, connection: sqlite3.Connection) -> int:
    """Return the version of the tables, 0 if the file is empty, having checked every page of the file.

    Raises:
        InputError: the file is damaged, or its tables are not those of this version.

    """
    with _one_line_errors(directory, writing=True):
        # SQLite reads the pages in the order of its trees, which takes ten times as long from a disk
        with contextlib.suppress(OSError), (directory / FILE).open("rb") as file:
            while file.read(_READ):
                pass
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        _log.debug("quick_check of %s: %s", directory / FILE, found)
        raise _damaged(directory, "database disk image is malformed")
    return _version_of(directory, connection)


def _version_of(directory: Path, connection: sqlite3.Connection) -> int:
    with _one_line_errors(directory, writing=False):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version not in (0, SCHEMA_VERSION):
        raise _version_error(directory, version)
    if (tables and not version) or (version and not {"sessions", "points", "responses"} <= tables):
        raise InputError(
            f"{directory / FILE}: not a run's database: its tables are {', '.join(sorted(tables)[:3]) or 'missing'}; "
            "give the directory that --out named, or another --out"
        )
    return int(version)


def _version_error(directory: Path, version: int) -> InputError:
    return InputError(
        f"{directory}: its run.sqlite has version {version}, this safescape reads version {SCHEMA_VERSION}; "
        "use the safescape that wrote it"
    )


def _damaged(directory: Path, reason: str) -> InputError:
    return InputError(
        f"{directory / FILE}: damaged, or not a run's database ({reason}); put back a copy of it, or give another --out"
    )


@contextlib.contextmanager
def _one_line_errors(directory: Path, *, writing: bool) -> Iterator[None]:
    """Raise an `InputError` or a `RunError` if SQLite cannot read or write the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not writing:
            raise InputError(
                f"{directory}: run.sqlite cannot be read ({error}); if the run was moved or deleted, give its new place"
            ) from error
        raise RunError(
            f"{directory}: run.sqlite cannot be written ({error}); free space or mend the permissions, "
            "then repeat the command: it resumes where it stopped"
        ) from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise  # a broken constraint or a misused connection: a fault of the program
        raise _damaged(directory, str(error)) from error
