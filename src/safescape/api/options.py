"""What every measuring command is told beside its models and its subspace: what is asked, and how."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
import torch

from safescape.api.run import Run, execute
from safescape.engines import check_vllm, why_merged
from safescape.errors import InputError
from safescape.judge_runtime import JudgeSettings, resolve_judges
from safescape.judges import EvidenceJudge, immediate_judge
from safescape.landscape import SAFE_BELOW
from safescape.measure import Progress
from safescape.placement import Placement, check_placement
from safescape.probes import further_probes, load_prompts
from safescape.probes import system_prompt as system_prompt_text
from safescape.survey import (
    DEFAULT,
    PAPER,
    QUICK,
    Adaptive,
    Lines,
    Plane,
    Preset,
    Probe,
    PromptProbe,
    Survey,
    Waypoint,
    is_immediate,
)
from safescape.weights import Model, inspect

__all__ = ["Asking", "device_of", "preset_of", "read_text", "run_over"]


class Asking(TypedDict, total=False):
    """What is asked at every point, and how; the keywords that `scan` and `path` share."""

    out: str | Path | None
    """The run directory; by default `runs/MODEL-HASH`, the hash being the survey's."""
    prompts: str
    """`builtin:harmful`, `file.csv:column`, `file.jsonl:key`, `hf:dataset/id:split:column`, or a JailbreakBench
    artifact file."""
    limit: int | None
    """How many of the prompts, from the first; 80 by default."""
    system_prompt: str | Sequence[str]
    """`default` (the chat template's own), `empty`, `roleplay`, `llama2`, `@file`, or a text; several make one
    landscape each, on the same directions and points."""
    also: Sequence[str]
    """Asked at the same points: `over-refusal:PROMPTS`, `attack:PROMPTS`, `choice:TEST.csv[:DEV.csv]`,
    `perplexity:PROMPTS`, `lm-eval:TASK`."""
    also_limit: int | None
    """How many items of each of those, from the first; all by default."""
    judges: Sequence[str]
    """`keyword`, `refusal`, a guard model such as `llama-guard-3`, `hf:ID`, `openai:MODEL`, `package.module:object`, or
    a panel such as `majority(keyword,refusal)`. The figures are as the first one sees them. By default `keyword` and
    `refusal`; with `paper`, `keyword`."""
    labels: str | None
    """What the labels of a judge `hf:ID` mean: `LABEL=OUTCOME,LABEL=OUTCOME`."""
    rubric: str | None
    """What a judge `openai:MODEL` goes by: `strongreject`, `policy`, or a text file."""
    max_requests: int | None
    """The most requests that it may send."""
    engine: str
    """`transformers` (the default) or `vllm`, which holds the live model and answers."""
    tensor_parallel: int
    """How many GPUs share one model; for vLLM."""
    adapter: str
    """On the line to BASE+ADAPTER, for vLLM. `unmerged`: the base stays, and several points answer in one batch, each
    with its scaled adapter; `merged`: weights are moved; `auto`, the default: on a GPU unmerged where it can be, else
    merged."""
    dtype: str
    """`float32` or `bfloat16`, of the live weights."""
    device: str | None
    """`cpu`, `cuda`, `cuda:1`; by default the first GPU if there is one."""
    max_new_tokens: int | None
    """The most tokens of an answer; 128 by default."""
    whole_answers: bool
    """Write every answer to its end, also when the judge could already tell."""
    batch_size: int
    """The most answers decoded together."""
    chat_template: str | Path | None
    """A file with a Jinja chat template, used instead of the tokenizer's."""
    trust_remote_code: bool
    """Let the model bring its own code."""
    safe_below: float
    """The ASR, in percent, up to which a point counts as safe."""
    quick: bool
    """Defaults for a first look: 1 direction, 40 prompts, 48 tokens."""
    paper: bool
    """The paper's exact setting: fp32, 512 tokens, 80 prompts, 3 directions."""
    on_progress: Callable[[Progress], None] | None
    """Told after every point."""
    workers: int | None
    """How many engines measure side by side, each in a process of its own, on a Ray that is started for it; by default
    one, in this process. Where a run is measured changes nothing in it, and it may be resumed elsewhere."""
    ray: str | None
    """A Ray to measure on, instead: `auto` or HOST:PORT; with `workers` on so many, else on as many as have room."""
    gpus_per_worker: float | None
    """How many GPUs each of them is given, or what share of one; 1 by default where the device is `cuda`."""


