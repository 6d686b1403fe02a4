"""The command `safescape` in a process of its own."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

_FORKS = Path(__file__).with_name("forked_commands.py")


def command_line(*words: object) -> list[str]:
    """Return the command line of `safescape` with these words."""
    return [sys.executable, "-m", "safescape", *map(str, words)]


def run_command(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, encoding: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `safescape` with these words, and return its exit code and what it printed in an encoding.

    Importing torch, transformers and peft takes ten seconds on a slow machine. A command in the surroundings of the
    tests is therefore forked from a process that has imported them; one in other surroundings starts from nothing.
    """
    if env is None and encoding is None and (forks := _forks()).surroundings == _surroundings():
        return forks.run(command_line(*words), cwd)
    return subprocess.run(command_line(*words), capture_output=True, text=True, cwd=cwd, env=env, encoding=encoding)


class _Forks(NamedTuple):
    """A process that forks commands."""

    requests: IO[str]
    codes: IO[str]
    surroundings: dict[str, str]
    """The environment variables when it started: libraries read theirs when they are imported."""

    def run(self, line: list[str], cwd: Path | None) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        with tempfile.TemporaryDirectory() as directory:
            printed, complained = (Path(directory, name) for name in ("stdout", "stderr"))
            request = {
                "words": line[3:],
                "cwd": os.fspath(cwd or Path.cwd()),
                "stdout": str(printed),
                "stderr": str(complained),
            }
            print(json.dumps(request), file=self.requests, flush=True)
            code = int(self.codes.readline())
            return subprocess.CompletedProcess(line, code, printed.read_text(), complained.read_text())


@functools.cache
def _forks() -> _Forks:
    surroundings = _surroundings()
    process = subprocess.Popen(
        [sys.executable, str(_FORKS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=surroundings
    )
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(process.kill)
    return _Forks(process.stdin, process.stdout, surroundings)


def _surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
