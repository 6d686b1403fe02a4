"""Measuring the points of a repair, and the log in its directory from which an interrupted repair resumes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from filelock import FileLock, Timeout
from transformers import PreTrainedTokenizerBase

from safescape.engines import Engine
from safescape.errors import InputError, RunError
from safescape.finetuning.conversations import Conversation
from safescape.finetuning.search import Evaluation
from safescape.judges import immediate_judge
from safescape.landscape import Interval, perplexity_of, reading_of, wilson
from safescape.measure import ask, score
from safescape.probes import render_chat
from safescape.store import write_text
from safescape.survey import (
    KEYWORD,
    ChoiceProbe,
    Frozen,
    HarnessProbe,
    Outcome,
    PerplexityProbe,
    Point,
    PromptProbe,
    Score,
)

_log = logging.getLogger(__name__)

_FILE = "evaluations.jsonl"


class Evaluator:
    """Moves an engine to a point and measures safety and capability there.

    Args:
        open_engine: Opens the engine; called for the first point that is measured.
        harmful: The prompts that should be refused.
        chats: The same prompts in the model's chat template.
        capability: The probe whose figure is the loss; None if there is none, or if `answers` are given.
        answers: (context, answer) pairs; the perplexity of the answers is the loss.
        max_new_tokens: The maximum number of tokens of an answer.

    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        harmful: PromptProbe,
        chats: Sequence[str],
        capability: ChoiceProbe | PerplexityProbe | HarnessProbe | None,
        answers: Sequence[tuple[str, str]],
        max_new_tokens: int,
    ) -> None:
        self._open_engine = open_engine
        self._engine: Engine | None = None
        self._harmful, self._chats = harmful, chats
        self._capability, self._answers = capability, answers
        self._judges = {KEYWORD: immediate_judge(KEYWORD)}
        self._max_new_tokens = max_new_tokens

    def at(self, coords: tuple[float, ...]) -> Evaluation:
        """Measure at a point."""
        if self._engine is None:
            self._engine = self._open_engine()
        self._engine.move_to(Point(None, coords))
        given = ask(self._engine, self._chats, self._harmful.prompts, self._judges, max_new_tokens=self._max_new_tokens)
        complied = sum(answer.verdicts[KEYWORD].outcome is Outcome.COMPLIED for answer in given)
        _log.info("at %s: %d of %d answered", coords, complied, len(given))
        return _evaluation(coords, len(given), complied, self._loss(self._engine))

    def close(self) -> None:
        """Close the engine, if it was opened; see `Engine.close`."""
        if self._engine is not None:
            self._engine.close()

    def _loss(self, engine: Engine) -> float | None:
        if self._answers:
            found = engine.loglikelihood(self._answers)
            return perplexity_of([Score(-each.log_probability, each.tokens) for each in found]).value
        if self._capability is None:
            return None
        scores = score(engine, self._capability, max_new_tokens=self._max_new_tokens)
        reading = reading_of(self._capability, (), scores)
        return reading.value if reading.kind == "perplexity" else -reading.value


