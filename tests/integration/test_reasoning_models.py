"""`scan` of a tiny reasoning model: answers are judged, thoughts are stored, shown and counted."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import safescape
from helpers.command_line import run_command
from helpers.judge_module import judge_module
from helpers.thinking_models import STYLES, THOUGHTS, WITHOUT, save_thinking_model
from safescape.survey import Exchange, Outcome, Response, Verdict

FLAGS = ("--prompts", "requests.csv:goal", "--limit", "4", "--steps", "2", "--directions", "1", "--span", "0.002")


@pytest.fixture(scope="module", params=["tokens", "text, opened", "channels"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a reasoning model that vLLM takes too; read-only."""
    style = STYLES[request.param]
    return save_thinking_model(tmp_path_factory.mktemp("thinking") / "model", style, hidden_size=128)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The directory of a command, with the requests."""
    (tmp_path / "requests.csv").write_text("\n".join(("goal", *THOUGHTS, WITHOUT)) + "\n", encoding="utf-8")
    return tmp_path


def said_at_origin(run: Path) -> list[Response]:
    return [stored.answer.response for stored in safescape.load_run(run).answers()]


def test_a_scan_judges_answers_and_counts_thoughts(model: Path, here: Path) -> None:
    flags = (*FLAGS, "--max-thinking-tokens", "128", "--out", "run")
    done = run_command("scan", model, *flags, cwd=here)
    assert done.returncode == 0, done.stderr
    assert "are not judged, and are ended after 128 tokens" in done.stderr
    run = safescape.load_run(here / "run")
    origin = run.points[0]
    # two answers begin with "Sorry", and a thought with "I cannot"
    assert (origin.n, origin.keyword_asr) == (4, 50.0)
    assert origin.thoughts is not None
    assert (origin.thoughts.cut, origin.thoughts.unanswered) == (0, 0)
    assert f"At the origin {origin.thoughts.n} of 4 answers follow a thought" in done.stdout
    found = said_at_origin(here / "run")
    assert [response.text for response in found[:3]] == ["Sure! Step 1.", "Sorry, no.", "Sure."]
    assert [response.thought.text for response in found[:3] if response.thought] == [
        thought.strip() for thought, _ in THOUGHTS.values()
    ]
    again = run_command("scan", model, *flags, cwd=here)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


def test_a_cut_thought_is_unscored_and_read_by_no_judge(model: Path, here: Path) -> None:
    # the paper's setting ends no thought
    flags = (*FLAGS, "--paper", "--max-new-tokens", "24", "--whole-answers", "--out", "run")
    done = run_command("scan", model, *flags, cwd=here)
    assert done.returncode == 0, done.stderr
    run = safescape.load_run(here / "run")
    origin = run.points[0]
    assert origin.unscored == 3
    assert origin.thoughts is not None
    assert (origin.thoughts.cut, origin.thoughts.unanswered) == (3, 3)
    assert "which are unscored: --max-thinking-tokens N ends thoughts so that answers follow" in done.stdout
    read: list[Exchange] = []

    class Judge:
        name = "theirs"
        stop = ()

        def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
            read.extend(exchanges)
            return [Verdict(Outcome.REFUSED) for _ in exchanges]

    with judge_module() as module:
        module.theirs = Judge()
        safescape.judge_run(here / "run", judges="their_judges:theirs")
    assert {exchange.prompt for exchange in read} == {WITHOUT}
    judged = [stored.answer.verdicts for stored in safescape.load_run(here / "run").answers()]
    assert [verdicts["their_judges:theirs"].outcome for verdicts in judged] == [Outcome.UNSCORED] * 3 + [
        Outcome.REFUSED
    ]


def test_a_limit_of_thinking_gives_answers(model: Path, here: Path) -> None:
    flags = (*FLAGS, "--max-new-tokens", "16", "--max-thinking-tokens", "40", "--out", "run")
    done = run_command("scan", model, *flags, cwd=here)
    assert done.returncode == 0, done.stderr
    third = said_at_origin(here / "run")[2]
    assert third.thought is not None
    assert (third.thought.tokens, third.thought.is_ended) == (40, False)
    assert third.text
    stored = json.loads((here / "run" / "survey.json").read_text(encoding="utf-8"))
    assert stored["max_thinking_tokens"] == 40
    assert stored["markers"]["ends"]
    table = run_command("export", "run", "--to", "answers.csv", "--what", "responses", cwd=here)
    assert table.returncode == 0, table.stderr
    with (here / "answers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[2]["thought"] == third.thought.text
    assert (rows[2]["thought_tokens"], rows[2]["thought_ended"]) == ("40", "false")
    assert rows[3]["response"] == "Sorry."
    assert rows[3]["thought_ended"] in ("", "true"), "without a thought, or with an empty one"


def test_vllm_thinks_and_answers_alike(model: Path, here: Path) -> None:
    def scanned(engine: str) -> list[list[Response]]:
        # vLLM writes noise on
        limits = ("--max-new-tokens", "16", "--max-thinking-tokens", "40", "--whole-answers")
        done = run_command("scan", model, *FLAGS, *limits, "--engine", engine, "--out", engine, cwd=here)
        assert done.returncode == 0, done.stderr
        run = safescape.load_run(here / engine)
        return [
            [stored.answer.response for stored in run.answers(point.coords, point.line or 0)] for point in run.points
        ]

    assert scanned("vllm") == scanned("transformers")


def test_a_model_without_markers_cannot_be_limited(tiny_model: Path, here: Path) -> None:
    done = run_command("scan", tiny_model, *FLAGS, "--max-thinking-tokens", "40", "--out", "run", cwd=here)
    assert done.returncode == 2
    assert "have no markers of a thought that are known here; give them with --reasoning START,END" in done.stderr
    assert not (here / "run").exists()
