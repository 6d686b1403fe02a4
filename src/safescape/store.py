"""What was measured: one SQLite file a run, one transaction a point. The only room that writes SQL.

Knows no model and no figure. A point is either in the file, complete with its responses and verdicts, or it is
not there at all; a process killed at any moment loses at most the point in flight.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from safescape.errors import InputError, RunError
from safescape.survey import (
    Answer,
    Calibration,
    Evidence,
    Exchange,
    Finish,
    MeasuredPoint,
    Outcome,
    Point,
    Position,
    PromptProbe,
    Response,
    Score,
    Survey,
    Verdict,
)

__all__ = ["Session", "Store", "StoredAnswer", "Unjudged", "write_text"]

SCHEMA_VERSION = 3
_SCHEMA = """
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
_SELECT_ANSWERS = (
    "SELECT r.id, r.probe, r.number, r.text, r.finish, e.log_probability, e.tokens FROM responses r"
    " JOIN points p ON r.point = p.id LEFT JOIN evidence e ON e.response = r.id"
)
_ADD_VERDICT = "INSERT OR REPLACE INTO verdicts (response, judge, outcome, reason, probability) VALUES (?, ?, ?, ?, ?)"


class Session(NamedTuple):
    """One process that worked on a run."""

    number: int
    closed: bool
    origin_at_start: str
    """Fingerprint of the live weights before the first point."""
    origin_at_close: str | None
    """The same after the last point; None: the process died before."""
    versions: Mapping[str, str]


class StoredAnswer(NamedTuple):
    """One answer as the page shows it."""

    number: int
    """Of the prompt in the probe."""
    answer: Answer


class Unjudged(NamedTuple):
    """An answer that a judge is to read."""

    response: int
    """Its number in the file."""
    probe: str
    number: int
    """Of the prompt in the probe."""
    exchange: Exchange
    finish: Finish