def preset_of(asking: Asking) -> Preset:
    """Return the defaults that `quick` and `paper` choose.

    Raises:
        InputError: both are given.

    """
    quick, paper = asking.get("quick", False), asking.get("paper", False)
    if quick and paper:
        raise InputError("--quick and --paper exclude each other; give one of them")
    return QUICK if quick else PAPER if paper else DEFAULT


def run_over(
    model: Model,
    subspace: Lines | Plane,
    through: Sequence[Waypoint] = (),
    *,
    always: Sequence[str] = (),
    only_at: Literal["models"] | None = None,
    adaptive: Adaptive | None = None,
    **asking: Unpack[Asking],
) -> Run:
    """Measure a model over a subspace, or resume.

    Args:
        model: The origin.
        subspace: Around it.
        through: Checkpoints of a trajectory.
        always: Asked beside what stands in `also`, unless it stands there too; by default as many items of each as
            there are prompts by default.
        only_at: Where those and `also` are asked; None: at every point.
        adaptive: How points are chosen, if not all are measured. The prompts are then put into an order of their own.
        asking: What is asked, and how.

    Raises:
        InputError: something given cannot be used.
        RunError: the run could not go on; called again, it resumes.

    """
    preset = preset_of(asking)
    tokens = asking.get("max_new_tokens")
    tokens = preset.max_new_tokens if tokens is None else tokens
    batch_size, dtype = asking.get("batch_size", 128), asking.get("dtype", "float32")
    if tokens < 1:
        raise InputError(f"--max-new-tokens {tokens}: expected at least 1")
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: expected at least 1")
    if dtype not in ("float32", "bfloat16"):
        raise InputError(f"--dtype {dtype}: expected float32 or bfloat16")
    settings = JudgeSettings(device=asking.get("device"), max_requests=asking.get("max_requests"))
    judges = resolve_judges(
        asking.get("judges") or preset.judges, settings, labels=asking.get("labels"), rubric=asking.get("rubric")
    )
    if adaptive is not None:
        _check_first_judge(judges.names[0])
    template = asking.get("chat_template")
    gpus = asking.get("tensor_parallel", 1)
    each = asking.get("gpus_per_worker")
    workers, ray = asking.get("workers"), asking.get("ray")
    placement = Placement(workers, ray, each)
    device = asking.get("device")
    device = device_on(placement, device)
    engine = _engine(asking.get("engine", "transformers"), gpus, device, placement)
    check_placement(placement, device, gpus)
    survey = Survey.model_validate(
        {
            "probes": _probes(preset, asking, always, only_at, shuffled=adaptive is not None),
            "device": device,
            "chat_template": None if template is None else read_text(Path(template), "--chat-template"),
            "model": model.name,
            "model_fingerprint": inspect(model.weights),
            "trust_remote_code": asking.get("trust_remote_code", False),
            "engine": engine,
            "tensor_parallel": gpus,
            "adapter": _adapter(asking.get("adapter", "auto"), model, subspace, through, engine, dtype, device),
            "dtype": dtype,
            "subspace": subspace,
            "adaptive": adaptive,
            "through": tuple(through),
            "judges": judges.names,
            "rubrics": judges.rubrics,
            "max_new_tokens": tokens,
            "whole_answers": asking.get("whole_answers", False),
            "batch_size": batch_size,
        }
    )
    return execute(
        survey,
        model,
        out=asking.get("out"),
        safe_below=asking.get("safe_below", SAFE_BELOW),
        on_progress=asking.get("on_progress"),
        judge_settings=settings._replace(device=device, placement=placement),
        placement=placement,
    )


def _check_first_judge(name: str) -> None:
    """Find out that a judge's verdicts are there, and are final, when the next points are chosen by them."""
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


