"""The points of a run: their positions, answers and scores, and the points that could not be measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import NamedTuple

from safescape.store.database import ADD_VERDICT, AT_POINT, Database, place_of, point_of
from safescape.store.verdicts import StoredVerdicts
from safescape.survey import (
    Answer,
    Finish,
    MeasuredPoint,
    Outcome,
    Outcomes,
    Point,
    Position,
    Response,
    Score,
    Survey,
    Thought,
    ThoughtCounts,
)


class StoredAnswer(NamedTuple):
    """The answer to one prompt of a probe."""

    number: int
    """Index of the prompt in the probe."""
    answer: Answer


class Timing(NamedTuple):
    """When a point was measured."""

    seconds: float
    """Duration."""
    finished_at: datetime


class Stamp(NamedTuple):
    """A stored point as it is now; another one when verdicts on its answers are written or removed."""

    key: int
    """Id of the point in the database."""
    finished_at: str
    """A run that was deleted and measured again may have the same ids."""
    changes: int | None
    """How many verdicts were written or removed."""

    @property
    def is_counted(self) -> bool:
        """Whether changes are counted: not in a run of an earlier version that nobody claimed since."""
        return self.changes is not None


class KnownPoint(NamedTuple):
    """A point that was read."""

    place: int
    """Its index among the survey's points."""
    entries: tuple[MeasuredPoint, ...]


KnownPoints = dict[Stamp, KnownPoint]
"""The points that a caller has read of one run; see `StoredPoints.measured`."""

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


