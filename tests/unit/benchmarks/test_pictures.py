"""Every image of the documentation is made by a command that parses, and is shown on a page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

from typer.main import get_command

from safescape.cli import app

ROOT = Path(__file__).parents[3]


def test_every_image_in_docs_is_one_of_the_pictures(pictures: ModuleType) -> None:
    assert {path.stem for path in (ROOT / "docs" / "images").glob("*.png")} == set(pictures.PICTURES)


def test_every_picture_is_shown_on_a_page(pictures: ModuleType) -> None:
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


def test_pictures_need_only_known_runs_and_all_of_them(pictures: ModuleType) -> None:
    named = {run for picture in pictures.PICTURES.values() for run in picture.runs}
    needed = {run for measured in pictures.RUNS.values() for run in measured.needs}
    assert named | needed == set(pictures.RUNS)
