"""Every image of the documentation is made by a command that parses, and is shown on a page."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from safescape.cli import app

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return import_module("pictures")
    finally:
        sys.path.pop(0)


def test_every_image_is_made(pictures: ModuleType) -> None:
    assert {path.stem for path in (ROOT / "docs" / "images").glob("*.png")} == set(pictures.PICTURES)


def test_every_image_is_shown(pictures: ModuleType) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert set(re.findall(r"images/([\w-]+)\.png\)", text)) == set(pictures.PICTURES)


def test_every_run_is_made_by_a_command_that_parses(pictures: ModuleType) -> None:
    for name, measured in pictures.RUNS.items():
        program, *words = shlex.split(measured.command)
        assert f"runs/{name}" in measured.command
        if program == "safescape":
            command: Any = get_command(app)
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            command.make_context("safescape", words)
        else:
            assert (program, (ROOT / words[0]).is_file()) == ("python", True)


def test_every_run_is_known(pictures: ModuleType) -> None:
    named = {run for picture in pictures.PICTURES.values() for run in picture.runs}
    needed = {run for measured in pictures.RUNS.values() for run in measured.needs}
    assert named | needed == set(pictures.RUNS)
