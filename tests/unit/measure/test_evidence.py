"""Evidence: the origin scores answers after the points are measured, after an interruption, or for a stored run."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import safescape
from helpers.runs import make_run
from helpers.surveys import make_survey
from safescape import InputError, Outcome, Run, RunError, Verdict
from safescape.judge_runtime import JudgeProgress
from safescape.store import Store
from safescape.store.verdicts import StoredEvidence

SETTINGS: dict[str, Any] = {"limit": 4, "max_new_tokens": 24, "directions": 1, "steps": 4}


@pytest.fixture(autouse=True)
def doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let judges want evidence on every answer; the text of a random model would decide them all."""
    monkeypatch.setattr("safescape.judges.coherence.SURE", 0.0)
    # no answer ends as noise
    monkeypatch.setattr("safescape.judges.noise.coherence_of_text", lambda text: 1.0)
    monkeypatch.setattr("safescape.judges.refusal._SHORTEST_SCORED", 1)


def scan(model: Path, out: Path, **changes: Any) -> Run:
    return safescape.scan(str(model), out=out, **{**SETTINGS, **changes})


def said(directory: Path) -> dict[tuple[object, ...], Verdict]:
    """Return the verdicts of `refusal` by point and prompt."""
    run = safescape.load_run(directory)
    return {
        (point.coords, point.line, answer.number): answer.answer.verdicts["refusal"]
        for point in run.points
        for answer in run.answers(point.coords, point.line or 0)
    }


def scored(directory: Path) -> list[tuple[float, int]]:
    """Return the log-likelihoods of a run, to the bit, in the order in which answers were stored."""
    with closing(sqlite3.connect(directory / "run.sqlite")) as database:
        return database.execute("SELECT log_probability, tokens FROM evidence ORDER BY response").fetchall()


def test_the_origin_scores_every_answer_in_doubt(tiny_model: Path, tmp_path: Path) -> None:
    scan(tiny_model, tmp_path / "run")
    verdicts = said(tmp_path / "run")
    assert len(verdicts) == 20
    for verdict in verdicts.values():
        assert verdict.reason.endswith("by its likelihood") or verdict.outcome in (Outcome.REFUSED, Outcome.UNSCORED)
    assert any(verdict.reason.endswith("by its likelihood") for verdict in verdicts.values())
    with Store.read(tmp_path / "run") as store:
        first = store.evidence.calibration()
    assert first is not None
    assert first.width > 0


@pytest.mark.parametrize("broken_at", [1, 2, 3])
def test_a_run_interrupted_while_evidence_is_collected_ends_the_same(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_at: int
) -> None:
    monkeypatch.setattr("safescape.measure.evidence._TOGETHER", 6)
    at_once = scan(tiny_model, tmp_path / "at once")
    calls = 0
    add = StoredEvidence.add

    def broken(stored: StoredEvidence, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == broken_at:
            raise RunError("the disk is full")
        add(stored, *arguments)

    monkeypatch.setattr(StoredEvidence, "add", broken)
    with pytest.raises(RunError, match="the disk is full"):
        scan(tiny_model, tmp_path / "run")
    monkeypatch.setattr(StoredEvidence, "add", add)
    resumed = scan(tiny_model, tmp_path / "run")
    assert said(tmp_path / "run") == said(tmp_path / "at once")
    assert scored(tmp_path / "run") == scored(tmp_path / "at once")
    assert resumed.landscape.to_json() == at_once.landscape.to_json()


def test_a_finished_run_loads_no_model(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(tiny_model, tmp_path / "run")
    monkeypatch.setattr("safescape.measure.workers.MeasuringSession", None)
    scan(tiny_model, tmp_path / "run")


def test_a_stored_run_is_judged_as_during_the_scan(tiny_model: Path, tmp_path: Path) -> None:
    scan(tiny_model, tmp_path / "then", whole_answers=True)
    scan(tiny_model, tmp_path / "later", whole_answers=True, judges=["keyword"])
    told: list[JudgeProgress] = []
    safescape.judge_run(tmp_path / "later", ["refusal"], on_progress=told.append)
    assert said(tmp_path / "later") == said(tmp_path / "then")
    assert any(each.what == "points" for each in told)


def test_without_the_model_the_text_alone_decides_and_a_note_says_so(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    scan(model, tmp_path / "run", whole_answers=True, judges=["keyword"])
    shutil.rmtree(model)
    told: list[JudgeProgress] = []
    safescape.judge_run(tmp_path / "run", ["refusal"], on_progress=told.append)
    assert any("reads the text alone, as the origin is gone" in each.note for each in told)
    verdicts = said(tmp_path / "run")
    assert any(verdict.reason.endswith("by its text") for verdict in verdicts.values())
    assert not any(verdict.reason.endswith("by its likelihood") for verdict in verdicts.values())


def test_text_only_does_not_look_for_the_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(tiny_model, tmp_path / "run", whole_answers=True, judges=["keyword"])
    monkeypatch.setattr(sys.modules["safescape.measure.loop"], "resolve", None)
    safescape.judge_run(tmp_path / "run", ["refusal"], text_only=True)
    assert any(verdict.reason.endswith("by its text") for verdict in said(tmp_path / "run").values())


def test_answers_cut_for_the_keyword_judge_are_refused_to_the_refusal_judge(tmp_path: Path) -> None:
    make_run(tmp_path, make_survey(lines=1, steps=2, prompts=3), text=lambda point, n, hit: "Sorry")
    with pytest.raises(InputError, match="too early for --judge refusal"):
        safescape.judge_run(tmp_path, ["refusal"], text_only=True)
