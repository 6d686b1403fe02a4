"""The verdicts of judges on a run's answers, and the evidence: the log-likelihood of answers under the origin.

Knows no judge: who reads an answer, and what follows from it, is decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from safescape.errors import InputError
from safescape.store.database import ADD_VERDICT, AT_POINT, Database, Place, order_of, place_of
from safescape.survey import Calibration, Evidence, Exchange, Finish, Outcome, Point, PromptProbe, Survey, Verdict


class StoredExchange(NamedTuple):
    """A prompt and its stored answer, as a judge reads them."""

    response: int
    """Id of the answer in the database."""
    probe: str
    number: int
    """Index of the prompt in the probe."""
    exchange: Exchange
    finish: Finish
    is_unanswered: bool = False
    """Whether it is empty because a reasoning model only thought; see `Response.is_unanswered`."""


class _Exchanges:
    """Reads answers with their prompts and their evidence, in the survey's order of points."""

    def __init__(self, database: Database, survey: Survey) -> None:
        self._database, self._survey = database, survey

    def calibration(self) -> Calibration | None:
        row = self._database.row("SELECT threshold, width FROM calibration")
        return None if row is None else Calibration(*row)

    def where(self, condition: str, parameters: Sequence[object] = ()) -> list[StoredExchange]:
        calibration, found, unanswered = self.calibration(), [], self.unanswered()
        rows = self._database.rows(
            "SELECT p.line, p.coords, p.waypoint, r.id, r.probe, r.number, r.text, r.finish,"
            " e.log_probability, e.tokens FROM responses r JOIN points p ON r.point = p.id"
            f" LEFT JOIN evidence e ON e.response = r.id WHERE {condition} ORDER BY r.id",
            parameters,
        )
        # workers finish points in any order; a judge that reads several answers at once must not depend on it
        rows.sort(key=lambda row: self._order[row[:3]])
        for _, _, _, response, probe, number, text, finish, log_probability, tokens in rows:
            evidence = None
            if calibration is not None and tokens is not None:
                evidence = Evidence(log_probability, tokens, calibration)
            exchange = Exchange(self.prompts[probe][number], text, evidence)
            found.append(StoredExchange(response, probe, number, exchange, Finish(finish), response in unanswered))
        return found

    def unanswered(self) -> set[int]:
        """Return the ids of the empty answers that came after a thought."""
        if self._survey.markers is None:
            return set()
        query = "SELECT r.id FROM responses r JOIN thoughts t ON t.response = r.id WHERE r.text = ''"
        return {row for (row,) in self._database.rows(query)}

    @cached_property
    def _order(self) -> dict[Place, int]:
        return order_of(self._survey)

    @cached_property
    def prompts(self) -> dict[str, tuple[str, ...]]:
        return {probe.name: probe.prompts for probe in self._survey.probes if isinstance(probe, PromptProbe)}


