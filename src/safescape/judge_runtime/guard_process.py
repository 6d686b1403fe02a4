"""A guard model or classifier in a process of its own, which ends with its context.

A separate process frees all device memory when it ends, and a guard that is killed for its memory does not end the run.
Requests and replies are lines of JSON. This module knows no guard by name.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import torch

from safescape.errors import InputError, RunError, first_line
from safescape.judge_runtime.readers import ClassifierReader, GuardReader
from safescape.judges.guard_prompts import Piece, Text
from safescape.judges.guards import Spellings
from safescape.placement import is_out_of_memory
from safescape.weights import resolve

_log = logging.getLogger(__name__)

GuardKind = Literal["words", "labels"]
"""`words`: a causal language model that answers in words. `labels`: a sequence classifier."""

_ERRORS = {kind.__name__: kind for kind in (InputError, RunError)}


class RemoteGuard(ABC):
    """A guard model or classifier in another process, asked over a channel that subclasses implement.

    Its methods are those of `judges.guards.AnswerReader` and `judges.sequence_classifiers.LabelReader`. Each raises
    RunError if the process died or has not enough memory.
    """

    def load(self, place: str, kind: GuardKind, device: str | None) -> None:
        """Load the model; raise InputError if that is impossible."""
        self._ask(place=place, kind=kind, device=device)

    def answers(
        self, texts: Sequence[Text], answers: Sequence[Spellings], *, response_tokens: int | None
    ) -> list[list[float]]:
        """Return the probability that each answer comes next, shape (texts, answers)."""
        return self._ask(do="answers", texts=texts, answers=answers, response_tokens=response_tokens)

    def generate(self, texts: Sequence[Text], *, max_new_tokens: int, response_tokens: int | None) -> list[str]:
        """Return the text that the model generates after each text, by greedy decoding."""
        return self._ask(do="generate", texts=texts, max_new_tokens=max_new_tokens, response_tokens=response_tokens)

    def labels(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Return the probability of each label for each pair of texts, shape (pairs, labels)."""
        return self._ask(do="labels", pairs=pairs)

    def _ask(self, **request: Any) -> Any:
        """Send a request; return its result, or raise the error of the reply."""
        reply = json.loads(self._send(json.dumps(request)))
        if "error" in reply:
            raise _ERRORS[reply["error"]](reply["message"])
        return reply["found"]

    @abstractmethod
    def _send(self, request: str) -> str:
        """Send a line of JSON and return the line that is replied; raise RunError if there is none."""


@contextlib.contextmanager
def guard_process(place: str, *, kind: GuardKind, device: str | None) -> Iterator[RemoteGuard]:
    """Load a model in a new process, which ends with the context.

    Args:
        place: The model, in the form of MODEL; it has been fetched already.
        kind: What kind of model it is.
        device: Where it runs. None: on the first GPU if there is one, else on the CPU.

    Raises:
        InputError: the model cannot be loaded.
        RunError: the process died.

    """
    # models that are unloaded return their memory to the device
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    environment = {
        **os.environ,
        # the process imports the same code as this one
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        process = subprocess.Popen(
            # -P: a file in the working directory must not shadow a module
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            env=environment,
            # Ctrl-C interrupts this process alone, which then ends the other
            start_new_session=True,
        )
        _log.info("process %d loads %s", process.pid, place)
        try:
            guard = _ProcessGuard(process, stderr, place)
            guard.load(place, kind, device)
            yield guard
        finally:
            # the process has nothing to save
            process.kill()
            process.communicate()


class _ProcessGuard(RemoteGuard):
    """A guard in a process of this machine."""

    def __init__(self, process: subprocess.Popen[str], stderr: IO[str], place: str) -> None:
        self._process, self._stderr, self._place = process, stderr, place

    def _send(self, request: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise RunError(f"{self._place}: the process of this guard {self._exit_reason()}")
        return line

    def _exit_reason(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "was killed, most likely because memory ran out; free memory, or run the guard on another device"
        self._stderr.seek(0)
        last = (self._stderr.read().strip().splitlines() or [f"code {code}"])[-1]
        return f"died ({last[:200]})"


def serve() -> None:
    """Reply to requests on standard input, one per line, until it ends, as it does when the parent process dies."""
    server = GuardServer()
    # standard output carries the replies alone; anything that a library prints goes to standard error
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies, open(0, encoding="utf-8", closefd=False) as requests:
        os.dup2(2, 1)
        for line in requests:
            replies.write(server.reply(line) + "\n")
            replies.flush()


class GuardServer:
    """The server side of a `RemoteGuard`: the first request loads the model, later ones are computed with it."""

    def __init__(self) -> None:
        self._reader: GuardReader | ClassifierReader | None = None

    def reply(self, line: str) -> str:
        """Return the reply to a request as one line of JSON; errors that the user can mend are replies too."""
        reply: Mapping[str, Any]
        try:
            reply = {"found": self._result(**json.loads(line))}
        except (InputError, RunError) as error:
            reply = {"error": type(error).__name__, "message": str(error)}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = f"the guard has not enough memory on its device ({first_line(error)})"
            reply = {"error": "RunError", "message": message}
        return json.dumps(reply)

    def _result(self, **request: Any) -> Any:
        if self._reader is None:
            self._reader = _load(**request)
            return None
        if "texts" in request:
            request["texts"] = [tuple(Piece(*piece) for piece in text) for text in request["texts"]]
        return getattr(self._reader, request.pop("do"))(**request)


def _load(place: str, kind: GuardKind, device: str | None) -> GuardReader | ClassifierReader:
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return (GuardReader if kind == "words" else ClassifierReader)(resolve(place), chosen)
