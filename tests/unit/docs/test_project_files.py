"""CONTRIBUTING.md names existing files, workflows are pinned, and the citation matches the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROOMS = ("src", "tests", "tools", "docs/site", "benchmarks")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLACES = re.findall(r"^\| ([^|`]+) \| `([^`]+)` \| `([^`]+)` \|$", CONTRIBUTING, re.MULTILINE)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_contributing_names_existing_files() -> None:
    named = set(re.findall(r"`((?:src|tests|docs|benchmarks|examples|\.github)/[^`*\s]*)`", CONTRIBUTING))
    assert len(named) > 25
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_design_page_names_existing_files_and_classes() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    quoted = set(re.findall(r"`([^`\n]+)`", text))
    files = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.*")}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    words = set(re.findall(r"\w+", sources))
    named = {name for name in quoted if re.fullmatch(r"[\w/]+\.(py|js|css)", name)}
    assert len(named) > 25
    assert {name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)} == set()
    classes = {name for name in quoted if re.fullmatch(r"[A-Z]\w+", name)}
    assert len(classes) > 15
    assert classes - words == set()


def test_contributing_names_existing_make_targets() -> None:
    assert set(re.findall(r"`make (\w+)`", CONTRIBUTING)) <= targets()


@pytest.mark.parametrize(("change", "file", "text"), PLACES)
def test_a_file_of_the_table_where_to_change_contains_the_named_text(change: str, file: str, text: str) -> None:
    assert text in (ROOT / file).read_text(encoding="utf-8"), change


def test_the_table_where_to_change_has_8_rows() -> None:
    assert len(PLACES) == 8


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_to_existing_files(page: str) -> None:
    # links between pages of docs/ are checked by mkdocs
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_may_only_read(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert steps
    for step in steps:
        assert "run" in step or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"]), step


def test_the_tests_workflow_runs_every_supported_python() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "tests.yml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (job,) = workflow["jobs"].values()
    assert f">={job['strategy']['matrix']['python'][0]}" == project["requires-python"]
    lines = [step["run"] for step in job["steps"] if "run" in step]
    run = {line.removeprefix("make ") for line in lines if line.startswith("make ")}
    assert {"lint", "test"} <= run <= targets()


def test_only_the_publishing_job_may_request_a_token() -> None:
    jobs = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert {name: job.get("permissions") for name, job in jobs.items()} == {
        "build": None,
        "publish": {"id-token": "write"},
    }
    assert jobs["publish"]["environment"]["name"] == "pypi"


def test_pre_commit_runs_what_make_lint_runs() -> None:
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff", "ruff-format", "mypy"]
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    for hook in repository["hooks"]:
        assert Path(hook["entry"].split()[0]).name in lint, hook["id"]


def test_the_citation_has_the_version_and_licence_of_the_package() -> None:
    citation = load(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["references"][0]["url"].endswith("2405.17374")
