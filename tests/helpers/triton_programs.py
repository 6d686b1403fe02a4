"""Programs that use Triton kernels, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def run_program(program: str, *arguments: str, interpreted: bool = True) -> dict[str, Any]:
    """Run a Python program, by default with Triton's interpreter, and return the JSON object that it prints."""
    line = [sys.executable, "-c", program, *arguments]
    settings = {**os.environ, "TRITON_INTERPRET": str(int(interpreted))}
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=settings)
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed
