"""The points that a run's file holds: what was said there, what it scored, what could not be measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from safescape.store.file import AT_POINT, place_of
from safescape.store.verdicts import Judged
from safescape.survey import Answer, Finish, MeasuredPoint, Outcome, Point, Position, Response, Score, Verdict

__all__ = ["Points", "Session", "StoredAnswer", "Taken"]


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


class Points(Judged):
    """The points in a run's file, to be read; a part of `Store`."""

    def finished(self) -> set[Point]:
        """Return the points that need not be computed again."""
        rows = self._connection.execute("SELECT line, coords, waypoint FROM points")
        return {Point(line, tuple(json.loads(coords)), waypoint) for line, coords, waypoint in rows}

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
            (*place_of(point), probe),
        ).fetchall()
        verdicts: dict[int, dict[str, Verdict]] = {}
        said = self._connection.execute(
            "SELECT v.response, v.judge, v.outcome, v.reason, v.probability FROM verdicts v"
            " JOIN responses r ON v.response = r.id JOIN points p ON r.point = p.id"
            f" WHERE {AT_POINT} AND r.probe = ?",
            (*place_of(point), probe),
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
            (*place_of(point), probe),
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
            f"SELECT p.seconds, p.finished_at FROM points p WHERE {AT_POINT}", place_of(point)
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
