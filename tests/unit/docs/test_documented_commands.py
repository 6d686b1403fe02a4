"""Documented commands parse, Python blocks compile, and configuration blocks load."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from safescape.cli import app

ROOT = Path(__file__).parents[3]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """Yield (page, text) of every fenced block in one of the languages."""
    for page in PAGES:
        for language, block in FENCED.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                yield page.relative_to(ROOT).as_posix(), block


def commands() -> list[tuple[str, str]]:
    """Return (page, line) of every documented safescape command."""
    found = []
    for page, block in blocks("", "bash", "sh"):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        found += [(page, line) for line in lines if line.startswith("safescape ")]
    for page, block in blocks("yaml"):
        found += [(page, line) for line in run_lines(yaml.safe_load(block)) if line.startswith("safescape ")]
    return found


def run_lines(workflow: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that the steps of a GitHub workflow run."""
    for job in workflow.get("jobs", {}).values():
        for step in job["steps"]:
            yield from step.get("run", "").splitlines()


def parse(line: str) -> None:
    """Parse a command line without running it."""
    words = shlex.split(line, comments=True)[1:]
    command: Any = get_command(app)
    while hasattr(command, "commands") and words:
        assert words[0] in command.commands, words[0]
        command = command.commands[words.pop(0)]
    command.make_context("safescape", words)


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_documented_command_parses(page: str, line: str) -> None:
    if "[OPTIONS]" not in line:
        parse(line)


def test_more_than_80_documented_commands_are_found() -> None:
    assert len(commands()) > 80


@pytest.mark.parametrize("wrong", ["safescape scan", "safescape scan demo --stepz 4", "safescape scam demo"])
def test_a_wrong_command_is_not_parsed(wrong: str) -> None:
    with pytest.raises(Exception, match=r"Missing parameter|No such option|scam"):
        parse(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_path_outside_the_repository(page: Path) -> None:
    assert "../shared" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "block"), list(blocks("python")))
def test_a_documented_python_block_compiles(page: str, block: str) -> None:
    compile(block, page, "exec")


@pytest.mark.parametrize(("page", "block"), list(blocks("toml", "json", "yaml")))
def test_a_documented_configuration_block_loads(page: str, block: str) -> None:
    loads = tomllib.loads if block.startswith("[") and "=" in block else yaml.safe_load
    assert loads(block) if not block.startswith("{") else json.loads(block)


def test_both_pages_about_judges_show_the_same_example() -> None:
    # tests/integration/test_judge.py runs the one of docs/judges.md
    found = [block for page, block in blocks("python") if block.startswith("# my_judge.py")]
    assert len(found) == 2
    assert found[0] == found[1]
