"""A reader that knows points of a run reads only those that are new or were judged since."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from helpers.runs import make_run
from helpers.surveys import make_survey
from safescape.store import KnownPoints, Store
from safescape.survey import Answer, Calibration, Evidence, Finish, Outcome, Point, Position, Response, Verdict

SURVEY = make_survey(lines=1, steps=4, prompts=3, judges=("keyword", "refusal"))
COMPLIED = Verdict(Outcome.COMPLIED)


def read(directory: Path, known: KnownPoints) -> None:
    with Store.read(directory) as store:
        assert store.points.measured(known) == store.points.measured()


def queries(directory: Path, known: KnownPoints) -> int:
    """The number of queries of one reading."""
    asked: list[str] = []
    with Store.read(directory) as store:
        store._database._connection.set_trace_callback(asked.append)
        store.points.measured(known)
    return len(asked)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", SURVEY, points=3).close()
    return tmp_path / "run"


def add(store: Store, point: Point) -> None:
    answers = [Answer(Response(f"text {n}", Finish.STOP, 3), dict.fromkeys(SURVEY.judges, COMPLIED)) for n in range(3)]
    session = store.begin_session(origin="sha256:a", noise_device="cpu", versions={})
    position = Position(point.coords, 0.0)
    store.points.add(point, position=position, seconds=1.0, session=session, answers={"harmful": answers})


def test_a_new_point_is_read_and_no_other(run: Path) -> None:
    known = KnownPoints()
    all_of_three, none_of_three = queries(run, known), queries(run, known)
    with Store.claim(run, SURVEY) as store:
        add(store, [*SURVEY.points()][3])
    one_of_four = queries(run, known)
    assert all_of_three - none_of_three == 3 * (one_of_four - none_of_three) > 0
    assert len(known) == 4
    read(run, known)


def test_verdicts_that_come_later_are_read(run: Path) -> None:
    known = KnownPoints()
    read(run, known)
    with Store.claim(run, SURVEY) as store:
        store.verdicts.register("wildguard", {})
        ids = [exchange.response for exchange in store.verdicts.exchanges()]
        store.verdicts.add("wildguard", {ids[0]: COMPLIED})
        read(run, known)
        store.verdicts.add("wildguard", dict.fromkeys(ids[1:], COMPLIED))
        read(run, known)
        assert all("wildguard" in point.entries[0].outcomes for point in known.values())
        store.verdicts.replace("wildguard", {}, dict.fromkeys(ids, Verdict(Outcome.REFUSED)))
        read(run, known)
        store.verdicts.replace("wildguard", {}, {})
        read(run, known)


def test_verdicts_with_evidence_are_read(run: Path) -> None:
    known, calibration = KnownPoints(), Calibration(-3.0, 1.0)
    read(run, known)
    with Store.claim(run, SURVEY) as store:
        store.evidence.add_calibration(calibration)
        ids = [exchange.response for exchange in store.evidence.missing(Point(None, (0.0,)))]
        verdicts = {"refusal": {ids[0]: Verdict(Outcome.INCOHERENT)}}
        store.evidence.add({ids[0]: Evidence(-9.0, 2, calibration)}, verdicts)
    before = set(known)
    read(run, known)
    assert len(known.keys() - before) == 1, "one point was judged again"


def test_a_run_that_was_measured_again_is_read_again(run: Path) -> None:
    known = KnownPoints()
    read(run, known)
    shutil.rmtree(run)
    make_run(run, SURVEY, rate=lambda line, alpha: 1.0, points=2).close()
    read(run, known)
    assert len(known) == 2


def test_a_run_of_an_earlier_version_is_read_whole_until_it_is_claimed(run: Path) -> None:
    with sqlite3.connect(run / "run.sqlite") as connection:
        for trigger in ("point_added", "verdict_added", "verdict_removed"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("DROP TABLE judgings")
    connection.close()
    known = KnownPoints()
    read(run, known)
    with sqlite3.connect(run / "run.sqlite") as connection:
        connection.execute("UPDATE verdicts SET outcome = 'unscored'")
    connection.close()
    read(run, known)
    Store.claim(run, SURVEY).close()
    read(run, known)
    assert {stamp.changes for stamp in known} == {0}