def _engine(engine: str, gpus: int, device: str, placement: Placement) -> str:
    """Find out what can be known of an engine before anything is made."""
    if engine not in ("transformers", "vllm"):
        raise InputError(f"--engine {engine}: expected transformers or vllm")
    if gpus < 1:
        raise InputError(f"--tensor-parallel {gpus}: expected at least 1")
    if engine == "vllm":
        check_vllm()
    here = torch.cuda.device_count()
    if gpus > 1 and (engine != "vllm" or device == "cpu" or (placement.is_local and gpus > here)):
        raise InputError(
            f"--tensor-parallel {gpus}: expected --engine vllm and as many GPUs; here are {here} and --engine {engine}"
        )
    return engine


def _adapter(
    asked: str,
    model: Model,
    subspace: Lines | Plane,
    through: Sequence[Waypoint],
    engine: str,
    dtype: str,
    device: str,
) -> Literal["merged", "unmerged"]:
    """Choose where the adapter of BASE+ADAPTER is: beside the weights, or in them."""
    if asked not in ("auto", "merged", "unmerged"):
        raise InputError(f"--adapter {asked}: expected auto, merged or unmerged")
    # on a CPU vLLM answers several times slower with an adapter beside the weights
    if asked == "merged" or (asked == "auto" and device == "cpu"):
        return "merged"
    why = why_merged(model, subspace, through, engine=engine, dtype=dtype, device=device)
    if why is not None and asked == "unmerged":
        raise InputError(f"--adapter unmerged: {why}; or give --adapter merged, which moves the weights")
    return "unmerged" if why is None else "merged"


def _probes(
    preset: Preset,
    asking: Asking,
    always: Sequence[str],
    only_at: Literal["models"] | None,
    *,
    shuffled: bool = False,
) -> tuple[Probe, ...]:
    given = asking.get("system_prompt", "default")
    systems = [given] if isinstance(given, str) else list(given) or ["default"]
    if len(set(systems)) < len(systems):
        raise InputError(f"--system-prompt {systems[0]}: given twice; give each once")
    source, limit = asking.get("prompts", "builtin:harmful"), asking.get("limit")
    prompts = load_prompts(source, preset.limit if limit is None else limit)
    harmful: list[Probe] = [
        PromptProbe(
            name="harmful" if len(systems) == 1 else f"harmful, {_called(system, number)}",
            source=source,
            system_prompt=system_prompt_text(system),
            prompts=prompts,
        )
        for number, system in enumerate(systems, start=1)
    ]
    also, most, system = asking.get("also", ()), asking.get("also_limit"), system_prompt_text(systems[0])
    further = further_probes(
        [spec for spec in always if spec not in also], preset.limit if most is None else most, system
    )
    further += further_probes(also, most, system)
    probes = (*harmful, *(probe.model_copy(update={"only_at": only_at}) for probe in further))
    return tuple(_shuffled(probe) for probe in probes) if shuffled else probes


def _shuffled(probe: Probe) -> Probe:
    """A probe with its prompts in an order drawn at random that depends on nothing but their number.

    So the first of them are a sample of all, and of two probes the same prompts stand in the same places.
    """
    if not isinstance(probe, PromptProbe) or not probe.harmful:
        return probe
    order = np.random.default_rng(0).permutation(len(probe.prompts))
    return probe.model_copy(update={"prompts": tuple(probe.prompts[place] for place in order)})


def _called(system: str, number: int) -> str:
    """A system prompt's name; a text has none."""
    return system if re.fullmatch(r"[\w-]+|@.+", system) else f"text {number}"


def device_of(given: str | None) -> str:
    """Return the device to use, given as on the command line.

    Raises:
        InputError: there is no such device here.

    """
    if given is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if re.fullmatch(r"cpu|cuda(:\d+)?", given) is None:
        raise InputError(f"--device {given}: expected cpu, cuda or cuda:NUMBER")
    if given != "cpu" and (torch.device(given).index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {given}: torch sees {torch.cuda.device_count()} GPUs here; give cpu or another one")
    return given


def device_on(placement: Placement, given: str | None) -> str:
    """Return the device to use there; see `device_of`."""
    # a Ray's machines may have GPUs although this one has none; workers look for theirs when they start
    return given if given is not None and placement.ray is not None else device_of(given)


def read_text(path: Path, flag: str) -> str:
    """Read a text file that was given with a flag.

    Raises:
        InputError: it cannot be read.

    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{flag} {path}: cannot be read ({error}); give a UTF-8 text file") from error
