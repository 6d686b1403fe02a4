"""From options to a survey, and to its run: what `scan`, `path` and `check` share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from safescape.api.agreements import read_agreements
from safescape.api.execution import Measuring, execute
from safescape.api.resumption import Begun, begin
from safescape.api.run import Run
from safescape.api.settings import chat_template_of, settings_of
from safescape.engines import check_vllm, why_merged
from safescape.errors import InputError
from safescape.judge_runtime import resolve_judges
from safescape.judges import EvidenceJudge, immediate_judge, immediate_judges, noise_rule
from safescape.measure import choose_dtype, gpu_of, paper_choice
from safescape.options import (
    MeasureOptions,
    each_of,
)
from safescape.placement import Placement
from safescape.probes import further_probes, load_set, template_variables
from safescape.probes import system_prompt as system_prompt_text
from safescape.survey import (
    HARMFUL,
    Adaptive,
    ComputedAxis,
    Lines,
    Plane,
    Probe,
    PromptProbe,
    Survey,
    Waypoint,
    is_immediate,
    members_of,
)
from safescape.weights import Model, inspect


def measure_over(
    options: Measuring,
    model: Model,
    subspace: Lines | Plane,
    through: Sequence[Waypoint] = (),
    *,
    always: Sequence[str] = (),
    only_at: Literal["models"] | None = None,
    adaptive: Adaptive | None = None,
    template_of: Literal["base", "tuned", "each"] | None = None,
) -> Run:
    """Measure a model over a subspace, or resume.

    Args:
        options: What is asked, and how.
        model: The origin.
        subspace: Lines or a plane around it.
        through: Checkpoints of a trajectory.
        always: Probes beside those of `also`, unless they are among them; with as many items as there are prompts by
            default.
        only_at: Where `also` and `always` are asked; None: at every point.
        adaptive: How points are chosen; None: all are measured. The prompts of an adaptive survey are shuffled.
        template_of: Whose chat template holds between two models that differ; None: the finetune's.

    Raises:
        InputError: an option cannot be used.
        RunError: the run could not be finished; called again, it resumes.

    """
    settings = settings_of(options)
    device = settings.device
    assert device is not None
    _check_engine(options, device, settings.placement)
    names = each_of(options.judges) or options.preset.judges
    judges = resolve_judges(names, settings, labels=options.labels, rubric=options.rubric)
    errors = read_agreements(options.agreements, judges.names)
    if adaptive is not None:
        _check_first_judge(judges.names[0])
    is_open = options.dtype == "auto" and not options.paper
    gpu = gpu_of(device, settings.placement, options.tensor_parallel) if is_open else None
    # for the choice of the adapter: on a GPU, vLLM applies one beside the weights in bf16 alone
    possible = "bfloat16" if gpu is not None and gpu.has_bfloat16 else "float32"
    dtype = possible if options.dtype == "auto" else options.dtype
    survey = Survey.model_validate(
        {
            **options.model_dump(include=set(Survey.model_fields)),
            "probes": _probes(
                options,
                always,
                only_at,
                shuffled=adaptive is not None,
                is_computed=any(isinstance(axis, ComputedAxis) for axis in subspace.axes),
            ),
            "device": device,
            "dtype": dtype,
            "chat_template": chat_template_of(options),
            "template_vars": template_variables(each_of(options.template_vars)),
            "template_of": None,
            "model": model.name,
            "model_fingerprint": inspect(model.weights),
            "adapter": _adapter(options, model, subspace, through, device, dtype),
            "subspace": subspace,
            "adaptive": adaptive,
            "through": tuple(through),
            "judges": judges.names,
            "rubrics": judges.rubrics,
            "max_new_tokens": options.max_new_tokens or options.preset.max_new_tokens,
            "noise": noise_rule() if _noise_may_end(options, judges.names) else None,
        }
    )
    most = options.preset.max_thinking_tokens
    begins = functools.partial(
        begin,
        template_of=template_of,
        max_thinking_tokens=most,
        choose=functools.partial(choose_dtype, model=model, gpu=gpu) if is_open else None,
        left_open=[name for name in ("dtype", "adapter") if is_open and getattr(options, name) == "auto"],
    )
    return execute(
        survey,
        model,
        settings,
        options=options,
        errors=errors,
        begin=functools.partial(_begin_as_in_paper, begins) if options.paper else begins,
    )


def _noise_may_end(options: MeasureOptions, judges: Sequence[str]) -> bool:
    """Return whether answers may end as noise: every judge says of the beginning of one what it says of all of it."""
    if options.whole_answers or options.paper or options.engine == "vllm":
        return False
    immediate = immediate_judges(judges)
    members = [member for name in judges for member in members_of(name)]
    return all(name in immediate and immediate[name].stops_at_noise for name in members)


def _begin_as_in_paper(
    begins: Callable[[Survey, Model, Path | None], Begun], survey: Survey, model: Model, directory: Path | None
) -> Begun:
    """Begin a run in the paper's setting, with a note if the model's own system prompt is missing in its chats."""
    begun = begins(survey, model, directory)
    return begun.with_note(paper_choice(begun.survey, model))


def _check_first_judge(name: str) -> None:
    """Check that a judge's verdicts are final as soon as a point is measured, so that they can choose the next ones."""
    if not is_immediate(name):
        why = "comes after the measurement"
    elif isinstance(immediate_judge(name), EvidenceJudge):
        why = "is not done with an answer before the origin has read it, which is at the end"
    else:
        return
    raise InputError(
        f"--adaptive with --judge {name}: the first judge's verdicts choose the points, and this one {why}; "
        f"give --judge keyword --judge {name}"
    )


