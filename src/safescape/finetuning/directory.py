"""The directory of a finetune or a repair: its lock and its specification; of a finetune, checkpoints and results too.

It knows no model and no training library.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from filelock import FileLock, Timeout
from pydantic import Field, JsonValue
from safetensors import SafetensorError

from safescape.errors import InputError, RunError, first_line
from safescape.store import write_text
from safescape.survey import Frozen

_SPECIFICATION, _RESULTS = "finetune.json", "training.json"


class Finetune(Frozen):
    """The specification of a finetune, written to finetune.json; only the same specification resumes there."""

    schema_version: Literal[1] = 1
    model: str
    model_fingerprint: str
    data: str
    """The data as the user gave it, with the recipe."""
    taught: str
    """The SHA-256 of the conversations."""
    examples: int
    method: Literal["full", "lora", "freeze"] = "full"
    rank: int = Field(default=16, ge=1)
    """The rank of a LoRA on all linear layers; its alpha is twice the rank."""
    frozen_layers: int = Field(default=0, ge=0)
    """With `freeze`, the embeddings and this number of layers, from the first, are not trained."""
    epochs: int = Field(default=5, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False)
    decay: float = Field(default=0.85, gt=0, le=1)
    """The factor of the learning rate after every epoch."""
    batch_size: int = Field(default=4, ge=1)
    max_tokens: int = Field(default=480, ge=2)
    """The maximum length of request and answer together; longer ones are truncated at their end."""
    seed: int = Field(default=0, ge=0)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The dtype of the arithmetic; `bfloat16` is mixed precision. Weights are kept and saved in fp32."""
    device: str = "cpu"
    chat_template: str | None = Field(default=None, exclude_if=lambda digest: digest is None)
    """The SHA-256 of the chat template; None in a specification that was written before it was recorded."""
    template_vars: dict[str, JsonValue] = Field(default={}, exclude_if=lambda variables: not variables)
    """Given to the chat template."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return math.ceil(self.examples / self.batch_size)

    def differences(self, other: Self) -> list[str]:
        """Return one text for each field that differs; a chat template that was not recorded is no difference."""
        mine = self if other.chat_template is not None else self.model_copy(update={"chat_template": None})
        return super(Finetune, mine).differences(other)


class Step(NamedTuple):
    """The progress of a training."""

    done: int
    total: int
    loss: float
    """The mean cross-entropy of the last batch's answers, in nats per token."""


class Finetuned(NamedTuple):
    """A finished finetune."""

    directory: Path
    """A checkpoint that loads in transformers; of a LoRA, in PEFT."""
    checkpoints: tuple[Path, ...]
    """One per epoch, in their order."""
    steps: int
    """Optimizer steps."""
    losses: tuple[float, ...]
    """The mean loss of each epoch."""
    stopped_at: int | None = None
    """The step after which a callback stopped the training; None if it ran to its end."""


@contextlib.contextmanager
def locked(directory: Path, doing: str) -> Iterator[None]:
    """Create a directory and lock it; `doing` says in messages what a process does in it.

    Raises:
        InputError: Another process has locked it.
        RunError: It cannot be written.

    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{directory}: another process is {doing} in it; wait for it, or give another --out"
        ) from error
    except OSError as error:
        raise RunError(f"{directory}: cannot be written ({error.strerror}); give another --out") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn errors of writing into one line; torch raises RuntimeError when the disk is full."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunError(
            f"{path}: cannot be written ({first_line(error)}); free space, and the same command resumes"
        ) from error


def check_same(specification: Frozen, document: bytes, path: Path, kind: str) -> None:
    """Check that a document in `path` is the same specification of a `kind`, a finetune or a repair.

    Raises:
        InputError: It is another one.

    """
    try:
        there = type(specification).model_validate_json(document)
    except ValueError as error:
        raise InputError(f"{path}: is no {kind} of this version; give another directory with --out") from error
    if found := specification.differences(there):
        raise InputError(f"{path.parent}: holds another {kind} ({'; '.join(found[:3])}); give a new one with --out")


def sha256_of(document: object) -> str:
    """Return the SHA-256 of a JSON document."""
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def claim(directory: Path, finetune: Finetune) -> None:
    """Write the specification into an empty directory, or check that the directory has the same one.

    Raises:
        InputError: The directory has other files, or another finetune.

    """
    path = directory / _SPECIFICATION
    others = sorted(child.name for child in directory.iterdir() if child.name not in (".lock", _SPECIFICATION))
    if path.exists() and others:
        check_same(finetune, path.read_bytes(), path, "finetune")
    elif others:
        raise InputError(f"{directory}: already holds {others[0]}; give a new directory with --out")
    else:
        write_text(path, finetune.model_dump_json(indent=1) + "\n")


def finish(directory: Path, finetune: Finetune, losses: Sequence[float]) -> Finetuned:
    """Write the results of a training, given the loss of every step, and delete what only an unfinished one needs."""
    each, steps = finetune.steps_per_epoch, len(losses)
    epochs = [losses[start : start + each] for start in range(0, steps, each)]
    stopped_at = steps if steps < each * finetune.epochs else None
    means = [sum(epoch) / len(epoch) for epoch in epochs]
    summary = {"steps": steps, "stopped_at": stopped_at, "losses": means}
    write_text(directory / _RESULTS, json.dumps(summary, indent=1) + "\n")
    for path in (directory, *checkpoints(directory)):
        delete_optimizer(path)
        # A pickle that the Trainer writes beside the weights and nothing reads.
        (path / "training_args.bin").unlink(missing_ok=True)
    return Finetuned(directory, checkpoints(directory), steps, tuple(means), stopped_at)


def finished(directory: Path) -> Finetuned | None:
    """Return a finished finetune; None if it is not finished."""
    path = directory / _RESULTS
    if not path.exists():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    return Finetuned(
        directory, checkpoints(directory), summary["steps"], tuple(summary["losses"]), summary["stopped_at"]
    )


def checkpoints(directory: Path) -> tuple[Path, ...]:
    """Return the checkpoints by ascending step."""
    found = [path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    return tuple(sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-"))))


def latest(directory: Path) -> Path | None:
    """Return the newest complete checkpoint; delete the incomplete ones that a killed process left."""
    whole = None
    for path in checkpoints(directory):
        try:
            # The Trainer writes this file last.
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path)
            continue
        whole = path
    return whole


def delete_optimizer(checkpoint: Path) -> None:
    """Delete the optimizer's state, which is twice the size of the model."""
    for name in ("optimizer.pt", "scheduler.pt", "scaler.pt"):
        (checkpoint / name).unlink(missing_ok=True)


def set_base_name(directory: Path, base: str) -> None:
    """Write the base's name as the user gave it into an adapter, for example `demo` instead of a cache directory."""
    path = directory / "adapter_config.json"
    if path.exists():
        config = json.loads(path.read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = base
        write_text(path, json.dumps(config, indent=2) + "\n")