class StoredVerdicts:
    """The verdicts in a run's database. Methods that write raise a `RunError` if the disk is full or broken."""

    def __init__(self, database: Database, survey: Survey) -> None:
        self._database, self._survey = database, survey
        self._exchanges = _Exchanges(database, survey)

    def judges(self) -> dict[str, dict[str, str]]:
        """Return what the verdicts of each judge were made with, by name; the survey's judges first, in their order."""
        rows = dict(self._database.rows("SELECT name, made_of FROM judges ORDER BY rowid"))
        names = [*(name for name in self._survey.judges if name in rows), *rows]
        return {name: json.loads(rows[name]) for name in dict.fromkeys(names)}

    def rubrics(self) -> dict[str, str]:
        """Return the texts of rubrics that came from files, by judge."""
        later = {name: made["rubric_text"] for name, made in self.judges().items() if "rubric_text" in made}
        return {**self._survey.rubrics, **later}

    def register(self, judge: str, made_of: Mapping[str, str]) -> None:
        """Record a judge and what its verdicts are made with.

        Raises:
            InputError: it has verdicts here that were made with something else.

        """
        there = self.judges().get(judge)
        if there is not None and there != made_of:
            differing = ", ".join(key for key in {**there, **made_of} if there.get(key) != made_of.get(key))
            raise InputError(
                f"{self._database.directory}: has verdicts of --judge {judge} made with another {differing}; use that, "
                f"or replace them all: safescape judge {self._database.directory} --with {judge} --again"
            )
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO judges (name, made_of) VALUES (?, ?)", (judge, json.dumps(made_of))
            )

    def missing(self, judge: str) -> list[StoredExchange]:
        """Return the answers that a judge has not read yet, in the survey's order of points."""
        return self._exchanges.where(
            "NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.response = r.id AND v.judge = ?)", (judge,)
        )

    def exchanges(self) -> list[StoredExchange]:
        """Return every answer, in the survey's order of points."""
        return self._exchanges.where("TRUE")

    def at(self, point: Point, probe: str) -> list[dict[str, Verdict]]:
        """Return the verdicts by judge on each answer at a point, in the order of the probe's prompts."""
        rows = self._database.rows(
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

    def by_exchange(self, judge: str) -> dict[Exchange, Verdict]:
        """Return a judge's verdict on every exchange that it has read, without those where no answer came."""
        rows = self._database.rows(
            "SELECT r.id, r.probe, r.number, r.text, v.outcome, v.reason, v.probability"
            " FROM verdicts v JOIN responses r ON v.response = r.id WHERE v.judge = ? AND r.finish != ? ORDER BY r.id",
            (judge, Finish.NO_PROMPT),
        )
        unanswered = self._exchanges.unanswered()
        return {
            Exchange(self._exchanges.prompts[probe][number], text): Verdict(Outcome(outcome), reason, probability)
            for row, probe, number, text, outcome, reason, probability in rows
            if row not in unanswered
        }

    def by_response(self, judge: str) -> dict[int, Verdict]:
        """Return a judge's verdict on every answer that it has read, by the answer's id."""
        rows = self._database.rows(
            "SELECT response, outcome, reason, probability FROM verdicts WHERE judge = ?", (judge,)
        )
        return {row: Verdict(Outcome(outcome), *rest) for row, outcome, *rest in rows}

    def add(self, judge: str, verdicts: Mapping[int, Verdict]) -> None:
        """Store verdicts of a judge, by the answer's id, in one transaction."""
        with self._database.transaction() as connection:
            connection.executemany(ADD_VERDICT, [(row, judge, *verdict) for row, verdict in verdicts.items()])

    def replace(self, judge: str, made_of: Mapping[str, str], verdicts: Mapping[int, Verdict]) -> None:
        """Replace all verdicts of a judge that reads every answer again, in one transaction."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM verdicts WHERE judge = ?", (judge,))
            connection.execute(
                "INSERT OR REPLACE INTO judges (name, made_of) VALUES (?, ?)", (judge, json.dumps(made_of))
            )
            connection.executemany(ADD_VERDICT, [(row, judge, *verdict) for row, verdict in verdicts.items()])


class StoredEvidence:
    """The evidence in a run's database: the log-likelihood of answers under the origin.

    Methods that write raise a `RunError` if the disk is full or broken.
    """

    def __init__(self, database: Database, survey: Survey) -> None:
        self._database = database
        self._exchanges = _Exchanges(database, survey)

    def calibration(self) -> Calibration | None:
        """Return what the origin's log-likelihoods mean; None: it was not calibrated yet."""
        return self._exchanges.calibration()

    def missing(self, point: Point) -> list[StoredExchange]:
        """Return the answers at `point` that the origin has not scored yet."""
        return self._exchanges.where(f"{AT_POINT} AND e.response IS NULL", place_of(point))

    def add_calibration(self, calibration: Calibration) -> None:
        """Store the calibration of the origin; a run has one."""
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO calibration (id, threshold, width) VALUES (1, ?, ?)", calibration)

    def add(self, evidence: Mapping[int, Evidence], verdicts: Mapping[str, Mapping[int, Verdict]]) -> None:
        """Store evidence by the answer's id, and the verdicts that judges reach with it, in one transaction.

        The verdicts, by judge and the answer's id, replace earlier ones.
        """
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO evidence (response, log_probability, tokens) VALUES (?, ?, ?)",
                [(row, found.log_probability, found.tokens) for row, found in evidence.items()],
            )
            for judge, given in verdicts.items():
                connection.executemany(ADD_VERDICT, [(row, judge, *verdict) for row, verdict in given.items()])
