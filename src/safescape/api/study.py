"""`study finetuning`: how many harmful examples break a model, and whether refusals among them keep it whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from safescape import views
from safescape.api.compare import compare
from safescape.api.finetune import finetune
from safescape.api.options import Asking, preset_of
from safescape.api.path import path
from safescape.api.run import Run
from safescape.api.scan import scan
from safescape.errors import InputError
from safescape.finetuning import Finetuned, Step, conversations_of
from safescape.landscape import Metric, wilson
from safescape.probes import load_prompts
from safescape.store import write_text

__all__ = ["Arm", "Study", "study_finetuning"]


class Arm(NamedTuple):
    """One finetune of a study, and the line from the model to it."""

    name: str
    """`10 harmful`, `100 harmful + 100 refusals`."""
    finetuned: Finetuned
    run: Run


class Study(NamedTuple):
    """A model before, and after each finetune."""

    directory: Path
    before: Run
    """Its random landscape."""
    arms: tuple[Arm, ...]


def study_finetuning(
    model: str,
    *,
    data: str,
    shots: Sequence[int] = (10, 50, 100),
    mixed: bool = False,
    skip: int = 0,
    epochs: int = 5,
    learning_rate: float = 5e-5,
    seed: int = 0,
    steps: int = 10,
    on_stage: Callable[[str], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    **asking: Unpack[Asking],
) -> Study:
    """Make the paper's finetuning study (arXiv 2405.17374, section 4), or go on with it.

    The model's random landscape is measured; then, for each number of shots, it is finetuned on so many harmful
    requests with affirmative openings, and the line to the finetune is measured, its epochs' checkpoints on it.

    Args:
        model: A model, as for `scan`.
        data: Harmful requests with affirmative openings, as for `finetune`.
        shots: Numbers of harmful examples.
        mixed: Also the largest number of them with as many refusals of other requests.
        skip: Rows of the data to leave out first, so that nothing is asked that was taught.
        epochs: As for `finetune`, and so on.
        learning_rate: In the first epoch.
        seed: Of the examples' order, and of the first random direction.
        steps: From the model to each finetune.
        on_stage: Told what begins.
        on_step: Told after every step of training.
        asking: What is asked everywhere, and how; see `Asking`. `out` is a directory for the whole study: the
            landscapes, the finetunes, study.json, study.md and the pictures; by default `runs/study`.

    Raises:
        InputError: something given cannot be used, or a request that is taught is asked as well.
        RunError: a run or a training could not go on.

    """
    directory = Path(asking.pop("out", None) or "runs/study")
    plan = [(f"{k} harmful", "harmful", k) for k in dict.fromkeys(shots)]
    if not plan:
        raise InputError("--shots: expected at least one number")
    if mixed:
        plan.append((f"{max(shots)} harmful + {max(shots)} refusals", "mixed", max(shots)))
    limit = asking.get("limit")
    asked = set(
        load_prompts(asking.get("prompts", "builtin:harmful"), preset_of(asking).limit if limit is None else limit)
    )
    for _, recipe, k in plan:
        for row, messages in conversations_of(data, recipe, shots=k, skip=skip):
            if any(message.content in asked for message in messages):
                raise InputError(
                    f"--data {data}: row {row} is taught and is among the prompts that are asked; leave it out "
                    "with --skip, or ask fewer with --limit"
                )
    say = on_stage or (lambda stage: None)
    say("random landscape before")
    asking["out"] = directory / "before"
    before = scan(model, seed=seed, **asking)
    arms = []
    for name, recipe, k in plan:
        label = f"{recipe}-{k}"
        say(f"finetune: {name}")
        made = finetune(
            model,
            out=directory / label,
            data=data,
            recipe=recipe,
            shots=k,
            skip=skip,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            on_step=on_step,
        )
        say(f"landscape to it: {name}")
        asking["out"] = directory / f"path-{label}"
        run = path(
            model,
            str(made.directory),
            steps=steps,
            through=[str(checkpoint) for checkpoint in made.checkpoints],
            **asking,
        )
        arms.append(Arm(name, made, run))
    study = Study(directory, before, tuple(arms))
    document = _document(model, study)
    write_text(directory / "study.json", json.dumps(document, indent=1) + "\n")
    write_text(directory / "study.md", views.study_table(document))
    if len(arms) > 1:
        compare([arm.run.directory for arm in arms], out=directory / "compared")
    return study


def _document(model: str, study: Study) -> dict[str, Any]:
    metrics = study.before.landscape.metrics
    return {
        "schema": 1,
        "model": model,
        "prompts": study.before.survey.prompts.source,
        "before": {
            "asr": _asr(study.before, 0.0),
            "visage": _metric(metrics["visage"]),
            "radius": _metric(metrics["basin_radius"]),
        },
        "arms": [
            {
                "name": arm.name,
                "directory": str(arm.finetuned.directory),
                "run": str(arm.run.directory),
                "steps": arm.finetuned.steps,
                "losses": arm.finetuned.losses,
                "asr": _asr(arm.run, 1.0),
                "edge": _metric(arm.run.landscape.edge),
            }
            for arm in study.arms
        ],
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return metric.model_dump(include={"value", "low", "high", "at_least"})


def _asr(run: Run, alpha: float) -> dict[str, float]:
    """The ASR at the origin, or at the other model."""
    first = run.survey.prompts.name
    at = next(p for p in run.points if p.coords == (alpha,) and p.probe == first and p.line in (None, 0))
    assert at.count is not None
    low, high = wilson(at.count, at.n)
    return {"n": at.n, "value": 100.0 * at.count / at.n, "low": low, "high": high}