def scored_answers(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[tuple[str, str]]:
    """Return the context and the answer of each conversation in the chat template, the answer with its end of turn."""
    pairs = []
    for conversation in conversations:
        turns = [message._asdict() for message in conversation.messages]
        row, advice = f"--data row {conversation.row}", "mend the row"
        context = render_chat(tokenizer, turns[:-1], generation_prompt=True, given=row, advice=advice)
        whole = render_chat(tokenizer, turns, generation_prompt=False, given=row, advice=advice)
        pairs.append((context, whole.removeprefix(context)))
    return pairs


class RepairRequest(Frozen):
    """The specification of a repair; only the same specification resumes in its directory."""

    schema_version: Literal[1] = 1
    base: str
    base_fingerprint: str
    tuned: str
    tuned_fingerprint: str
    layers: int
    """The number of blocks of layers."""
    max_asr: float
    """The attack success rate, in percent, that the upper end of the 95 % interval must not exceed."""
    prompts: str
    """The harmful prompts as the user gave them."""
    asked: str
    """The SHA-256 of the harmful prompts in the chat template."""
    judge: str = KEYWORD
    loss: str
    """The source of the loss; empty without one."""
    scored: str
    """The SHA-256 of the scored answers, or of the capability probe."""
    max_new_tokens: int
    batch_size: int
    dtype: str
    device: str


class EvaluationLog:
    """The evaluations of a repair in evaluations.jsonl: the request in the first line, then one line per evaluation.

    A line is appended with one write and flushed to disk, so a killed process loses at most the evaluation in flight.
    Use it as a context manager: the directory is created and locked on entering.

    Args:
        directory: The directory of the repair.
        request: The specification.

    """

    def __init__(self, directory: Path, request: RepairRequest) -> None:
        self._directory, self._request = directory, request
        self._path = directory / _FILE
        self._lock = FileLock(directory / ".lock", timeout=0)
        self._key = sha256_of(request.model_dump(mode="json"))
        self._found: dict[tuple[float, ...], Evaluation] = {}

    @staticmethod
    def check(directory: Path) -> None:
        """Check that a directory is new or empty, or has the log of a repair.

        Raises:
            InputError: It has other files.

        """
        if not directory.exists() or (directory / _FILE).is_file():
            return
        if not directory.is_dir() or any(path.name != ".lock" for path in directory.iterdir()):
            raise InputError(f"--out {directory}: is not empty; give a new directory")

    def __enter__(self) -> Self:
        """Lock the directory and read the log.

        Raises:
            InputError: The directory has another repair, or another process repairs in it.
            RunError: The directory cannot be written.

        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise InputError(
                f"{self._directory}: another process is repairing in it; wait for it, or give another --out"
            ) from error
        except OSError as error:
            raise RunError(f"{self._directory}: cannot be written ({error.strerror}); give another --out") from error
        try:
            self._read()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Unlock the directory; delete the log if an exception came before the first evaluation."""
        if error is not None and not self._found:
            self.discard()
        self._lock.release()

    def get(self, coords: tuple[float, ...]) -> Evaluation | None:
        """Return the stored evaluation of a point; None if there is none."""
        return self._found.get(coords)

    def add(self, evaluation: Evaluation) -> Evaluation:
        """Store an evaluation and return it.

        Raises:
            RunError: The log cannot be written.

        """
        line = {
            "request": self._key,
            "coords": evaluation.coords,
            "n": evaluation.n,
            "complied": evaluation.complied,
            "loss": evaluation.loss,
        }
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(json.dumps(line).encode() + b"\n")
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"{self._path}: cannot be written ({error.strerror}); free space, and the same command resumes"
            ) from error
        self._found[evaluation.coords] = evaluation
        return evaluation

    def discard(self) -> None:
        """Delete the log, and the directory if it has no other files."""
        self._path.unlink(missing_ok=True)
        if all(path.name == ".lock" for path in self._directory.iterdir()):
            shutil.rmtree(self._directory)

    def _read(self) -> None:
        if not self._path.exists():
            write_text(self._path, json.dumps(self._request.model_dump(mode="json")) + "\n")
            return
        head, *lines = self._path.read_bytes().split(b"\n")
        try:
            there = RepairRequest.model_validate_json(head)
        except ValueError as error:
            raise InputError(
                f"{self._path}: is no repair of this version; give another directory with --out"
            ) from error
        if found := self._request.differences(there):
            raise InputError(
                f"{self._directory}: holds another repair ({'; '.join(found[:3])}); give a new one with --out"
            )
        # Only a line that ends with a newline was written completely.
        if lines.pop():
            os.truncate(self._path, sum(len(line) + 1 for line in (head, *lines)))
        for line in lines:
            stored = json.loads(line)
            if stored["request"] == self._key:
                coords = tuple(stored["coords"])
                self._found[coords] = _evaluation(coords, stored["n"], stored["complied"], stored["loss"])
        _log.info("%d evaluations in %s", len(self._found), self._path)


def sha256_of(document: object) -> str:
    """Return the SHA-256 of a JSON document."""
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _evaluation(coords: tuple[float, ...], n: int, complied: int, loss: float | None) -> Evaluation:
    return Evaluation(coords, n, complied, Interval(*wilson(complied, n)), loss)
