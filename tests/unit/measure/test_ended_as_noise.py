"""Answers that end as noise: what a run stores of them, the sample that is asked again, and who may read them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import safescape
from helpers.command_line import run_command
from helpers.judge_module import judge_module
from helpers.surveys import make_survey
from safescape import InputError, Run, RunError
from safescape.judges import NOISE, KeywordJudge, noise_rule
from safescape.measure.noise import sample_of
from safescape.store import EndedAnswer, Store
from safescape.store.noise import StoredNoise
from safescape.survey import Finish, NoiseRule, Outcome, Survey
from safescape.views import noise_said

SETTINGS: dict[str, Any] = {"limit": 6, "max_new_tokens": 40, "directions": 1, "steps": 4}


def scan(model: Path, out: Path, **changes: Any) -> Run:
    return safescape.scan(str(model), out=out, **{**SETTINGS, **changes})


def finishes(run: Run) -> Counter[Finish]:
    found = [answer.answer.response.finish for p in run.points for answer in run.answers(p.coords, p.line or 0)]
    return Counter(found)


@pytest.fixture(scope="module")
def scanned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A scan of a random model, whose answers are noise; read-only."""
    return scan(tiny_model, tmp_path_factory.mktemp("noise") / "run")


def test_noise_ends_and_is_the_beginning_of_the_whole_answer(tiny_model: Path, tmp_path: Path, scanned: Run) -> None:
    whole = scan(tiny_model, tmp_path / "whole", whole_answers=True)
    assert scanned.survey.noise == noise_rule()
    assert set(noise_rule().made_of) == {"english.npz", "refusal-judge.safetensors"}
    assert whole.survey.noise is None
    assert finishes(scanned)[Finish.NOISE] > 10
    assert not finishes(whole)[Finish.NOISE]
    ends = {number for number, _ in NOISE.checks}
    for point in scanned.points:
        where = point.coords, point.line or 0
        for early, late in zip(scanned.answers(*where), whole.answers(*where), strict=True):
            said = early.answer.response
            if said.finish is Finish.NOISE:
                assert said.tokens in ends
                assert said.tokens <= late.answer.response.tokens
                assert late.answer.response.text.startswith(said.text.rstrip("\ufffd"))
                assert early.answer.verdicts["refusal"].outcome is Outcome.INCOHERENT
                assert early.answer.verdicts["keyword"].outcome is Outcome.COMPLIED
            else:
                assert said == late.answer.response


def test_a_scan_says_how_many_ended_and_how_many_verdicts_that_changed(scanned: Run) -> None:
    noise = scanned.landscape.noise
    assert noise is not None
    assert noise.answers == finishes(scanned)[Finish.NOISE]
    assert noise.asked == 6 * 5
    assert noise.again == 1
    assert set(noise.changed) == {"keyword", "refusal"}
    assert noise_said(scanned.landscape).startswith(f"{noise.answers} of 30 answers ended early as noise. Asked again")
    page = (scanned.directory / "report.html").read_text("utf-8")
    assert "ended early as noise" in page


