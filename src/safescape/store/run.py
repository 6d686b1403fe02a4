"""A run directory: claimed by one process to measure in it, read by any at any time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from safescape.errors import InputError, RunError
from safescape.store.file import (
    ADD_VERDICT,
    FAILURES,
    SCHEMA,
    SCHEMA_VERSION,
    check_version,
    place_of,
    transaction,
    version_of,
    write_text,
    writing,
)
from safescape.store.points import Points
from safescape.survey import Answer, Point, Position, Score, Survey

__all__ = ["Store"]


class Store(Points):
    """The results of one run directory.

    `Store.claim` opens a directory for measuring and keeps other processes out until `close`; `Store.read` opens
    it for looking, at any time.
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection, survey: Survey, lock: FileLock | None) -> None:
        super().__init__(directory, connection, survey)
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
            with writing(directory):
                connection = sqlite3.connect(directory / "run.sqlite", isolation_level=None)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                if not version_of(connection):
                    connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            check_version(directory, connection)
            with writing(directory):
                connection.executescript(FAILURES)
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
            check_version(directory, connection)
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: not a run's database ({error}); give the directory that --out named") from error
        return cls(directory, connection, survey, None)

    def begin_session(self, *, origin: str, noise_device: str, versions: Mapping[str, str]) -> int:
        """Record that this process begins to measure, and how its live origin's fingerprint reads."""
        with writing(self.directory):
            cursor = self._connection.execute(
                "INSERT INTO sessions (started_at, noise_device, origin_at_start, versions) VALUES (?, ?, ?, ?)",
                (_now(), noise_device, origin, json.dumps(versions)),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def end_session(self, session: int, *, origin: str) -> None:
        """Record that this process is done and how its live origin's fingerprint reads now."""
        with writing(self.directory):
            self._connection.execute(
                "UPDATE sessions SET closed_at = ?, origin_at_close = ? WHERE id = ?",
                (_now(), origin, session),
            )

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
        with writing(self.directory), transaction(self._connection) as connection:
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
            connection.execute(_FORGET_FAILURE, place_of(point))
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
                    connection.executemany(ADD_VERDICT, [(row, judge, *verdict) for judge, verdict in verdicts.items()])

    def add_failure(self, point: Point, reason: str, session: int) -> None:
        """Record that a point could not be measured; it stays open.

        Args:
            point: Which.
            reason: In one line.
            session: The number that `begin_session` gave.

        """
        with writing(self.directory), transaction(self._connection) as connection:
            connection.execute(_FORGET_FAILURE, place_of(point))
            connection.execute(
                "INSERT INTO failures (line, coords, waypoint, reason, session) VALUES (?, ?, ?, ?, ?)",
                (*place_of(point), reason, session),
            )

    def close(self) -> None:
        """Close the file and let other processes in."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


_FORGET_FAILURE = "DELETE FROM failures WHERE line IS ? AND coords = ? AND waypoint IS ?"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
