"""`safescape judge` from end to end, and the examples of docs/judges.md, unchanged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import safescape
from safescape import Run

DOCS = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scanned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished scan with whole answers and the keyword judge only."""
    out = tmp_path_factory.mktemp("judged") / "runs" / "demo"
    return safescape.scan(
        str(tiny_model),
        out=out,
        limit=6,
        max_new_tokens=16,
        directions=1,
        steps=4,
        judges=["keyword"],
        whole_answers=True,
    )


def code(language: str, containing: str) -> str:
    """Return a block of docs/judges.md."""
    (found,) = (b for b in re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL) if containing in b)
    return str(found)


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, cwd=directory)


def test_the_judge_of_the_docs_runs_as_written(scanned: Run) -> None:
    here = scanned.directory.parents[1]
    (here / "my_judge.py").write_text(code("python", "class Cautious"), encoding="utf-8")
    assert len(code("python", "class Cautious").split("class Cautious")[1].splitlines()) <= 12
    command = code("", "--panel majority").split()
    done = run(here, str(Path(sys.executable).with_name("safescape")), *command[1:], "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    panel = "majority(refusal,my_judge:Cautious)"
    assert set(document["by_judge"]) == {"refusal", "my_judge:Cautious", panel}
    assert document["survey"]["judges"] == ["keyword"], "the survey stays as it was"
    assert {point["judge"] for point in document["points"]} == {panel}, "the first by name that tells noise"
    pairs = {frozenset(each["judges"]) for each in document["agreement"]}
    assert frozenset(("keyword", "refusal")) in pairs
    page = (scanned.directory / "report.html").read_text(encoding="utf-8")
    assert "my_judge:Cautious" in page
    again = run(here, str(Path(sys.executable).with_name("safescape")), *command[1:])
    assert again.returncode == 0
    assert "my_judge:Cautious" not in again.stderr, "nothing is read twice"


def test_judging_from_python_runs_as_written(tmp_path: Path) -> None:
    done = run(tmp_path, sys.executable, "-c", code("python", "safescape.judge("))
    assert done.returncode == 0, done.stderr
    outcome, probability, _ = done.stdout.split(maxsplit=2)
    assert outcome == "refused"
    assert float(probability) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no judge given; give one, as in --with refusal"),
        (["--with", "nobody"], "--judge nobody: no such judge; expected keyword, keyword-normalised, refusal,"),
        (["--judge", "nobody"], "--judge nobody: no such judge; expected keyword, keyword-normalised, refusal,"),
        (["--with", "refusal", "--panel", "all"], "two or more different judges"),
        (["--with", "refusal", "--rubric", "policy"], "belongs to a judge openai:MODEL"),
        (["--with", "refusal", "--labels", "a=refused"], "belongs to a judge hf:ID"),
        (["--with", "keyword", "--with", "keyword"], "given twice; give each once"),
        (["--with", "openai:m", "--rubric", "nofile"], "--rubric nofile"),
        (["--with", "openai:m", "--max-requests", "0"], "--max-requests 0"),
        (["--with", "openai:m", "--concurrency", "0"], "--concurrency 0"),
        (["--with", "openai:m", "--base-url", "localhost"], "--base-url: expected an address"),
        (["--with", "majority(keyword,openai:m)"], "needs a key"),
        (["--with", "hf:a,b"], "hf:a,b"),
        (["--with", "llama-guard-3=./nowhere", "--again"], "./nowhere"),
        (["--with", "keyword", "--safe-below", "200"], "--safe-below 200"),
        (["--with", "keyword", "--device", "abacus"], "--device abacus"),
    ],
)
def test_wrong_judges_are_refused_in_one_line_and_change_nothing(
    refused: Callable[[Sequence[str], str], None],
    scanned: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    before = safescape.load_run(scanned.directory).landscape.to_json()
    refused(["judge", str(scanned.directory), *arguments], message)
    assert safescape.load_run(scanned.directory).landscape.to_json() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["judge", "nowhere", "--with", "refusal"], "nowhere: no run.sqlite in it"),
        (["scan", "demo", "--judge", "nobody"], "--judge nobody: no such judge"),
        (["scan", "demo", "--judge", "keyword", "--judge", "keyword"], "--judge keyword: given twice"),
        (["scan", "demo", "--judge", "keyword", "--rubric", "policy"], "belongs to a judge openai:MODEL"),
        (["path", "demo", "demo-base", "--judge", "my:judge"], "--judge my:judge: cannot be loaded"),
        (["check", "demo", "demo-base", "--judge", "all(keyword)"], "two or more different judges"),
    ],
)
def test_wrong_judges_of_other_commands_are_refused_in_one_line(
    refused: Callable[[Sequence[str], str], None], arguments: list[str], message: str
) -> None:
    refused(arguments, message)
