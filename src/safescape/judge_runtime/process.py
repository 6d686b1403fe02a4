"""A guard model in a process of its own, which ends with the context that began it.

The process is what makes sure that the model under test and its judge never share a device: nothing of the one is left
on the device when the other comes, and a guard that is killed for its memory takes nothing with it. The two speak in
lines of JSON. Knows no guard by name.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, Self

import torch

from safescape.errors import InputError, RunError
from safescape.judge_runtime.readers import ClassifierReader, GuardReader
from safescape.judges.guard_prompts import Piece, Text
from safescape.judges.guards import Spellings
from safescape.placement import is_out_of_memory
from safescape.weights import resolve

__all__ = ["AskedGuard", "GuardKind", "GuardProcess", "GuardServer", "serve"]

GuardKind = Literal["words", "labels"]
"""Of a guard: it answers in words, or is a sequence classifier."""

_ERRORS = {kind.__name__: kind for kind in (InputError, RunError)}


class AskedGuard(ABC):
    """A guard model somewhere else, asked over whatever leads there."""

    def answers(
        self, texts: Sequence[Text], answers: Sequence[Spellings], *, response_tokens: int | None
    ) -> list[list[float]]:
        """Return, for each text, how likely each answer comes next; see `judges.guards.Reader`.

        Raises:
            RunError: the process died, or has not enough memory.

        """
        found: list[list[float]] = self._ask(
            do="answers", texts=texts, answers=answers, response_tokens=response_tokens
        )
        return found

    def generate(self, texts: Sequence[Text], *, max_new_tokens: int, response_tokens: int | None) -> list[str]:
        """Return what the model writes after each text, greedily.

        Raises:
            RunError: the process died, or has not enough memory.

        """
        found: list[str] = self._ask(
            do="generate", texts=texts, max_new_tokens=max_new_tokens, response_tokens=response_tokens
        )
        return found

    def labels(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Return, for each pair of texts, how likely each of the model's labels is, in their order.

        Raises:
            RunError: the process died, or has not enough memory.

        """
        found: list[list[float]] = self._ask(do="labels", pairs=pairs)
        return found

    def _ask(self, **request: Any) -> Any:
        """Ask, and return what was found or raise what is replied."""
        reply = json.loads(self._sent(json.dumps(request)))
        if "error" in reply:
            raise _ERRORS[reply["error"]](reply["message"])
        return reply["found"]

    @abstractmethod
    def _sent(self, request: str) -> str:
        """Send one line of JSON there and return the one that comes back.

        Raises:
            RunError: none does.

        """


class GuardProcess(AskedGuard):
    """Loads a model in a process of its own, and reads with it as long as the context lasts.

    Args:
        place: Where the model is, as MODEL is written; it is on this disk already.
        kind: `words`: it answers in words. `labels`: it is a sequence classifier.
        device: Where it runs; None: on the first GPU if there is one.

    """

    def __init__(self, place: str, *, kind: GuardKind, device: str | None) -> None:
        self._place, self._kind, self._device = place, kind, device
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[str] | None = None

    def __enter__(self) -> Self:
        """Start the process and load the model.

        Raises:
            InputError: it cannot be loaded.
            RunError: the process died.

        """
        _release()
        root = str(Path(__file__).parents[2])
        environment = {
            **os.environ,
            # the same code as here, wherever that was imported from
            "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            # -P: a file in the working directory must not stand in for a module
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            encoding="utf-8",
            env=environment,
            # Ctrl-C is for this process, which ends the other
            start_new_session=True,
        )
        try:
            self._ask(place=self._place, kind=self._kind, device=self._device)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process is not None
        return self._process.pid

    def _sent(self, request: str) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise RunError(f"{self._place}: the process of this guard {self._how_it_died()}")
        return line

    def _how_it_died(self) -> str:
        assert self._process is not None
        assert self._stderr is not None
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "was killed, most likely because memory ran out; free memory, or run the guard on another device"
        self._stderr.seek(0)
        last = (self._stderr.read().strip().splitlines() or [f"code {code}"])[-1]
        return f"died ({last[:200]})"

    def _end(self) -> None:
        if self._process is not None:
            # it keeps nothing that would have to be written
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            self._process = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None


def _release() -> None:
    """Give back what a released model left in this process's own store of device memory."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def serve() -> None:
    """Be the process: answer requests, one a line, until there are no more, also when whoever asked is gone."""
    # whatever prints, prints elsewhere: a machine reads the lines of the replies
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        with open(0, encoding="utf-8", closefd=False) as requests:
            _answer(requests, replies)


def _answer(requests: IO[str], replies: IO[str]) -> None:
    server = GuardServer()
    for line in requests:
        replies.write(server.reply(line) + "\n")
        replies.flush()


class GuardServer:
    """The other end of an `AskedGuard`: the first request loads the model, the others are read with it."""

    def __init__(self) -> None:
        self._reader: GuardReader | ClassifierReader | None = None

    def reply(self, line: str) -> str:
        """Return the reply to a request, as JSON in one line, also where something is wrong with it."""
        reply: Mapping[str, Any]
        try:
            reply = {"found": self._found(**json.loads(line))}
        except (InputError, RunError) as error:
            reply = {"error": type(error).__name__, "message": str(error)}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = (str(error).strip().splitlines() or ["no more memory"])[0]
            reply = {"error": "RunError", "message": f"the guard has not enough memory on its device ({reason})"}
        return json.dumps(reply)

    def _found(self, **request: Any) -> Any:
        if self._reader is None:
            self._reader = _loaded(**request)
            return None
        return _found(self._reader, **request)


def _loaded(place: str, kind: str, device: str | None) -> GuardReader | ClassifierReader:
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return (GuardReader if kind == "words" else ClassifierReader)(resolve(place), chosen)


def _found(reader: Any, do: str, **asked: Any) -> Any:
    if "texts" in asked:
        asked["texts"] = [tuple(Piece(*piece) for piece in text) for text in asked["texts"]]
    if do not in ("answers", "generate", "labels"):
        raise RunError(f"{do}: nothing that a guard can do")
    return getattr(reader, do)(**asked)
