"""The thoughts of a reasoning model are stored beside its answers, and no judge reads an answer that never came."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from helpers.behaviours import hostile_thoughts
from helpers.runs import landscape_in, make_run
from helpers.surveys import THINK, make_survey
from safescape.store import Store
from safescape.survey import Outcome, Point, ThoughtCounts

ORIGIN = Point(None, (0.0,))
SURVEY = make_survey(prompts=6, lines=1, steps=2, markers=THINK)


def test_thoughts_come_back_as_they_were(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", SURVEY, thinks=hostile_thoughts) as store:
        answers = [stored.answer for stored in store.points.answers(ORIGIN, "harmful")]
    assert [answer.response.thought for answer in answers] == [hostile_thoughts(ORIGIN, n) for n in range(6)]
    assert [answer.response.is_unanswered for answer in answers] == [False, False, True] * 2
    assert [answer.verdicts["keyword"].outcome is Outcome.UNSCORED for answer in answers] == [False, False, True] * 2


def test_thoughts_are_counted_at_every_point(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", SURVEY, thinks=hostile_thoughts) as store:
        assert {entry.thoughts for entry in store.points.measured()} == {ThoughtCounts(4, 41 + 42 + 44 + 45, 2, 2)}
        points = landscape_in(store).points
    assert [(p.thoughts.n, p.thoughts.mean_tokens, p.thoughts.unanswered) for p in points if p.thoughts] == [
        (4, 43.0, 2)
    ] * 3
    assert [point.unscored for point in points] == [2] * 3


def test_answers_that_never_came_are_marked_for_judges(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", SURVEY, thinks=hostile_thoughts) as store:
        assert [each.is_unanswered for each in store.verdicts.missing("another")] == [False, False, True] * 6
        read = store.verdicts.by_exchange("keyword")
        missing = store.evidence.missing(ORIGIN)
    assert not any(exchange.response == "" for exchange in read)
    assert [each.is_unanswered for each in missing] == [False, False, True] * 2


def test_a_run_of_an_earlier_version_has_no_such_table(tmp_path: Path) -> None:
    survey = make_survey(prompts=6, lines=1, steps=2)
    make_run(tmp_path / "run", survey).close()
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as connection:
        connection.execute("DROP TABLE thoughts")
    connection.close()
    with Store.read(tmp_path / "run") as store:
        assert [stored.answer.response.thought for stored in store.points.answers(ORIGIN, "harmful")] == [None] * 6
        assert all(entry.thoughts is None for entry in store.points.measured())
        assert all(point.thoughts is None for point in landscape_in(store).points)