class Store:
    """The results of one run directory.

    `Store.claim` opens a directory for measuring and keeps other processes out until `close`; `Store.read` opens
    it for looking, at any time.
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection, survey: Survey, lock: FileLock | None) -> None:
        self.directory = directory
        self.survey = survey
        self._connection = connection
        self._lock = lock

    @classmethod
    def claim(cls, directory: Path, survey: Survey) -> Store:
        """Open a run directory to measure `survey` in it, new or half done.

        Raises:
            RunError: it cannot be written, or another process is measuring in it.
            InputError: it holds a run of a different survey; the message names what differs.

        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = FileLock(directory / "run.lock", timeout=0)
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"{directory}: another process is measuring in this run directory; wait for it, or give another --out"
            ) from error
        except OSError as error:
            raise RunError(f"{directory}: cannot be written ({error.strerror}); give another --out") from error
        try:
            _agree(directory, survey)
            with _writing(directory):
                connection = sqlite3.connect(directory / "run.sqlite", isolation_level=None)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                if not _version(connection):
                    connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            _check_version(directory, connection)
            write_text(directory / "survey.json", survey.model_dump_json(indent=1) + "\n")
        except BaseException:
            lock.release()
            raise
        return cls(directory, connection, survey, lock)

    @classmethod
    def read(cls, directory: Path) -> Store:
        """Open a run directory for looking; nothing can be changed through it.

        Raises:
            InputError: it is not a run directory, or was written by a newer version.

        """
        path = directory / "run.sqlite"
        if not path.is_file():
            raise InputError(f"{directory}: no run.sqlite in it; give the directory that --out named")
        survey = Survey.load(directory / "survey.json")
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            _check_version(directory, connection)
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: not a run's database ({error}); give the directory that --out named") from error
        return cls(directory, connection, survey, None)

    def begin_session(self, *, origin: str, noise_device: str, versions: Mapping[str, str]) -> int:
        """Record that this process begins to measure, and how its live origin's fingerprint reads."""
        with _writing(self.directory):
            cursor = self._connection.execute(
                "INSERT INTO sessions (started_at, noise_device, origin_at_start, versions) VALUES (?, ?, ?, ?)",
                (_now(), noise_device, origin, json.dumps(versions)),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def end_session(self, session: int, *, origin: str) -> None:
        """Record that this process is done and how its live origin's fingerprint reads now."""
        with _writing(self.directory):
            self._connection.execute(
                "UPDATE sessions SET closed_at = ?, origin_at_close = ? WHERE id = ?",
                (_now(), origin, session),
            )

    def finished(self) -> set[Point]:
        """Return the points that need not be computed again."""
        rows = self._connection.execute("SELECT line, coords, waypoint FROM points")
        return {Point(line, tuple(json.loads(coords)), waypoint) for line, coords, waypoint in rows}

    def add(
        self,
        point: Point,
        *,
        position: Position,
        seconds: float,
        session: int,
        answers: Mapping[str, Sequence[Answer]],
        scores: Mapping[str, Sequence[Score]] | None = None,
    ) -> None:
        """Store one finished point: all of it, or nothing.

        Args:
            point: Where the weights were sent.
            position: Where they stood, as rounded.
            seconds: What the point took.
            session: The number that `begin_session` gave.
            answers: By probe of prompts, in the order of its prompts.
            scores: By capability probe, in the order of its items.

        Raises:
            RunError: the disk is full or broken; what was stored before stays.

        """
        with _writing(self.directory), self._transaction() as connection:
            key = connection.execute(
                "INSERT INTO points (line, coords, waypoint, effective, off, seconds, session, finished_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    point.line,
                    json.dumps(point.coords),
                    point.waypoint,
                    json.dumps(position.effective),
                    position.off,
                    seconds,
                    session,
                    _now(),
                ),
            ).lastrowid
            for probe, found in (scores or {}).items():
                connection.executemany(
                    "INSERT INTO scores (point, probe, number, value, weight) VALUES (?, ?, ?, ?, ?)",
                    [(key, probe, number, value, weight) for number, (value, weight) in enumerate(found)],
                )
            for probe, given in answers.items():
                for number, (response, verdicts) in enumerate(given):
                    row = connection.execute(
                        "INSERT INTO responses (point, probe, number, text, finish, tokens) VALUES (?, ?, ?, ?, ?, ?)",
                        (key, probe, number, response.text, response.finish, response.tokens),
                    ).lastrowid
                    connection.executemany(
                        _ADD_VERDICT, [(row, judge, *verdict) for judge, verdict in verdicts.items()]
                    )

    def judges(self) -> dict[str, dict[str, str]]:
        """Return what the verdicts of each judge come from, by name; the survey's judges first, in their order."""
        rows = dict(self._connection.execute("SELECT name, made_of FROM judges ORDER BY rowid").fetchall())
        names = [*(name for name in self.survey.judges if name in rows), *rows]
        return {name: json.loads(rows[name]) for name in dict.fromkeys(names)}

    def begin_judging(self, judge: str, made_of: Mapping[str, str]) -> None:
        """Record a judge, and what its verdicts come from.

        Raises:
            InputError: it has verdicts here that come from something else.

        """
        there = self.judges().get(judge)
        if there is not None and there != made_of:
            differing = ", ".join(key for key in {**there, **made_of} if there.get(key) != made_of.get(key))
            raise InputError(
                f"{self.directory}: has verdicts of --judge {judge} made with another {differing}; use that, or "
                f"replace them all: safescape judge {self.directory} --with {judge} --again"
            )
        with _writing(self.directory):
            self._connection.execute(
                "INSERT OR IGNORE INTO judges (name, made_of) VALUES (?, ?)", (judge, json.dumps(made_of))
            )

    def forget(self, judges: Sequence[str]) -> None:
        """Remove what judges said, so that they read every answer again.

        Raises:
            RunError: the disk is full or broken; nothing is removed.

        """
        with _writing(self.directory), self._transaction() as connection:
            for judge in judges:
                connection.execute("DELETE FROM verdicts WHERE judge = ?", (judge,))
                connection.execute("DELETE FROM judges WHERE name = ?", (judge,))

    def unjudged(self, judge: str) -> list[Unjudged]:
        """Return the answers that a judge has not read yet, in the order of measuring."""
        rows = self._connection.execute(
            f"{_SELECT_ANSWERS} WHERE NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.response = r.id AND v.judge = ?)"
            " ORDER BY r.id",
            (judge,),
        )
        return [self._unjudged(row) for row in rows]

    def calibration(self) -> Calibration | None:
        """Return what the origin finds of language; None: it was not asked yet."""
        row = self._connection.execute("SELECT threshold, width FROM calibration").fetchone()
        return None if row is None else Calibration(*row)

    def add_calibration(self, calibration: Calibration) -> None:
        """Store what the origin finds of language, once."""
        with _writing(self.directory):
            self._connection.execute("INSERT INTO calibration (id, threshold, width) VALUES (1, ?, ?)", calibration)

    def unweighed(self, point: Point) -> list[Unjudged]:
        """Return the answers at a point of which the origin was not asked yet how likely it finds them."""
        rows = self._connection.execute(
            f"{_SELECT_ANSWERS} WHERE p.line IS ? AND p.coords = ? AND p.waypoint IS ? AND e.response IS NULL"
            " ORDER BY r.id",
            (point.line, json.dumps(point.coords), point.waypoint),
        )
        return [self._unjudged(row) for row in rows]

    def _unjudged(self, row: tuple[Any, ...]) -> Unjudged:
        response, probe, number, text, finish, log_probability, tokens = row
        evidence = None
        if tokens is not None:
            calibration = self.calibration()
            assert calibration is not None
            evidence = Evidence(log_probability, tokens, calibration)
        return Unjudged(response, probe, number, Exchange(self._prompts[probe][number], text, evidence), Finish(finish))

    @cached_property
    def _prompts(self) -> dict[str, tuple[str, ...]]:
        return {probe.name: probe.prompts for probe in self.survey.probes if isinstance(probe, PromptProbe)}

    def add_verdicts(self, judge: str, verdicts: Mapping[int, Verdict]) -> None:
        """Store what a judge said, by the number of the response: all of it, or nothing.

        Raises:
            RunError: the disk is full or broken; what was stored before stays.

        """
        with _writing(self.directory), self._transaction() as connection:
            connection.executemany(_ADD_VERDICT, [(row, judge, *verdict) for row, verdict in verdicts.items()])

    def add_evidence(self, evidence: Mapping[int, Evidence], verdicts: Mapping[str, Mapping[int, Verdict]]) -> None:
        """Store how likely the origin finds responses, by their numbers, and what judges say now: all, or nothing.

        Args:
            evidence: By response.
            verdicts: By judge and response; they replace earlier ones.

        Raises:
            RunError: the disk is full or broken; what was stored before stays.

        """
        with _writing(self.directory), self._transaction() as connection:
            connection.executemany(
                "INSERT INTO evidence (response, log_probability, tokens) VALUES (?, ?, ?)",
                [(row, found.log_probability, found.tokens) for row, found in evidence.items()],
            )
            for judge, given in verdicts.items():
                connection.executemany(_ADD_VERDICT, [(row, judge, *verdict) for row, verdict in given.items()])

    def verdicts(self, judge: str) -> dict[Exchange, Verdict]:
        """Return what a judge said of every exchange that it has read."""
        rows = self._connection.execute(
            "SELECT r.probe, r.number, r.text, v.outcome, v.reason, v.probability"
            " FROM verdicts v JOIN responses r ON v.response = r.id WHERE v.judge = ? ORDER BY r.id",
            (judge,),
        )
        return {
            Exchange(self._prompts[probe][number], text): Verdict(Outcome(outcome), reason, probability)
            for probe, number, text, outcome, reason, probability in rows
        }

    def by_response(self, judge: str) -> dict[int, Verdict]:
        """Return the same by the number of the response."""
        rows = self._connection.execute(
            "SELECT response, outcome, reason, probability FROM verdicts WHERE judge = ?", (judge,)
        )
        return {row: Verdict(Outcome(outcome), *rest) for row, outcome, *rest in rows}

    def measured(self) -> Iterator[MeasuredPoint]:
        """Every finished point with its outcomes or scores, one entry a probe.

        A judge that has not read every answer there is left out.

        """
        points = self._connection.execute(
            "SELECT id, line, coords, waypoint, effective, off FROM points ORDER BY id"
        ).fetchall()
        for key, line, coords, waypoint, effective, off in points:
            point = Point(line, tuple(json.loads(coords)), waypoint)
            position = Position(tuple(json.loads(effective)), off)
            outcomes: dict[str, dict[str, list[Outcome]]] = {}
            rows = self._connection.execute(
                "SELECT r.probe, v.judge, v.outcome FROM responses r JOIN verdicts v ON v.response = r.id"
                " WHERE r.point = ? ORDER BY r.probe, r.number",
                (key,),
            )
            for probe, judge, outcome in rows:
                outcomes.setdefault(probe, {}).setdefault(judge, []).append(Outcome(outcome))
            counted = "SELECT probe, count(*) FROM responses WHERE point = ? GROUP BY probe ORDER BY probe"
            for probe, answers in self._connection.execute(counted, (key,)).fetchall():
                by_judge = {judge: found for judge, found in outcomes.get(probe, {}).items() if len(found) == answers}
                yield MeasuredPoint(point, position, probe, by_judge)
            scores: dict[str, list[Score]] = {}
            rows = self._connection.execute(
                "SELECT probe, value, weight FROM scores WHERE point = ? ORDER BY probe, number", (key,)
            )
            for probe, value, weight in rows:
                scores.setdefault(probe, []).append(Score(value, weight))
            for probe, found in scores.items():
                yield MeasuredPoint(point, position, probe, {}, found)

    def answers(self, point: Point, probe: str) -> list[StoredAnswer]:
        """Return what the model said at a point, in the order of the probe's prompts; empty if not measured."""
        rows = self._connection.execute(
            "SELECT r.id, r.number, r.text, r.finish, r.tokens FROM responses r JOIN points p ON r.point = p.id"
            " WHERE p.line IS ? AND p.coords = ? AND p.waypoint IS ? AND r.probe = ? ORDER BY r.number",
            (point.line, json.dumps(point.coords), point.waypoint, probe),
        ).fetchall()
        found = []
        for key, number, text, finish, tokens in rows:
            verdicts = self._connection.execute(
                "SELECT judge, outcome, reason, probability FROM verdicts WHERE response = ?", (key,)
            ).fetchall()
            by_judge = {judge: Verdict(Outcome(outcome), *rest) for judge, outcome, *rest in verdicts}
            found.append(StoredAnswer(number, Answer(Response(text, Finish(finish), tokens), by_judge)))
        return found

    def sessions(self) -> list[Session]:
        """Return the processes that worked on this run, in order."""
        rows = self._connection.execute(
            "SELECT id, closed_at, origin_at_start, origin_at_close, versions FROM sessions ORDER BY id"
        )
        return [Session(key, closed is not None, start, end, json.loads(v)) for key, closed, start, end, v in rows]

    def close(self) -> None:
        """Close the file and let other processes in."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            # SQLite has already rolled back by itself after a full disk
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


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


def _agree(directory: Path, survey: Survey) -> None:
    path = directory / "survey.json"
    if not path.exists():
        return
    there = Survey.load(path)
    if differences := survey.differences(there):
        raise InputError(
            f"{directory}: holds a run of a different survey ({'; '.join(differences[:3])}); "
            "give another --out, or the flags of that run to resume it"
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_version(directory: Path, connection: sqlite3.Connection) -> None:
    version = _version(connection)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{directory}: its run.sqlite has version {version}, this safescape reads version {SCHEMA_VERSION}; "
            "use the safescape that wrote it"
        )


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RunError(
            f"{directory}: run.sqlite cannot be written ({error}); free space or mend the permissions, "
            "then repeat the command: it resumes where it stopped"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
