"""A run directory: claimed by one process to measure in it, read by any at any time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from filelock import FileLock, Timeout

from safescape.errors import InputError, RunError
from safescape.store.file import (
    ADD_VERDICT,
    AT_POINT,
    FAILURES,
    SCHEMA,
    SCHEMA_VERSION,
    check_version,
    transaction,
    version_of,
    write_text,
    writing,
)
from safescape.store.verdicts import Judged
from safescape.survey import (
    Answer,
    Finish,
    MeasuredPoint,
    Outcome,
    Point,
    Position,
    Response,
    Score,
    Survey,
    Verdict,
)

__all__ = ["Session", "Store", "StoredAnswer", "Taken"]


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


class Taken(NamedTuple):
    """When a point was measured."""

    seconds: float
    """How long it took."""
    finished_at: datetime


class Store(Judged):
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
            connection.execute(_FORGET_FAILURE, _place(point))
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
            connection.execute(_FORGET_FAILURE, _place(point))
            connection.execute(
                "INSERT INTO failures (line, coords, waypoint, reason, session) VALUES (?, ?, ?, ?, ?)",
                (*_place(point), reason, session),
            )

    def failures(self) -> dict[Point, str]:
        """Return the points that could not be measured when it was last tried, with the reasons, in that order."""
        rows = self._connection.execute("SELECT line, coords, waypoint, reason FROM failures ORDER BY rowid")
        return {Point(line, tuple(json.loads(coords)), waypoint): reason for line, coords, waypoint, reason in rows}

    def measured(self) -> Iterator[MeasuredPoint]:
        """Every finished point with its outcomes or scores, one entry a probe, in the order of the survey's points.

        A judge that has not read every answer there is left out.

        """
        points = self._connection.execute("SELECT id, line, coords, waypoint, effective, off FROM points").fetchall()
        for key, *place, effective, off in sorted(points, key=lambda row: self._order(*row[1:4])):
            line, coords, waypoint = place
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
            f" WHERE {AT_POINT} AND r.probe = ? ORDER BY r.number",
            (*_place(point), probe),
        ).fetchall()
        verdicts: dict[int, dict[str, Verdict]] = {}
        said = self._connection.execute(
            "SELECT v.response, v.judge, v.outcome, v.reason, v.probability FROM verdicts v"
            " JOIN responses r ON v.response = r.id JOIN points p ON r.point = p.id"
            f" WHERE {AT_POINT} AND r.probe = ?",
            (*_place(point), probe),
        )
        for key, judge, outcome, *rest in said:
            verdicts.setdefault(key, {})[judge] = Verdict(Outcome(outcome), *rest)
        return [
            StoredAnswer(number, Answer(Response(text, Finish(finish), tokens), verdicts.get(key, {})))
            for key, number, text, finish, tokens in rows
        ]

    def opinions(self, point: Point, probe: str) -> list[dict[str, Verdict]]:
        """Return what judges said of the answers at a point, in the order of the probe's prompts, without the texts."""
        rows = self._connection.execute(
            "SELECT r.number, v.judge, v.outcome, v.reason, v.probability FROM responses r"
            " JOIN points p ON r.point = p.id LEFT JOIN verdicts v ON v.response = r.id"
            f" WHERE {AT_POINT} AND r.probe = ? ORDER BY r.number",
            (*_place(point), probe),
        )
        found: dict[int, dict[str, Verdict]] = {}
        for number, judge, outcome, *rest in rows:
            there = found.setdefault(number, {})
            if judge is not None:
                there[judge] = Verdict(Outcome(outcome), *rest)
        return list(found.values())

    def taken(self, point: Point) -> Taken | None:
        """Return how long a point took, and when it was finished; None if it was not measured."""
        row = self._connection.execute(
            f"SELECT p.seconds, p.finished_at FROM points p WHERE {AT_POINT}", _place(point)
        ).fetchone()
        return None if row is None else Taken(row[0], datetime.fromisoformat(row[1]))

    def last_finished(self) -> datetime | None:
        """Return when the newest point was finished; None if there is none."""
        newest = self._connection.execute("SELECT max(finished_at) FROM points").fetchone()[0]
        return None if newest is None else datetime.fromisoformat(newest)

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


def _place(point: Point) -> tuple[int | None, str, int | None]:
    """A point as the tables name it."""
    return point.line, json.dumps(point.coords), point.waypoint


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
