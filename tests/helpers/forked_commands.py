"""Run commands, each in a fork of this process, which has imported what commands import.

Each line of stdin is a request in JSON: the words of a command, its working directory, its environment variables, and
the files of its stdout and stderr. Its exit code is written to stdout.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
from typing import Any

import safescape
import safescape.cli


def main() -> None:
    """Serve requests; a fork leaves through its command."""
    for name in safescape.__all__:
        getattr(safescape, name)
    # a fork that ends would copy all memory that it visits
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
            runpy.run_module("safescape", run_name="__main__", alter_sys=True)
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)


def _become(request: dict[str, Any]) -> None:
    """Give this process the words and the surroundings of a command."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["safescape", *request["words"]]


if __name__ == "__main__":
    main()
