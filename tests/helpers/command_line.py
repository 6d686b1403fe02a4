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

    Importing torch, transformers and peft takes ten seconds on a slow machine. A command is therefore forked from a
    process that has imported them, unless a variable that libraries read when they are imported is another one.
    """
    if env is None and encoding is None and (forks := _forks()).read_at_import == _read_at_import():
        return forks.run(command_line(*words), cwd)
    return subprocess.run(command_line(*words), capture_output=True, text=True, cwd=cwd, env=env, encoding=encoding)


class _Forks(NamedTuple):
    """A process that forks commands."""

    requests: IO[str]
    codes: IO[str]
    read_at_import: dict[str, str]
    """The environment variables that libraries read when they were imported."""

    def run(self, line: list[str], cwd: Path | None) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        with tempfile.TemporaryDirectory() as directory:
            printed, complained = (Path(directory, name) for name in ("stdout", "stderr"))
            request = {
                "words": line[3:],
                "cwd": os.fspath(cwd or Path.cwd()),
                "env": dict(os.environ),
                "stdout": str(printed),
                "stderr": str(complained),
            }
            print(json.dumps(request), file=self.requests, flush=True)
            code = int(self.codes.readline())
            return subprocess.CompletedProcess(line, code, printed.read_text(), complained.read_text())


@functools.cache
def _forks() -> _Forks:
    process = subprocess.Popen([sys.executable, str(_FORKS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(process.kill)
    return _Forks(process.stdin, process.stdout, _read_at_import())


def _read_at_import() -> dict[str, str]:
    # lm_eval sets HF_XET_HIGH_PERFORMANCE, which no command needs
    names = (name for name in os.environ if name.startswith(("HF_", "TRANSFORMERS_", "PYTHON", "OMP_")))
    return {name: os.environ[name] for name in names if not name.startswith("HF_XET_")}
