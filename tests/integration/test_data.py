"""`safescape data` in processes of its own, which fetch from a local server that answers as the Hub and GitHub do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

import safescape
from helpers.command_line import run_command
from helpers.hub_server import HubServer, serving
from safescape import ChoiceProbe
from safescape.probes import catalogue, set_named, set_paths

QUESTIONS: list[dict[str, Any]] = [
    {"question": f'Question {n}, "quoted",\nin two lines?', "choices": ["one", "two, or", "3", "vier"], "answer": n % 4}
    for n in range(6)
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    """A Hub with one subject of MMLU, as parquet; a GitHub without files."""
    with serving() as server:
        for file, rows in zip(set_named("mmlu:us_foreign_policy").files, (QUESTIONS, QUESTIONS[:2]), strict=True):
            path = tmp_path / "questions.parquet"
            datasets.Dataset.from_list(rows).to_parquet(str(path))
            server.files[f"/datasets/{file.repository}/resolve/{file.revision}/{file.path}"] = path.read_bytes()
        yield server


@pytest.fixture
def surroundings(server: HubServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a new user: an empty cache, no local data, and the local server as the network."""
    changed = {
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(tmp_path / "hub"),
        "SAFESCAPE_GITHUB": server.address,
        "SAFESCAPE_HOME": str(tmp_path / "home"),
    }
    return {**{name: value for name, value in os.environ.items() if name != "SAFESCAPE_DATA"}, **changed}


def test_a_subject_is_fetched_on_first_use_and_read_from_the_cache_afterwards(
    server: HubServer, surroundings: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    words = ["scan", tiny_model, "--directions", 1, "--steps", 2, "--limit", 2, "--max-new-tokens", 2]
    words += ["--also", "choice:mmlu:us_foreign_policy"]
    first = run_command(*words, "--out", tmp_path / "first", env=surroundings)
    assert first.returncode == 0, first.stderr
    assert "mmlu:us_foreign_policy: fetched. Licence: MIT. Please cite Hendrycks et al. 2021" in first.stderr
    probe = safescape.load_run(tmp_path / "first").survey.probes[1]
    assert isinstance(probe, ChoiceProbe)
    assert (probe.name, probe.source) == ("choice:mmlu:us_foreign_policy", "mmlu:us_foreign_policy")
    assert [question.answer for question in probe.questions] == [row["answer"] for row in QUESTIONS]
    assert QUESTIONS[3]["question"] in probe.questions[3].context
    assert "A. one\nB. two, or\nC. 3\nD. vier\nAnswer:" in probe.questions[3].context
    assert len(server.requested) == 2

    second = run_command(*words, "--out", tmp_path / "second", env=surroundings)
    assert second.returncode == 0, second.stderr
    assert "fetched" not in second.stderr
    assert len(server.requested) == 2, "read from the cache"
    assert (tmp_path / "first/survey.json").read_bytes() == (tmp_path / "second/survey.json").read_bytes()


def test_sets_are_listed_with_their_places(surroundings: dict[str, str], tmp_path: Path) -> None:
    fetched = run_command("data", "fetch", "mmlu:us_foreign_policy", "--json", env=surroundings)
    assert fetched.returncode == 0, fetched.stderr
    (one,) = json.loads(fetched.stdout)
    assert one["where"] == "cache"
    assert one["integrity"].startswith("hash recorded on 20")
    assert [Path(path).name for path in one["files"]] == ["us_foreign_policy_test.csv", "us_foreign_policy_dev.csv"]
    assert one["published"] == ["hub:cais/mmlu@c30699e8356da336a370243923dbaf21066bb9fe"]

    listed = {each["name"]: each for each in json.loads(run_command("data", "--json", env=surroundings).stdout)}
    assert list(listed) == [data.name for data in catalogue()]
    assert listed["mmlu:us_foreign_policy"] == one
    assert (listed["advbench"]["where"], listed["advbench"]["rows"]) == (None, 520)
    lines = run_command("data", "list", env=surroundings).stdout.splitlines()
    assert len(lines) == 1 + len(listed)
    assert any(line.split()[:4] == ["advbench", "520", "MIT", "not"] for line in lines)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["advbnch"], "advbnch: no such public set; did you mean advbench?"),
        (
            ["jailbreakbench"],
            "harmful-behaviors.csv cannot be fetched (404 Not Found); try again, or put",
        ),
        (["xstest"], "is not the published file"),
        ([], "Missing argument"),
    ],
)
def test_a_set_that_cannot_be_fetched_is_refused_in_one_line(
    server: HubServer, surroundings: dict[str, str], tmp_path: Path, names: list[str], message: str
) -> None:
    (file,) = set_named("xstest").files
    server.files[f"/{file.repository}/{file.revision}/{file.path}"] = b"id,prompt\n1,not these\n"
    done = run_command("data", "fetch", *names, env=surroundings)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.data("advbench", "self-instruct", "xstest")
def test_the_published_files_have_the_pinned_hashes(server: HubServer, surroundings: dict[str, str]) -> None:
    names = ("advbench", "self-instruct", "xstest")
    for name in names:
        for file, path in zip(set_named(name).files, set_paths(set_named(name), "the test"), strict=True):
            server.files[f"/{file.repository}/{file.revision}/{file.path}"] = path.read_bytes()
    done = run_command("data", "fetch", *names, "--json", env=surroundings)
    assert done.returncode == 0, done.stderr
    assert {each["integrity"] for each in json.loads(done.stdout)} == {"published file"}
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == list(names)