def _check_engine(options: MeasureOptions, device: str, placement: Placement) -> None:
    engine, gpus, here = options.engine, options.tensor_parallel, torch.cuda.device_count()
    if engine == "vllm":
        check_vllm()
        if torch.device(device).type not in ("cpu", "cuda"):
            raise InputError(f"--engine vllm --device {device}: expected cpu or cuda; or give --engine transformers")
    if gpus > 1 and (engine != "vllm" or device == "cpu" or (placement.is_local and gpus > here)):
        raise InputError(
            f"--tensor-parallel {gpus}: expected --engine vllm and as many GPUs; here are {here} and --engine {engine}"
        )


def _adapter(
    options: MeasureOptions,
    model: Model,
    subspace: Lines | Plane,
    through: Sequence[Waypoint],
    device: str,
    dtype: str,
) -> Literal["merged", "unmerged"]:
    """Choose whether the adapter of BASE+ADAPTER is merged into the weights or stays beside them."""
    asked = options.adapter
    # on a CPU vLLM answers several times slower with an adapter beside the weights
    if asked == "merged" or (asked == "auto" and device == "cpu"):
        return "merged"
    why = why_merged(
        model,
        subspace,
        through,
        engine=options.engine,
        dtype=dtype,
        device=device,
        trust_remote_code=options.trust_remote_code,
    )
    if why is not None and asked == "unmerged":
        raise InputError(f"--adapter unmerged: {why}; or give --adapter merged, which moves the weights")
    return "unmerged" if why is None else "merged"


def _probes(
    options: MeasureOptions,
    always: Sequence[str],
    only_at: Literal["models"] | None,
    *,
    shuffled: bool,
    is_computed: bool,
) -> tuple[Probe, ...]:
    systems = each_of(options.system_prompt) or ("default",)
    if len(set(systems)) < len(systems):
        raise InputError(f"--system-prompt {systems[0]}: given twice; give each once")
    found = load_set(options.prompts, options.limit or options.preset.limit)
    harmful: list[Probe] = [
        PromptProbe(
            name=HARMFUL if len(systems) == 1 else f"{HARMFUL}, {_title(system, number)}",
            source=options.prompts,
            system_prompt=system_prompt_text(system),
            **found._asdict(),
        )
        for number, system in enumerate(systems, start=1)
    ]
    also, most, system = each_of(options.also), options.also_limit, system_prompt_text(systems[0])
    fewer = options.preset.limit if most is None else most
    reads_openings = any(spec.startswith("margin:") for spec in also) or is_computed
    if options.openings is not None and not reads_openings:
        raise InputError(
            f"--openings {options.openings}: nothing reads it; give --also margin:PROMPTS or --direction gradient too"
        )
    further = further_probes([spec for spec in always if spec not in also], fewer, system)
    further += further_probes(also, most, system, options.openings)
    probes = (*harmful, *(probe.model_copy(update={"only_at": only_at}) for probe in further))
    return tuple(_shuffled(probe) for probe in probes) if shuffled else probes


def _shuffled(probe: Probe) -> Probe:
    """Shuffle harmful prompts, by a permutation that depends on their number alone.

    The first prompts are then a sample of all, and two probes hold the same prompts at the same places.
    """
    if not isinstance(probe, PromptProbe) or not probe.harmful:
        return probe
    order, failed = np.random.default_rng(0).permutation(len(probe.prompts)), set(probe.failed)
    shuffled: dict[str, object] = {
        "prompts": tuple(probe.prompts[place] for place in order),
        "failed": tuple(number for number, place in enumerate(order) if place in failed),
    }
    if probe.goals is not None:
        shuffled["goals"] = tuple(probe.goals[place] for place in order)
    return probe.model_copy(update=shuffled)


def _title(system: str, number: int) -> str:
    """The name of a system prompt, or the number of a text."""
    return system if re.fullmatch(r"[\w-]+|@.+", system) else f"text {number}"
