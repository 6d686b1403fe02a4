"""Attacks that found no prompt are not asked and count as refused in every figure; attacks are paired by goals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import safescape
from helpers.attack_artifacts import artifact
from helpers.command_line import run_command
from safescape import Outcome, Run, Verdict
from safescape.engines import TransformersEngine
from safescape.landscape import rate_of
from safescape.measure.session import ask
from safescape.store import Store
from safescape.survey import Finish, PromptProbe, Response

FAILED = Verdict(Outcome.REFUSED, "the attack found no prompt")
SETTINGS: dict[str, Any] = {"directions": 1, "steps": 2, "max_new_tokens": 4}


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An artifact of six attacks of which two found no prompt."""
    prompts = [None, "attack 1", "attack 2", None, "attack 4", "attack 5"]
    return artifact(tmp_path_factory.mktemp("attack"), prompts)


@pytest.fixture(scope="module")
def run(attack: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The plain goals and their attacks, asked of a model that always complies by keywords."""
    out = tmp_path_factory.mktemp("run")
    return safescape.scan(str(tiny_model), prompts=f"{attack}:goal", also=f"attack:{attack}", out=out, **SETTINGS)


def test_failed_attacks_are_in_the_denominator_and_refused_by_every_judge(run: Run, attack: str) -> None:
    name = f"attack:{attack}"
    for point in (each for each in run.landscape.points if each.probe == name):
        assert (point.n, point.count) == (6, 4)
        assert (point.keyword_asr, point.keyword_asr_low, point.keyword_asr_high) == rate_of(4, 6)
        answers = run.answers(point.coords, point.line or 0, probe=name)
        for number in (0, 3):
            assert answers[number].answer.response == Response("", Finish.NO_PROMPT, 0)
            assert set(answers[number].answer.verdicts.values()) == {FAILED}
        assert all(answers[number].answer.response.finish is not Finish.NO_PROMPT for number in (1, 2, 4, 5))
    origin = run.landscape.by_probe[name]["origin_asr"]
    assert origin.value == pytest.approx(400 / 6)


def test_the_attacks_are_paired_with_the_plain_goals(run: Run, attack: str) -> None:
    probe = run.survey.probes[1]
    assert isinstance(probe, PromptProbe)
    assert run.survey.prompts.failed == ()
    assert run.survey.prompts.prompts == probe.goals == tuple(f"goal {n}" for n in range(6))
    assert probe.failed == (0, 3)
    change = run.landscape.differences[f"attack:{attack}"]["origin_asr"]
    assert change.value == pytest.approx(-200 / 6)


def test_how_many_failed_is_said(run: Run, attack: str, tiny_model: Path, tmp_path: Path) -> None:
    assert "2 of 6" in (run.survey.failed_attacks or "")
    document = json.loads((run.directory / "landscape.json").read_text(encoding="utf-8"))
    assert [probe.get("failed", 0) for probe in document["survey"]["probes"]] == [0, 2]
    assert "goals" not in document["survey"]["probes"][1]
    page = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "for 2 of which the attack found no prompt: they count as refused" in page
    arguments = [f"--prompts={attack}", "--directions=1", "--steps=2", "--max-new-tokens=2", f"--out={tmp_path}"]
    done = run_command("scan", str(tiny_model), *arguments)
    assert done.returncode == 0
    assert f"2 of 6 attacks of {attack} found no prompt, which counts as a refusal" in done.stderr


def test_a_judge_that_comes_later_gives_the_same_verdict_and_reads_no_such_answer(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "readers.py").write_text(
        "from safescape import Outcome, Verdict\n"
        "class Reader:\n"
        "    def judge(self, exchanges):\n"
        "        assert all(exchange.response for exchange in exchanges), 'nothing was said there'\n"
        "        return [Verdict(Outcome.COMPLIED) for _ in exchanges]\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for again in (False, True):
        safescape.judge_run(run.directory, judges="readers:Reader", again=again)
        with Store.read(run.directory) as store:
            verdicts = [*store.verdicts.by_response("readers:Reader").values()]
            unread = [each for each in store.verdicts.exchanges() if each.finish is Finish.NO_PROMPT]
        assert verdicts.count(FAILED) == len(unread) == 2 * 3
    agreement = next(
        each
        for each in safescape.report(run.directory).landscape.agreement
        if each.probe != "harmful" and "readers:Reader" in each.judges
    )
    assert agreement.n + sum(agreement.table[3]) + sum(row[3] for row in agreement.table[:3]) == 4 * 3


def test_an_adaptive_scan_shuffles_goals_and_failed_attacks_with_the_prompts(
    attack: str, tiny_model: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"directions": 1, "max_new_tokens": 2, "edge_tolerance": 0.125}
    found = safescape.scan(str(tiny_model), prompts=attack, adaptive=True, out=tmp_path / "run", **settings)
    probe = found.survey.prompts
    assert probe.goals is not None
    assert [probe.goals[number] for number in probe.failed] == [probe.prompts[number] for number in probe.failed]
    assert sorted(probe.goals[number] for number in probe.failed) == ["goal 0", "goal 3"]
    assert found.landscape.origin_asr == pytest.approx(400 / 6)


def test_a_run_goes_on_that_was_begun_before_goals_were_stored(tiny_model: Path, tmp_path: Path) -> None:
    spec = artifact(tmp_path, ["attack 0", "attack 1"])
    given = {"prompts": spec, "out": tmp_path / "run", **SETTINGS}
    first = safescape.scan(str(tiny_model), **given)
    text = (tmp_path / "run" / "survey.json").read_text(encoding="utf-8")
    earlier = json.loads(text)
    assert earlier["probes"][0].pop("goals") == ["goal 0", "goal 1"]
    (tmp_path / "run" / "survey.json").write_text(json.dumps(earlier), encoding="utf-8")
    again = safescape.scan(str(tiny_model), **given)
    assert again.survey.prompts.goals is None
    assert again.landscape.metrics == first.landscape.metrics


def test_attacks_on_other_goals_are_not_paired(tiny_model: Path, tmp_path: Path) -> None:
    spec = artifact(tmp_path, ["attack 0", "attack 1"])
    asked = {"prompts": "builtin:harmful", "limit": 2, "also": f"attack:{spec}", **SETTINGS}
    found = safescape.scan(str(tiny_model), out=tmp_path / "run", **asked)
    assert found.landscape.differences == {}
    assert found.landscape.by_probe[f"attack:{spec}"]["origin_asr"].value is not None
    done = run_command("report", str(tmp_path / "run"))
    assert "ASR less the first's not paired, as its requests are others" in done.stdout


def test_nothing_is_asked_where_every_attack_failed() -> None:
    voice = object.__new__(TransformersEngine)  # cannot answer
    (answer,) = ask(voice, [None], ["goal"], {}, max_new_tokens=4)
    assert answer.response == Response("", Finish.NO_PROMPT, 0)
