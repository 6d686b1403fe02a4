"""`safescape view`, or another command that serves pages, in a process of its own, on a free port."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from helpers.command_line import command_line


class Viewed:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], printed: list[str]) -> None:
        self.process = process
        self.printed = printed
        """The lines that it printed before it accepted requests."""
        self.address = next(word for word in printed[-1].split() if word.startswith("http://"))

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rpartition(":")[2])

    def end(self, sent: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Send it a signal, and return its exit code and what it has printed since."""
        self.process.send_signal(sent)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def viewing(directory: Path, *flags: str) -> AbstractContextManager[Viewed]:
    """Run `safescape view` on a directory until the block ends."""
    return serving("view", directory, "--no-open", *(flags or ("--port", 0)))


@contextmanager
def serving(*words: object) -> Iterator[Viewed]:
    """Run a command that serves pages until the block ends."""
    process = subprocess.Popen(command_line(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed: list[str] = []
    try:
        while not printed or "http://" not in printed[-1]:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            printed.append(line)
        yield Viewed(process, printed)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
