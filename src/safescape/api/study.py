"""`study finetuning`: how many harmful examples break a model, and whether refusals among them keep it whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from safescape import views
from safescape.api.compare import compare
from safescape.api.execution import Measuring
from safescape.api.finetune import check_trainable, finetune
from safescape.api.path import path
from safescape.api.run import Run
from safescape.api.scan import scan
from safescape.errors import InputError
from safescape.finetuning import Finetuned, Step, conversations_of
from safescape.landscape import Metric, rate_of
from safescape.options import MeasureOptions, StudyOptions, takes
from safescape.probes import load_set
from safescape.store import write_text


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


class _Arguments(StudyOptions, Measuring):
    """The arguments of `study_finetuning`."""

    on_stage: Callable[[str], None] | None = None
    """Called with the name of each stage."""
    on_step: Callable[[Step], None] | None = None
    """Called after every step of training."""


@takes(_Arguments)
def study_finetuning(options: _Arguments) -> Study:
    """Run the paper's finetuning study (arXiv 2405.17374, section 4), or resume it.

    The model's random landscape is measured; then, for each number of shots, it is finetuned on that many harmful
    requests with affirmative openings, and the line to the finetune is measured, its epochs' checkpoints on it. The
    directory holds the landscapes, the finetunes, study.json, study.md and the pictures.

    Raises:
        InputError: an argument cannot be used, or a request of the training data is among the prompts.
        RunError: a run or a training could not be finished.

    """
    model, data, skip = options.model, options.data, options.skip
    directory, shots = Path(options.out or "runs/study"), tuple(dict.fromkeys(options.shots))
    plan = [(f"{k} harmful", "harmful", k) for k in shots]
    if not plan:
        raise InputError("--shots: expected at least one number")
    if options.mixed:
        plan.append((f"{max(shots)} harmful + {max(shots)} refusals", "mixed", max(shots)))
    given = load_set(options.prompts, options.limit or options.preset.limit)
    asked = {*given.prompts, *(given.goals or ())}
    for _, recipe, k in plan:
        for row, messages in conversations_of(data, recipe, shots=k, skip=skip):
            if any(message.content in asked for message in messages):
                raise InputError(
                    f"--data {data}: row {row} is taught and is among the prompts that are asked; leave it out "
                    "with --skip, or ask fewer with --limit"
                )
    # the GPUs of a Ray cluster are not those of this machine, which trains
    is_elsewhere = options.ray is not None and options.device != "cpu"
    device = check_trainable(None if is_elsewhere else options.device)
    measuring = options.model_dump(include={*MeasureOptions.model_fields, "on_progress"})
    alike = {"chat_template", "chat_template_name", "template_vars"}
    training = options.model_dump(include={"data", "skip", "epochs", "learning_rate", "seed", "on_step"} | alike)
    on_stage = options.on_stage or (lambda stage: None)
    on_stage("random landscape before")
    before = scan(model, **{**measuring, "seed": options.seed, "out": directory / "before"})
    arms = []
    for name, recipe, k in plan:
        on_stage(f"finetune: {name}")
        out = directory / f"{recipe}-{k}"
        made = finetune(model, **{**training, "recipe": recipe, "shots": k, "device": device, "out": out})
        on_stage(f"landscape to it: {name}")
        line = {**measuring, "steps": options.steps, "out": directory / f"path-{recipe}-{k}"}
        run = path(model, str(made.directory), through=[str(each) for each in made.checkpoints], **line)
        arms.append(Arm(name, made, run))
    study = Study(directory, before, tuple(arms))
    document = _document(study)
    write_text(directory / "study.json", json.dumps(document, indent=1) + "\n")
    write_text(directory / "study.md", views.study_text(document))
    if len(arms) > 1:
        compare([arm.run.directory for arm in arms], out=directory / "compared")
    return study


def _document(study: Study) -> dict[str, Any]:
    """The content of study.json."""
    metrics, survey = study.before.landscape.metrics, study.before.survey
    return {
        "schema": 1,
        "model": survey.model,
        "prompts": survey.prompts.source,
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
    return metric.model_dump(include={"value", "low", "high", "at_least", "about"})


def _asr(run: Run, alpha: float) -> dict[str, float]:
    """The ASR at the origin, or at the other model."""
    first = run.survey.prompts.name
    at = next(p for p in run.points if p.coords == (alpha,) and p.probe == first and p.line in (None, 0))
    assert at.count is not None
    return {"n": at.n, **rate_of(at.count, at.n)._asdict()}
