"""The command `safescape` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def command_line(*words: object) -> list[str]:
    """Return the command line of `safescape` with these words."""
    return [sys.executable, "-m", "safescape", *map(str, words)]


def run_command(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, encoding: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `safescape` with these words, and return its exit code and what it printed in an encoding."""
    return subprocess.run(command_line(*words), capture_output=True, text=True, cwd=cwd, env=env, encoding=encoding)
