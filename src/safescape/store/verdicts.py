"""What judges said of a run's answers, and what the origin finds of them.

Knows no judge: who reads an answer, and what follows from it, is decided elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from safescape.errors import InputError
from safescape.store.file import ADD_VERDICT, AT_POINT, place_of, transaction, writing
from safescape.survey import Calibration, Evidence, Exchange, Finish, Outcome, Point, PromptProbe, Survey, Verdict

__all__ = ["Judged", "Unjudged"]


class Unjudged(NamedTuple):
    """An answer as a judge is to read it."""

    response: int
    """Its number in the file."""
    probe: str
    number: int
    """Of the prompt in the probe."""
    exchange: Exchange
    finish: Finish


class Judged:
    """The verdicts in a run's file; a part of `Store`."""

    def __init__(self, directory: Path, connection: sqlite3.Connection, survey: Survey) -> None:
        self.directory = directory
        self.survey = survey
        self._connection = connection

    def judges(self) -> dict[str, dict[str, str]]:
        """Return what the verdicts of each judge come from, by name; the survey's judges first, in their order."""
        rows = dict(self._connection.execute("SELECT name, made_of FROM judges ORDER BY rowid").fetchall())
        names = [*(name for name in self.survey.judges if name in rows), *rows]
        return {name: json.loads(rows[name]) for name in dict.fromkeys(names)}

    def rubrics(self) -> dict[str, str]:
        """Return the texts of rubrics that came from files, by judge."""
        later = {name: made["rubric_text"] for name, made in self.judges().items() if "rubric_text" in made}
        return {**self.survey.rubrics, **later}

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
        with writing(self.directory):
            self._connection.execute(
                "INSERT OR IGNORE INTO judges (name, made_of) VALUES (?, ?)", (judge, json.dumps(made_of))
            )

    def replace_verdicts(self, judge: str, made_of: Mapping[str, str], verdicts: Mapping[int, Verdict]) -> None:
        """Store what a judge says that reads every answer again, and forget what it said before: both, or neither.

        Raises:
            RunError: the disk is full or broken; what was stored before stays.

        """
        with writing(self.directory), transaction(self._connection) as connection:
            connection.execute("DELETE FROM verdicts WHERE judge = ?", (judge,))
            connection.execute(
                "INSERT OR REPLACE INTO judges (name, made_of) VALUES (?, ?)", (judge, json.dumps(made_of))
            )
            connection.executemany(ADD_VERDICT, [(row, judge, *verdict) for row, verdict in verdicts.items()])

    def unjudged(self, judge: str) -> list[Unjudged]:
        """Return the answers that a judge has not read yet, in the order of the survey's points."""
        return self._answers_where(
            "NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.response = r.id AND v.judge = ?)", (judge,)
        )

    def all_answers(self) -> list[Unjudged]:
        """Return every answer, in the order of the survey's points."""
        return self._answers_where("TRUE", ())

    def unweighed(self, point: Point) -> list[Unjudged]:
        """Return the answers at a point of which the origin was not asked yet how likely it finds them."""
        return self._answers_where(
            f"{AT_POINT} AND e.response IS NULL",
            place_of(point),
        )

    def _answers_where(self, where: str, values: Sequence[object]) -> list[Unjudged]:
        calibration, found = self.calibration(), []
        rows = self._connection.execute(
            "SELECT p.line, p.coords, p.waypoint, r.id, r.probe, r.number, r.text, r.finish,"
            " e.log_probability, e.tokens FROM responses r"
            f" JOIN points p ON r.point = p.id LEFT JOIN evidence e ON e.response = r.id WHERE {where} ORDER BY r.id",
            tuple(values),
        ).fetchall()
        # workers finish points in any order, and a judge that reads several answers at once must not see which
        rows.sort(key=lambda row: self._order(*row[:3]))
        for _, _, _, response, probe, number, text, finish, log_probability, tokens in rows:
            evidence = None
            if calibration is not None and tokens is not None:
                evidence = Evidence(log_probability, tokens, calibration)
            exchange = Exchange(self._prompts[probe][number], text, evidence)
            found.append(Unjudged(response, probe, number, exchange, Finish(finish)))
        return found

    def _order(self, line: int | None, coords: str, waypoint: int | None) -> int:
        """Which of the survey's points one is, as the tables name it."""
        return self._places[line, coords, waypoint]

    @cached_property
    def _places(self) -> dict[tuple[int | None, str, int | None], int]:
        points = self.survey.points()
        return {place_of(p): number for number, p in enumerate(points)}

    @cached_property
    def _prompts(self) -> dict[str, tuple[str, ...]]:
        return {probe.name: probe.prompts for probe in self.survey.probes if isinstance(probe, PromptProbe)}

    def calibration(self) -> Calibration | None:
        """Return what the origin finds of language; None: it was not asked yet."""
        row = self._connection.execute("SELECT threshold, width FROM calibration").fetchone()
        return None if row is None else Calibration(*row)

    def add_calibration(self, calibration: Calibration) -> None:
        """Store what the origin finds of language, once."""
        with writing(self.directory):
            self._connection.execute("INSERT INTO calibration (id, threshold, width) VALUES (1, ?, ?)", calibration)

    def add_verdicts(self, judge: str, verdicts: Mapping[int, Verdict]) -> None:
        """Store what a judge said, by the number of the response: all of it, or nothing.

        Raises:
            RunError: the disk is full or broken; what was stored before stays.

        """
        with writing(self.directory), transaction(self._connection) as connection:
            connection.executemany(ADD_VERDICT, [(row, judge, *verdict) for row, verdict in verdicts.items()])

    def add_evidence(self, evidence: Mapping[int, Evidence], verdicts: Mapping[str, Mapping[int, Verdict]]) -> None:
        """Store how likely the origin finds responses, by their numbers, and what judges say now: all, or nothing.

        Args:
            evidence: By response.
            verdicts: By judge and response; they replace earlier ones.

        Raises:
            RunError: the disk is full or broken; what was stored before stays.

        """
        with writing(self.directory), transaction(self._connection) as connection:
            connection.executemany(
                "INSERT INTO evidence (response, log_probability, tokens) VALUES (?, ?, ?)",
                [(row, found.log_probability, found.tokens) for row, found in evidence.items()],
            )
            for judge, given in verdicts.items():
                connection.executemany(ADD_VERDICT, [(row, judge, *verdict) for row, verdict in given.items()])

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
