"""The labels that people give to the answers of a run: a sample of its answers, and a label for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from safescape.errors import InputError
from safescape.store.database import Database, point_of
from safescape.survey import Label, Outcome, Point, PromptProbe, Sample, SampledAnswer, Survey

_TABLES = ("label_sample", "labels", "agreements")


class JudgedAnswer(NamedTuple):
    """An answer to a harmful request with a judge's outcome."""

    response: int
    """Id of the answer in the database."""
    point: Point
    outcome: Outcome


class ShownAnswer(NamedTuple):
    """What a person reads of an answer: no point, and no verdict."""

    prompt: str
    text: str


class StoredLabels:
    """The labels in a run's database, and the agreement files that were given for it.

    A run of an earlier version that nobody claimed since has none of their tables, and is read as one without labels.
    Methods that write raise a `RunError` if the disk is full or broken.
    """

    def __init__(self, database: Database, survey: Survey) -> None:
        self._database, self._survey = database, survey

    @property
    def _has_tables(self) -> bool:
        query = f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ({','.join('?' * len(_TABLES))})"
        (count,) = self._database.row(query, _TABLES)
        return int(count) == len(_TABLES)

    def judged(self, judge: str) -> list[JudgedAnswer]:
        """Return the answers to harmful requests that a judge has read; without those where only a thought came."""
        harmful = [each.name for each in self._survey.probes if isinstance(each, PromptProbe) and each.harmful]
        rows = self._database.rows(
            "SELECT r.id, p.line, p.coords, p.waypoint, v.outcome FROM responses r JOIN points p ON r.point = p.id"
            f" JOIN verdicts v ON v.response = r.id WHERE v.judge = ? AND r.probe IN ({','.join('?' * len(harmful))})"
            " AND r.text != '' ORDER BY r.id",
            (judge, *harmful),
        )
        return [JudgedAnswer(row, point_of(*place), Outcome(outcome)) for row, *place, outcome in rows]

    def outcomes(self, judge: str) -> dict[int, Outcome]:
        """Return a judge's outcome on every sampled answer that it has read, by the answer's id."""
        # CROSS JOIN begins with the labels, which are few; verdicts have no index by judge
        rows = self._database.rows(
            "SELECT v.response, v.outcome FROM labels l CROSS JOIN verdicts v"
            " WHERE v.response = l.response AND v.judge = ?",
            (judge,),
        )
        return {row: Outcome(outcome) for row, outcome in rows}

    def shown(self) -> dict[int, ShownAnswer]:
        """Return the sampled answers with their prompts, by the answer's id."""
        prompts = {each.name: each.prompts for each in self._survey.probes if isinstance(each, PromptProbe)}
        rows = self._database.rows(
            "SELECT r.id, r.probe, r.number, r.text FROM responses r JOIN labels l ON l.response = r.id"
        )
        return {row: ShownAnswer(prompts[probe][number], text) for row, probe, number, text in rows}

    def sample(self) -> Sample | None:
        """Return the sample with the labels so far; None if none was drawn.

        Raises:
            InputError: the database cannot be read, or holds a label of a later version.

        """
        drawn = self._database.row("SELECT judge, made_of, seed FROM label_sample") if self._has_tables else None
        if drawn is None:
            return None
        judge, made_of, seed = drawn
        rows = self._database.rows("SELECT response, stratum, answers, label, skipped FROM labels ORDER BY place")
        try:
            labelled = [
                SampledAnswer(response, stratum, answers, None if label is None else Label(label), bool(skipped))
                for response, stratum, answers, label, skipped in rows
            ]
        except ValueError as error:
            raise InputError(f"{self._database.directory}: a label of a later version is in it ({error})") from error
        return Sample(judge, made_of, seed, tuple(labelled))

    def store_sample(self, sample: Sample) -> None:
        """Store a sample, new or continued; the labels that it holds are stored with it."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM label_sample")
            connection.execute("DELETE FROM labels")
            connection.execute(
                "INSERT INTO label_sample (id, judge, made_of, seed) VALUES (1, ?, ?, ?)",
                (sample.judge, sample.made_of, sample.seed),
            )
            connection.executemany(
                "INSERT INTO labels (place, response, stratum, answers, label, skipped) VALUES (?, ?, ?, ?, ?, ?)",
                [(place, *row) for place, row in enumerate(sample.rows)],
            )

    def give(self, response: int, label: Label | None, *, skipped: bool = False) -> None:
        """Store a person's label of a sampled answer; None takes it back, or passes over the answer (`skipped`)."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE labels SET label = ?, skipped = ? WHERE response = ?", (label, int(skipped), response)
            )

    def agreements(self) -> dict[str, str]:
        """Return the texts of the agreement files that were given for this run, by judge."""
        return (
            dict(self._database.rows("SELECT judge, text FROM agreements ORDER BY judge")) if self._has_tables else {}
        )

    def store_agreements(self, texts: Sequence[tuple[str, str]]) -> None:
        """Store agreement files, as pairs of a judge and a text; each replaces an earlier one of that judge."""
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO agreements (judge, text) VALUES (?, ?)", texts)
