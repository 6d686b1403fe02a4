"""Answers that ended as noise, and the sample of them that was asked again and written to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from safescape.store.database import Database, order_of, point_of
from safescape.survey import Finish, Outcome, Point, Survey


class EndedAnswer(NamedTuple):
    """An answer that ended as noise."""

    response: int
    """Id of the answer in the database."""
    point: Point
    probe: str
    number: int
    """Index of the prompt in the probe."""
    outcomes: Mapping[str, Outcome]
    """By judge, as the answer ended."""


class WholeAnswer(NamedTuple):
    """The same answer, written to its end."""

    response: int
    """Id of the answer that ended as noise."""
    text: str
    finish: Finish
    tokens: int
    outcomes: Mapping[str, Outcome]
    """By judge."""


class StoredNoise:
    """Reads and writes a run's database; `add` raises a `RunError` if the disk is full or broken."""

    def __init__(self, database: Database, survey: Survey) -> None:
        self._database, self._survey = database, survey

    def ended(self) -> list[EndedAnswer]:
        """Return the answers that ended as noise, in the survey's order of points, probes and prompts."""
        if self._survey.noise is None:
            return []
        order = order_of(self._survey)
        probes = {probe.name: place for place, probe in enumerate(self._survey.probes)}
        rows = self._database.rows(
            "SELECT p.line, p.coords, p.waypoint, r.id, r.probe, r.number, v.judge, v.outcome FROM responses r"
            " JOIN points p ON r.point = p.id LEFT JOIN verdicts v ON v.response = r.id WHERE r.finish = ?",
            (Finish.NOISE,),
        )
        found: dict[int, tuple[tuple[int, int, int], EndedAnswer]] = {}
        outcomes: dict[int, dict[str, Outcome]] = {}
        for *place, response, probe, number, judge, outcome in rows:
            there = outcomes.setdefault(response, {})
            if judge is not None:
                there[judge] = Outcome(outcome)
            line, coords, waypoint = place
            where = order[line, coords, waypoint], probes[probe], number
            found[response] = where, EndedAnswer(response, point_of(line, coords, waypoint), probe, number, there)
        return [answer for _, answer in sorted(found.values(), key=lambda each: each[0])]

    def count(self) -> tuple[int, int]:
        """Return how many answers ended as noise, and how many answers there are."""
        # two counts, each from an index: the table itself holds all texts
        query = "SELECT (SELECT count(*) FROM responses WHERE finish = ?), (SELECT count(*) FROM responses)"
        return self._database.row(query, (Finish.NOISE,))

    def whole(self) -> list[WholeAnswer]:
        """Return the answers that were asked again, by id of the first one; empty if none was yet."""
        if self._survey.noise is None:
            return []
        rows = self._database.rows(
            "SELECT response, text, finish, tokens, outcomes FROM whole_answers ORDER BY response"
        )
        return [
            WholeAnswer(response, text, Finish(finish), tokens, _outcomes(outcomes))
            for response, text, finish, tokens, outcomes in rows
        ]

    def add(self, answers: Sequence[WholeAnswer]) -> None:
        """Store the answers that were asked again, all of them in one transaction."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO whole_answers (response, text, finish, tokens, outcomes) VALUES (?, ?, ?, ?, ?)",
                [(*answer[:4], json.dumps(answer.outcomes)) for answer in answers],
            )


def _outcomes(text: str) -> dict[str, Outcome]:
    return {judge: Outcome(outcome) for judge, outcome in json.loads(text).items()}
