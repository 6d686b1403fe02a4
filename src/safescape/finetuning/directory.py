"""The directory of a finetune: whose it is, which checkpoints in it are whole, and when it is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safescape.errors import InputError
from safescape.finetuning.specification import Finetune, Finetuned
from safescape.store import write_text

__all__ = ["checkpoints", "claim", "finish", "finished", "forget_optimizer", "latest", "name_base"]

_SPECIFICATION, _DONE = "finetune.json", "training.json"


def claim(directory: Path, finetune: Finetune) -> None:
    """Begin a finetune in an empty directory, or go on with the same one.

    Raises:
        InputError: the directory holds something else.

    """
    path = directory / _SPECIFICATION
    others = sorted(child.name for child in directory.iterdir() if child.name not in (".lock", _SPECIFICATION))
    if path.exists() and others:
        try:
            there = Finetune.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: is no finetune of this version; give another directory with --out") from error
        if found := finetune.differences(there):
            raise InputError(f"{directory}: holds another finetune ({'; '.join(found[:3])}); give a new one with --out")
    elif others:
        raise InputError(f"{directory}: already holds {others[0]}; give a new directory with --out")
    else:
        write_text(path, finetune.model_dump_json(indent=1) + "\n")


def finish(directory: Path, finetune: Finetune, losses: Sequence[float]) -> None:
    """Write down that a finetune is done, and free the disk of what only an unfinished one needs.

    Args:
        directory: The finetune's.
        finetune: What decided it.
        losses: Of every step.

    """
    each = finetune.steps_per_epoch
    summary = {
        "steps": len(losses),
        "stopped_at": len(losses) if len(losses) < each * finetune.epochs else None,
        "losses": [sum(part) / len(part) for at in range(0, len(losses), each) if (part := losses[at : at + each])],
    }
    write_text(directory / _DONE, json.dumps(summary, indent=1) + "\n")
    for path in (directory, *checkpoints(directory)):
        forget_optimizer(path)
        # a pickle, which the Trainer leaves beside the weights and nobody reads
        (path / "training_args.bin").unlink(missing_ok=True)


def finished(directory: Path) -> Finetuned | None:
    """Return a finetune that is done; None if it is not."""
    path = directory / _DONE
    if not path.exists():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    return Finetuned(
        directory, checkpoints(directory), summary["steps"], tuple(summary["losses"]), summary["stopped_at"]
    )


def checkpoints(directory: Path) -> tuple[Path, ...]:
    """Return the checkpoints in the order of their steps."""
    found = [path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    return tuple(sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-"))))


def latest(directory: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end; remove what a killed process left behind."""
    whole = None
    for path in checkpoints(directory):
        try:
            # the Trainer writes this file last
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path)
            continue
        whole = path
    return whole


def forget_optimizer(checkpoint: Path) -> None:
    """Remove the optimizer's state, which is twice the size of the model, where nothing goes on from any more."""
    for name in ("optimizer.pt", "scheduler.pt", "scaler.pt"):
        (checkpoint / name).unlink(missing_ok=True)


def name_base(directory: Path, base: str) -> None:
    """Let an adapter name its base as the user did: `demo`, say, which no directory is without its own adapter."""
    path = directory / "adapter_config.json"
    if path.exists():
        config = json.loads(path.read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = base
        write_text(path, json.dumps(config, indent=2) + "\n")