class StoredPoints:
    """The points in a run's database. Methods that write raise a `RunError` if the disk is full or broken."""

    def __init__(self, database: Database, survey: Survey, verdicts: StoredVerdicts) -> None:
        self._database, self._survey, self._verdicts = database, survey, verdicts

    def finished(self) -> set[Point]:
        """Return the points that are stored."""
        rows = self._database.rows("SELECT line, coords, waypoint FROM points")
        return {point_of(*row) for row in rows}

    def failures(self) -> dict[Point, str]:
        """Return the points that could not be measured at the last attempt, with the reasons, in that order."""
        rows = self._database.rows("SELECT line, coords, waypoint, reason FROM failures ORDER BY rowid")
        return {point_of(*place): reason for *place, reason in rows}

    def measured(self, known: KnownPoints | None = None) -> list[MeasuredPoint]:
        """Return every finished point with its outcomes or scores, one entry per probe, in the order of the survey.

        A judge that has not read every answer to a probe at a point is left out of that entry.

        Args:
            known: What an earlier call has read of this run, to begin with nothing: points in it that no judge has
                changed since are not read again. It is replaced by what is returned.

        """
        earlier = known or {}
        found = {}
        for stamp in self._stamps():
            there = earlier.get(stamp) if stamp.is_counted else None
            found[stamp] = self._read(stamp) if there is None else there
        if known is not None:
            known.clear()
            known.update(found)
        return [entry for point in sorted(found.values(), key=lambda point: point.place) for entry in point.entries]

    def stamps(self) -> dict[Point, Stamp]:
        """Return the stamp of each finished point."""
        places = self._database.rows("SELECT id, line, coords, waypoint FROM points")
        points = {key: point_of(*place) for key, *place in places}
        return {points[stamp.key]: stamp for stamp in self._stamps() if stamp.key in points}

    @cached_property
    def _counts_changes(self) -> bool:
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'judgings'"
        return bool(self._database.row(query)[0])

    def _stamps(self) -> list[Stamp]:
        changes = "(SELECT j.changes FROM judgings j WHERE j.point = p.id)" if self._counts_changes else "NULL"
        rows = self._database.rows(f"SELECT p.id, p.finished_at, {changes} FROM points p")
        return [Stamp(*row) for row in rows]

    def _read(self, stamp: Stamp) -> KnownPoint:
        key = stamp.key
        query = "SELECT effective, off, line, coords, waypoint FROM points WHERE id = ?"
        effective, off, *place = self._database.row(query, (key,))
        point, position = point_of(*place), Position(tuple(json.loads(effective)), off)
        entries = []
        outcomes: dict[str, dict[str, list[Outcome]]] = {}
        rows = self._database.rows(
            "SELECT r.probe, v.judge, v.outcome FROM responses r JOIN verdicts v ON v.response = r.id"
            " WHERE r.point = ? ORDER BY r.probe, r.number",
            (key,),
        )
        for probe, judge, outcome in rows:
            outcomes.setdefault(probe, {}).setdefault(judge, []).append(_OUTCOMES[outcome])
        counted = "SELECT probe, count(*) FROM responses WHERE point = ? GROUP BY probe ORDER BY probe"
        for probe, answers in self._database.rows(counted, (key,)):
            there = outcomes.get(probe, {}).items()
            by_judge = {judge: Outcomes(found) for judge, found in there if len(found) == answers}
            thoughts = self._thought_counts(key, probe)
            entries.append(MeasuredPoint(point, position, probe, by_judge, thoughts=thoughts))
        scores: dict[str, list[Score]] = {}
        rows = self._database.rows(
            "SELECT probe, value, weight FROM scores WHERE point = ? ORDER BY probe, number", (key,)
        )
        for probe, value, weight in rows:
            scores.setdefault(probe, []).append(Score(value, weight))
        entries += [MeasuredPoint(point, position, probe, {}, found) for probe, found in scores.items()]
        return KnownPoint(self._order[point], tuple(entries))

    @cached_property
    def _order(self) -> dict[Point, int]:
        return {point: number for number, point in enumerate(self._survey.points())}

    def answers(self, point: Point, probe: str) -> list[StoredAnswer]:
        """Return the answers at a point, in the order of the probe's prompts; empty if it is not measured."""
        rows = self._database.rows(
            "SELECT r.id, r.number, r.text, r.finish, r.tokens FROM responses r JOIN points p ON r.point = p.id"
            f" WHERE {AT_POINT} AND r.probe = ? ORDER BY r.number",
            (*place_of(point), probe),
        )
        thoughts = self._thoughts(point, probe)
        return [
            StoredAnswer(number, Answer(Response(text, Finish(finish), tokens, thoughts.get(row)), verdicts))
            for (row, number, text, finish, tokens), verdicts in zip(rows, self._verdicts.at(point, probe), strict=True)
        ]

    def _thoughts(self, point: Point, probe: str) -> dict[int, Thought]:
        """Return the thoughts before the answers to a probe at a point, by the answer's id."""
        # a run of an earlier version that nobody claimed since has no such table
        if self._survey.markers is None:
            return {}
        rows = self._database.rows(
            "SELECT t.response, t.text, t.tokens, t.is_ended FROM thoughts t JOIN responses r ON t.response = r.id"
            f" JOIN points p ON r.point = p.id WHERE {AT_POINT} AND r.probe = ?",
            (*place_of(point), probe),
        )
        return {row: Thought(text, tokens, bool(is_ended)) for row, text, tokens, is_ended in rows}

    def _thought_counts(self, key: int, probe: str) -> ThoughtCounts | None:
        if self._survey.markers is None:
            return None
        counts = self._database.row(
            "SELECT count(*), ifnull(sum(t.tokens), 0), ifnull(sum(NOT t.is_ended), 0), ifnull(sum(r.text = ''), 0)"
            " FROM thoughts t JOIN responses r ON t.response = r.id WHERE r.point = ? AND r.probe = ?",
            (key, probe),
        )
        return ThoughtCounts(*counts)

    def timing(self, point: Point) -> Timing | None:
        """Return when a point was measured; None if it was not."""
        row = self._database.row(f"SELECT p.seconds, p.finished_at FROM points p WHERE {AT_POINT}", place_of(point))
        return None if row is None else Timing(row[0], datetime.fromisoformat(row[1]))

    def last_finished(self) -> datetime | None:
        """Return when the newest point was finished; None if there is none."""
        (newest,) = self._database.row("SELECT max(finished_at) FROM points")
        return None if newest is None else datetime.fromisoformat(newest)

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
        """Store a finished point in one transaction.

        Args:
            point: Of the survey.
            position: Where the weights were, as rounded.
            seconds: How long the point took.
            session: The id that `Store.begin_session` returned.
            answers: By probe of prompts, in the order of its prompts.
            scores: By capability probe, in the order of its items.

        """
        with self._database.transaction() as connection:
            key = connection.execute(
                "INSERT INTO points (line, coords, waypoint, effective, off, seconds, session, finished_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*place_of(point), json.dumps(position.effective), position.off, seconds, session, now()),
            ).lastrowid
            connection.execute(_DELETE_FAILURE, place_of(point))
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
                    if response.thought is not None:
                        connection.execute(_ADD_THOUGHT, (row, *response.thought))

    def add_failure(self, point: Point, reason: str, session: int) -> None:
        """Record why, in one line, a point could not be measured in a session; it stays open."""
        with self._database.transaction() as connection:
            connection.execute(_DELETE_FAILURE, place_of(point))
            connection.execute(
                "INSERT INTO failures (line, coords, waypoint, reason, session) VALUES (?, ?, ?, ?, ?)",
                (*place_of(point), reason, session),
            )


_ADD_THOUGHT = "INSERT INTO thoughts (response, text, tokens, is_ended) VALUES (?, ?, ?, ?)"
_DELETE_FAILURE = "DELETE FROM failures WHERE line IS ? AND coords = ? AND waypoint IS ?"


def now() -> str:
    """Return the current time (UTC, milliseconds) as the tables hold it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
