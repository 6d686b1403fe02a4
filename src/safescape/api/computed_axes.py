"""`scan --direction`: the axis along a computed direction, from what the user typed, and the finetunes behind some."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, cast

from safescape.api.finetune import check_trainable
from safescape.errors import InputError
from safescape.finetuning import Conversation, Finetune, conversations_of, digest
from safescape.finetuning.directory import sha256_of
from safescape.measure import shipped_requests, tokenizer_of_model
from safescape.options import FinetuneOptions, ScanOptions, each_of
from safescape.probes import PromptSet, load_prompts, load_set, margin_probe
from safescape.probes import system_prompt as system_prompt_text
from safescape.survey import (
    ComputedAxis,
    Difference,
    Gradient,
    MarginProbe,
    PromptProbe,
    Removal,
    Survey,
    Training,
    Worst,
)
from safescape.weights import Model, inspect, resolve

_SPANS = {"gradient": 0.0005, "refusal": 1.0, "toward": 0.02, "away": 0.02, "harmful": 0.0005, "benign": 0.002}
"""The spans of computed directions. Along a gradient safety is lost some hundred times nearer than in a random
direction, and not much farther along a short finetune; at 1 the refusal direction is removed. That of `worst` is twice
its radius."""
_FORMS = (
    "random, gradient[:PROMPTS], worst:RADIUS, refusal[:PROMPTS], toward:MODEL, away:MODEL, harmful:DATA or "
    "benign[:DATA]"
)
_FEWEST_PROMPTS, _MOST_PROMPTS = 6, 32
"""Number of prompts that a direction is computed from: at least for the removal of refusals, and at most."""
_WORST_STEPS, _MOST_CHANGED = 10, 0.1
"""Of the search for the worst move: its steps, and how many nats the next token after harmless prompts may change."""
_EXAMPLES = 10
"""Number of examples of a finetune: as many as break a model in the paper."""


def span_of(direction: str) -> float:
    """Return how far the line along a direction goes by default, on both sides.

    Raises:
        InputError: there is no such direction, or what it needs is missing.

    """
    name, colon, source = direction.partition(":")
    needs_source = name in ("worst", "toward", "away", "harmful")
    if name not in (*_SPANS, "worst") or (colon and not source) or (needs_source and not source):
        raise InputError(f"--direction {direction}: no such direction; expected {_FORMS}")
    return 2.0 * _radius(direction) if name == "worst" else _SPANS[name]


def _radius(direction: str) -> float:
    given = direction.partition(":")[2]
    try:
        radius = float(given)
    except ValueError:
        radius = 0.0
    if not 0.0 < radius < math.inf:
        raise InputError(
            f"--direction {direction}: expected a distance above 0 after the colon, for example worst:0.0001"
        )
    return radius


def axis_along(options: ScanOptions, model: Model, span: float, steps: int) -> ComputedAxis:
    """Return the axis along the direction that `options` name, not computed yet.

    Args:
        options: Of the scan.
        model: The origin.
        span: The line goes so far on both sides.
        steps: Of the line.

    Raises:
        InputError: what the direction is computed from cannot be read, or is measured too.

    """
    name, _, source = options.direction.partition(":")
    recipe: Gradient | Removal | Worst | Difference | Training
    if name in ("gradient", "worst", "refusal"):
        recipe = _by_prompts(options, name, source)
    elif name in ("toward", "away"):
        other = resolve(source, trust_remote_code=options.trust_remote_code)
        recipe = Difference(
            given=options.direction,
            model=other.name,
            model_fingerprint=inspect(other.weights),
            away=name == "away",
        )
    else:
        recipe = _training(options, cast("Literal['harmful', 'benign']", name), source or None)
    norm: Literal["layer", "none"] = "none" if isinstance(recipe, Removal) else "layer"
    return ComputedAxis(recipe=recipe, norm=norm, span=span, steps=steps, only=options.only)


def train(survey: Survey, model: Model, recipe: Training, directory: Path) -> None:
    """Finetune a survey's model by a recipe, and write the finetune into an empty directory.

    Raises:
        InputError: the extra is not installed, the data has changed, or does not fit the model.
        RunError: the loss became NaN.

    """
    given = f"--direction {recipe.given}"
    conversations = _examples(recipe.data, survey.prompts, given)[: recipe.examples]
    if digest(conversations) != recipe.taught:
        raise InputError(f"{given}: its data was changed since the run was begun; begin another with --out DIR")
    try:
        from safescape.finetuning.training import train as trained
    except ModuleNotFoundError as error:
        raise InputError(f"{given}: needs {error.name}; pip install 'safescape[finetuning]'") from error
    tokenizer = tokenizer_of_model(
        model, chat_template=survey.chat_template, trust_remote_code=survey.trust_remote_code
    )
    specification = Finetune(
        model=model.name,
        model_fingerprint=survey.model_fingerprint,
        data=recipe.given,
        taught=recipe.taught,
        examples=recipe.examples,
        epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        device=check_trainable(survey.device),
        chat_template=sha256_of(tokenizer.get_chat_template()),
        template_vars=dict(survey.template_vars),
    )
    trained(specification, model, conversations, tokenizer, directory)


def _by_prompts(options: ScanOptions, name: str, source: str) -> Gradient | Removal | Worst:
    given = f"--direction {options.direction}"
    margin = _prompts_of(options, "" if name == "worst" else source, given).model_copy(update={"name": name})
    number = len(margin.prompts)
    if name == "gradient":
        return Gradient(given=options.direction, margin=margin, prompts=number)
    harmless = PromptProbe(
        name=f"{name}, harmless",
        source="the package",
        harmful=False,
        system_prompt=margin.system_prompt,
        prompts=shipped_requests(),
    )
    made_of = {"given": options.direction, "margin": margin, "harmless": harmless, "prompts": number}
    if name == "worst":
        bounds = {"radius": _radius(options.direction), "steps": _WORST_STEPS, "max_change": _MOST_CHANGED}
        return Worst.model_validate({**made_of, **bounds})
    if number < _FEWEST_PROMPTS:
        raise InputError(
            f"{given}: {number} harmful prompts are left for it, expected at least {_FEWEST_PROMPTS}; lower "
            "--limit, or give refusal:PROMPTS"
        )
    return Removal.model_validate(made_of)


def _prompts_of(options: ScanOptions, source: str, given: str) -> MarginProbe:
    """Return the prompts that a direction is computed from: those given, else those after the measured ones."""
    limit = options.limit or options.preset.limit
    measured = load_prompts(options.prompts, limit)
    system = system_prompt_text((each_of(options.system_prompt) or ("default",))[0])
    if source:
        margin = margin_probe(f"margin:{source}", _MOST_PROMPTS, system, options.openings, flag=given)
        if both := set(margin.prompts) & set(measured):
            raise InputError(
                f"{given}: {len(both)} of its prompts are measured too, {min(both)[:60]!r} among them; give others, so "
                "that the direction is not made of what it is measured by"
            )
        return margin
    most = None if limit is None else limit + _MOST_PROMPTS
    margin = margin_probe(f"margin:{options.prompts}", most, system, options.openings, flag=given)
    left = [prompt for prompt in margin.prompts[len(measured) :] if prompt not in measured]
    if not left:
        raise InputError(
            f"{given}: {options.prompts} has no prompts after the {len(measured)} that are measured; lower "
            f"--limit, or give {options.direction.partition(':')[0]}:PROMPTS"
        )
    return margin.model_copy(update={"prompts": tuple(left)})


def _training(options: ScanOptions, name: Literal["harmful", "benign"], data: str | None) -> Training:
    given = f"--direction {options.direction}"
    measured = load_set(options.prompts, options.limit or options.preset.limit)
    conversations = _examples(data, measured, given)[:_EXAMPLES]
    usual = FinetuneOptions.model_fields
    return Training(
        given=options.direction,
        examples_are=name,
        data=data,
        taught=digest(conversations),
        examples=len(conversations),
        epochs=usual["epochs"].default,
        learning_rate=usual["learning_rate"].default,
        batch_size=usual["batch_size"].default,
    )


def _examples(data: str | None, measured: PromptSet | PromptProbe, given: str) -> list[Conversation]:
    """Return the conversations of some data, without those whose requests are measured, as such or by an attack."""
    try:
        every = conversations_of(data, None if data is not None else "benign")
    except InputError as error:
        raise InputError(f"{given}: {str(error).removeprefix('--data ')}") from error
    asked = {*measured.prompts, *(measured.goals or ())}
    left = [each for each in every if not any(message.content in asked for message in each.messages)]
    if not left:
        raise InputError(
            f"{given}: the requests of all {len(every)} examples are measured too; give others, so that the direction "
            "is not made of what it is measured by"
        )
    return left
