"""Measuring the points of a repair, and the log in its directory from which an interrupted repair resumes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue
from transformers import PreTrainedTokenizerBase

from safescape.engines import Engine
from safescape.errors import InputError
from safescape.finetuning.conversations import Conversation, render
from safescape.finetuning.directory import check_same, locked, sha256_of, written
from safescape.finetuning.repair_search import Evaluation
from safescape.judges import immediate_judge
from safescape.landscape import perplexity_of, reading_of
from safescape.measure import ask, score
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
    Thinking,
)

_log = logging.getLogger(__name__)

_FILE = "evaluations.jsonl"


@dataclass
class Evaluator:
    """Moves an engine to a point and measures safety and capability there."""

    open_engine: Callable[[], Engine]
    """Opens the engine; called for the first point that is measured."""
    harmful: PromptProbe
    """The prompts that should be refused."""
    chats: Sequence[str]
    """The same prompts in the model's chat template."""
    capability: ChoiceProbe | PerplexityProbe | HarnessProbe | None
    """The probe whose figure is the loss; None if there is none, or if `answers` are given."""
    answers: Sequence[tuple[str, str]]
    """(context, answer) pairs; the perplexity of the answers is the loss."""
    max_new_tokens: int
    thinking: Thinking | None = None
    """How thoughts are told from answers; None for a model without markers of thoughts."""
    _engine: Engine | None = field(default=None, init=False)

    def at(self, coords: tuple[float, ...]) -> Evaluation:
        """Measure at a point."""
        if self._engine is None:
            self._engine = self.open_engine()
        self._engine.move_to(Point(None, coords))
        judges = {KEYWORD: immediate_judge(KEYWORD)}
        tokens, prompts = self.max_new_tokens, self.harmful.prompts
        chats = self.harmful.asked(self.chats)
        given = ask(self._engine, chats, prompts, judges, max_new_tokens=tokens, thinking=self.thinking)
        # an unscored answer, as after a thought that has no end, never counts as safe
        outcomes = [answer.verdicts[KEYWORD].outcome for answer in given]
        complied, unscored = len(outcomes) - outcomes.count(Outcome.REFUSED), outcomes.count(Outcome.UNSCORED)
        _log.info("at %s: %d of %d answered, %d of them unscored", coords, complied, len(given), unscored)
        return Evaluation(coords, len(given), complied, self._loss(self._engine), unscored)

    def close(self) -> None:
        """Close the engine, if it was opened; see `Engine.close`."""
        if self._engine is not None:
            self._engine.close()

    def _loss(self, engine: Engine) -> float | None:
        if self.answers:
            found = engine.loglikelihood(self.answers, raw=False)
            return perplexity_of([Score(-each.log_probability, each.tokens) for each in found]).value
        if self.capability is None:
            return None
        scores = score(engine, self.capability, max_new_tokens=self.max_new_tokens)
        reading = reading_of(self.capability, (), scores)
        return reading.value if reading.kind == "perplexity" else -reading.value


def scored_answers(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], variables: Mapping[str, JsonValue]
) -> list[tuple[str, str]]:
    """Return the context and the answer of each conversation in the chat template, the answer with its end of turn.

    `variables` are given to the template.
    """
    pairs = []
    for conversation in conversations:
        context, whole = render(conversation, tokenizer, variables, advice="mend the row")
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
    generation: dict[str, JsonValue] = Field(default={}, exclude_if=lambda settings: not settings)
    """What the finetune's generation_config.json changes of greedy decoding, beside further end tokens."""
    judge: str = KEYWORD
    loss: str
    """The source of the loss; empty without one."""
    scored: str
    """The SHA-256 of the scored answers, or of the capability probe."""
    max_new_tokens: int
    max_thinking_tokens: int | None = Field(default=None, exclude_if=lambda most: most is None)
    """Where the thoughts of a reasoning model are ended; None: it has no markers of thoughts."""
    batch_size: int
    dtype: str
    device: str


class EvaluationLog:
    """The evaluations of a repair in evaluations.jsonl: the request in the first line, then one line per evaluation.

    A line is appended with one write and flushed to disk, so a killed process loses at most the evaluation in flight.
    """

    def __init__(self, directory: Path, request: RepairRequest) -> None:
        self._directory, self._path = directory, directory / _FILE
        self._key = sha256_of(request.model_dump(mode="json"))
        self._found: dict[tuple[float, ...], Evaluation] = {}
        if not self._path.exists():
            write_text(self._path, json.dumps(request.model_dump(mode="json")) + "\n")
            return
        head, *lines = self._path.read_bytes().split(b"\n")
        check_same(request, head, self._path, "repair")
        # Only a line that ends with a newline was written completely.
        if lines.pop():
            os.truncate(self._path, sum(len(line) + 1 for line in (head, *lines)))
        for line in lines:
            stored = json.loads(line)
            if stored["request"] == self._key:
                coords = tuple(stored["coords"])
                figures = (stored["n"], stored["complied"], stored["loss"], stored.get("unscored", 0))
                self._found[coords] = Evaluation(coords, *figures)
        _log.info("%d evaluations in %s", len(self._found), self._path)

    @staticmethod
    def check(directory: Path) -> None:
        """Check that a directory is new or empty, or has the log of a repair.

        Raises:
            InputError: It has other files.

        """
        if not directory.exists() or (directory / _FILE).is_file():
            return
        if not directory.is_dir():
            raise InputError(f"--out {directory}: is a file; give a new directory")
        if any(path.name != ".lock" for path in directory.iterdir()):
            raise InputError(f"--out {directory}: is not empty; give a new directory")

    @classmethod
    @contextlib.contextmanager
    def open(cls, directory: Path, request: RepairRequest) -> Iterator[Self]:
        """Create or read the log of a repair in a locked directory; see `locked`.

        If an exception comes before the first evaluation, the log is deleted.

        Raises:
            InputError: The directory has another repair.

        """
        with locked(directory, "repairing"):
            log = cls(directory, request)
            try:
                yield log
            except BaseException:
                if not log._found:
                    log.discard()
                raise

    def get(self, coords: tuple[float, ...]) -> Evaluation | None:
        """Return the stored evaluation of a point; None if there is none."""
        return self._found.get(coords)

    def add(self, evaluation: Evaluation) -> Evaluation:
        """Store an evaluation and return it.

        Raises:
            RunError: The log cannot be written.

        """
        line = json.dumps({"request": self._key, **evaluation._asdict()})
        with written(self._path), self._path.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")
            os.fsync(file.fileno())
        self._found[evaluation.coords] = evaluation
        return evaluation

    def discard(self) -> None:
        """Delete the log, and the directory if it has no other files."""
        self._path.unlink(missing_ok=True)
        if all(path.name == ".lock" for path in self._directory.iterdir()):
            shutil.rmtree(self._directory)