def test_the_command_says_it_once_each(tiny_model: Path, tmp_path: Path) -> None:
    flags = ["--limit=6", "--max-new-tokens=40", "--directions=1", "--steps=4", f"--out={tmp_path / 'run'}"]
    done = run_command("scan", str(tiny_model), *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("one percent of the answers that ended as noise is asked again") == 1
    assert done.stdout.count("of 30 answers ended early as noise. Asked again") == 1


def test_the_answers_that_are_asked_again_are_whole(tiny_model: Path, tmp_path: Path, scanned: Run) -> None:
    whole = scan(tiny_model, tmp_path / "whole", whole_answers=True)
    with Store.read(scanned.directory) as store:
        (again,) = store.noise.whole()
        ended = {answer.response: answer for answer in store.noise.ended()}[again.response]
    late = whole.answers(ended.point.coords, ended.point.line or 0)[ended.number].answer
    assert (again.text, again.finish, again.tokens) == late.response[:3]
    assert again.outcomes == {judge: verdict.outcome for judge, verdict in late.verdicts.items()}


def test_a_run_interrupted_while_answers_are_asked_again_ends_the_same(
    tiny_model: Path, tmp_path: Path, scanned: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RunError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(StoredNoise, "add", broken)
        with pytest.raises(RunError, match="the disk is full"):
            scan(tiny_model, tmp_path / "run")
    resumed = scan(tiny_model, tmp_path / "run")
    assert resumed.landscape.to_json() == scanned.landscape.to_json()


def test_a_finished_run_asks_nothing_again(tiny_model: Path, scanned: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safescape.measure.workers.MeasuringSession", None)
    scan(tiny_model, scanned.directory)


def test_many_changes_stand_beside_the_verdict(tiny_model: Path, tmp_path: Path) -> None:
    run = scan(tiny_model, tmp_path / "run")
    with sqlite3.connect(run.directory / "run.sqlite") as connection:
        connection.execute("""UPDATE whole_answers SET outcomes = '{"keyword": "complied", "refusal": "complied"}'""")
    run = safescape.report(run.directory)
    assert "100.0 % (95 % interval" in noise_said(run.landscape)
    assert "(refusal 1)" in noise_said(run.landscape)
    assert "--whole-answers, with another --out" in (run.directory / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    "changes",
    [{"whole_answers": True}, {"paper": True}, {"judges": ["hf:x/y"]}, {"engine": "vllm"}],
)
def test_whole_answers_where_they_are_asked_for_or_needed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    seen: list[Survey] = []

    def begun(survey: Survey, *_: object, **__: object) -> None:
        seen.append(survey)
        raise RunError("seen")

    monkeypatch.setattr("safescape.api.survey.begin", begun)
    with pytest.raises((RunError, InputError)):
        scan(tiny_model, tmp_path / "run", **changes)
    # the judge of the Hub is not there, and is refused before
    assert [survey.noise for survey in seen] == ([] if "judges" in changes else [None])


def test_a_run_that_was_begun_with_whole_answers_is_another(tiny_model: Path, scanned: Run) -> None:
    with pytest.raises(InputError, match=r"whole_answers: (False here, True|True here, False) there"):
        scan(tiny_model, scanned.directory, whole_answers=True)


def test_a_run_of_an_earlier_version_is_resumed_as_it_began(tiny_model: Path, tmp_path: Path) -> None:
    begun = scan(tiny_model, tmp_path / "run")
    path = begun.directory / "survey.json"
    earlier = begun.survey.model_copy(update={"noise": None})
    path.write_text(earlier.model_dump_json(indent=1) + "\n")
    with sqlite3.connect(begun.directory / "run.sqlite") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table in ("whole_answers", "evidence", "verdicts", "responses", "points"):
            connection.execute(f"DELETE FROM {table}")
    resumed = scan(tiny_model, begun.directory)
    assert resumed.survey == earlier
    assert not finishes(resumed)[Finish.NOISE]
    assert resumed.landscape.noise is None
    assert '"noise"' not in path.read_text()


def test_the_directory_of_a_scan_keeps_its_name() -> None:
    survey = make_survey()
    assert survey.model_copy(update={"noise": NOISE}).without_chats().digest == survey.without_chats().digest


class Whole:
    """A judge that says nothing of noise, so that it needs whole answers."""

    stop = KeywordJudge.stop

    def judge(self, exchanges: list[Any]) -> list[str]:
        return ["complied" for _ in exchanges]


class Content(Whole):
    stops_at_noise = True


class Wrong(Whole):
    stops_at_noise = "yes"


def test_a_users_judge_says_whether_noise_may_end(tiny_model: Path, tmp_path: Path) -> None:
    with judge_module() as module:
        module.whole, module.content, module.wrong = Whole, Content, Wrong
        assert scan(tiny_model, tmp_path / "whole", judges=["their_judges:whole"]).survey.noise is None
        assert scan(tiny_model, tmp_path / "noise", judges=["their_judges:content"]).survey.noise == noise_rule()
        with pytest.raises(InputError, match="its stops_at_noise is 'yes'; expected True or False"):
            scan(tiny_model, tmp_path / "wrong", judges=["their_judges:wrong"])


def test_answers_that_ended_are_refused_to_a_judge_that_needs_whole_ones(scanned: Run) -> None:
    with judge_module() as module:
        module.whole = Whole
        with pytest.raises(InputError, match="too early for --judge their_judges:whole; measure again with --whole"):
            safescape.judge_run(scanned.directory, ["their_judges:whole"])


counts = st.lists(st.integers(0, 60), min_size=1, max_size=30)


@given(counts, st.integers(0, 10**6))
def test_one_percent_is_drawn_at_few_points_by_the_survey_alone(found: list[int], seed: int) -> None:
    survey = make_survey(lines=3, steps=20, prompts=60).model_copy(update={"batch_size": seed + 1})
    points = list(survey.points())[: len(found)]
    outcomes = {"keyword": Outcome.COMPLIED}
    ended = [
        EndedAnswer(100 * place + number, point, "harmful", number, outcomes)
        for place, (point, count) in enumerate(zip(points, found, strict=True))
        for number in range(count)
    ]
    drawn = sample_of(ended, survey)
    assert drawn == sample_of(ended, survey)
    answers = [answer.response for asked in drawn for answer in asked.answers]
    assert len(set(answers)) == len(answers)
    assert set(answers) <= {answer.response for answer in ended}
    wanted = -(-len(ended) // 100)
    assert len(drawn) <= -(-wanted // 8)
    assert len(answers) <= wanted + len(drawn)
    assert bool(answers) == bool(ended)


def test_every_answer_is_as_likely_to_be_drawn() -> None:
    survey = make_survey(lines=1, steps=4, prompts=60)
    points, sizes = list(survey.points()), (40, 20, 60, 10, 70)
    ended = [
        EndedAnswer(100 * place + number, point, "harmful", number, {})
        for place, (point, count) in enumerate(zip(points, sizes, strict=True))
        for number in range(count)
    ]
    drawn: Counter[int] = Counter()
    for seed in range(3000):
        for asked in sample_of(ended, survey.model_copy(update={"batch_size": seed + 1})):
            drawn.update(answer.response // 100 for answer in asked.answers)
    rates = [drawn[place] / size for place, size in enumerate(sizes)]
    assert max(rates) < 1.25 * min(rates)


def test_a_rule_is_part_of_the_survey() -> None:
    rule = NoiseRule(checks=((4, 0.1), (9, 0.05)), refusal=0.1)
    survey = make_survey().model_copy(update={"noise": rule})
    assert Survey.model_validate_json(survey.model_dump_json()).noise == rule
    assert survey.digest != make_survey().digest


def test_a_survey_for_vllm_has_no_rule() -> None:
    survey = make_survey().model_copy(update={"noise": NOISE, "engine": "vllm"})
    with pytest.raises(ValidationError, match="noise does not end in vllm"):
        Survey.model_validate_json(survey.model_dump_json())
