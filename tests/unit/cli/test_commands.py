"""Behaviour of all commands: `--verbose`, progress, and the message of an interrupted command."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import safescape
import safescape.cli.progress as progress_display
from helpers.command_line import run_command
from helpers.runs import make_run
from helpers.surveys import make_survey
from safescape import Point
from safescape.cli import app, print_all_characters
from safescape.measure import Progress


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the name of every command with its flags; a group's name for each of its commands."""
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for each in getattr(command, "commands", {name: command}).values():
            yield name, [flag for parameter in each.params for flag in parameter.opts]


def test_every_command_has_the_flag_verbose() -> None:
    assert [name for name, flags in commands() if "--verbose" not in flags] == []


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", make_survey(prompts=4, lines=1, steps=2)).close()
    return tmp_path / "run"


def test_verbose_prints_the_log_records_of_safescape_on_stderr(
    run: Path, typed: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = safescape.report

    def logged(*args: Any, **kwargs: Any) -> object:
        logging.getLogger("safescape.views").debug("drawing %s", "a picture")
        logging.getLogger("elsewhere").debug("not ours")
        return report(*args, **kwargs)

    monkeypatch.setattr(safescape, "report", logged)
    assert typed("report", run) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert typed("report", run, "--verbose") == 0
    verbose = capsys.readouterr()
    assert verbose.out == quiet.out
    assert "DEBUG safescape.views: drawing a picture\n" in verbose.err
    assert "not ours" not in verbose.err
    assert typed("report", run) == 0
    assert capsys.readouterr().err == "", "the next command logs nothing"


@pytest.mark.parametrize(
    ("command", "promise"),
    [
        ("bench", "interrupted; nothing is kept, the same command starts again"),
        ("report", "interrupted; the run is kept, the same command writes its files"),
        ("scan", "interrupted; finished points are kept, the same command resumes"),
    ],
)
def test_an_interrupted_command_says_what_is_kept(
    run: Path,
    typed: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    promise: str,
) -> None:
    monkeypatch.setattr(safescape, command, lambda *args, **kwargs: signal.raise_signal(signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    try:
        assert typed(command, run) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.splitlines()[-1] == promise


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scan", "demo", "--limit", "1.5"], "--limit 1.5: expected a whole number"),
        (["path", "demo", "demo-base", "--span", "wide"], "--span wide: expected a number"),
        (
            ["scan", "demo", "--steps", "4,x"],
            "--steps 4,x: expected a whole number, or several with",
        ),
        (["study", "finetuning", "demo", "--data", "x", "--shots", "10", "x"], "--shots 10,x: expected whole numbers"),
        (["view", "--port", "x"], "--port x: expected a number from 0 to 65535"),
        (["label", "runs/a", "--page", "--port", "x"], "--port x: expected a number from 0 to 65535"),
        (["data", "lst"], "No such command 'lst'. Did you mean 'list'? See `safescape --help`"),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_line(
    refused: Callable[[Sequence[object], str], None], words: list[str], message: str
) -> None:
    refused(words, message)


def test_scoring_by_the_origin_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_display.show_progress() as show:
        show(Progress(2, 3, Point(0, (0.5,)), 10.0))
        for scored in (1, 2, 3):
            show(Progress(3, 3, None, None, scored))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["2/3 points, 0 s, line 1, α = +0.5: ASR 10 %", "3/3 points, 0 s, the origin scores the answers"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_help_is_printed_whatever_the_terminal_can_show(encoding: str) -> None:
    done = run_command("scan", "--help", env={**os.environ, "PYTHONIOENCODING": encoding}, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u03b1" in done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_results_and_messages_are_printed_whatever_the_terminal_can_show(run: Path, encoding: str) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = run_command("report", run, env=env, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "basin radius |\\u03b1|" in done.stdout
    done = run_command("report", run.parent / "ü\u03b1🙂", env=env, encoding=encoding)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "\\u03b1\\ud83d\\ude42" in done.stderr


def test_json_stays_json_whatever_the_terminal_can_show() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    texts = ["α", "é", "🙂", "\udce9", '"\\']
    with contextlib.redirect_stdout(file):
        print_all_characters()
        print(json.dumps(texts, ensure_ascii=False))
    written = file.buffer.getvalue()
    assert json.loads(written) == texts
