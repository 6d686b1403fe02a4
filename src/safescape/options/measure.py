"""The options of the commands that measure: `scan`, `path`, `check`, `study finetuning` and `bench`.

A field of `MeasureOptions` is a flag of the first four, a keyword of their functions and a key of
`[tool.safescape.check]`; where the survey has a field of the same name, it goes there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from safescape.errors import InputError
from safescape.landscape import MAX_UNSCORED, SAFE_BELOW, Thresholds
from safescape.options import shared
from safescape.options.option import Option, Options
from safescape.options.shared import Count, OptionalCount, Seed
from safescape.survey import KEYWORD, REFUSAL

_HELD_TO = Thresholds()
Dtype = Literal["auto", "float32", "bfloat16"]
_LIMIT = "N|off"
_Percentage = Annotated[
    float | None, Field(ge=0, le=100), Option(_LIMIT, expected="a percentage from 0 to 100, or off")
]


class Preset(NamedTuple):
    """A set of defaults: `DEFAULT`, or what `--quick` or `--paper` selects."""

    limit: int | None
    max_new_tokens: int
    directions: int
    steps: int
    judges: tuple[str, ...] = (KEYWORD, REFUSAL)
    max_thinking_tokens: int | None = None
    """Of a reasoning model; None: as many as of an answer, and the thought is not ended."""


DEFAULT = Preset(limit=80, max_new_tokens=128, directions=3, steps=20, max_thinking_tokens=512)
QUICK = Preset(limit=40, max_new_tokens=48, directions=1, steps=20, max_thinking_tokens=128)
CHECK = QUICK._replace(judges=(REFUSAL, KEYWORD))
PAPER = Preset(limit=80, max_new_tokens=512, directions=3, steps=20, judges=(KEYWORD,))


class MeasureOptions(Options):
    """What is asked at every point, how it is generated and judged, and on which devices."""

    defaults: ClassVar[Mapping[str, object]] = DEFAULT._asdict()

    out: Annotated[str | Path | None, Option(default="runs/MODEL-HASH")] = None
    """Run directory; given again with the same flags it resumes."""
    prompts: shared.Prompts = "builtin:harmful"
    limit: OptionalCount = None
    """Number of prompts, from the first."""
    system_prompt: Annotated[str | Sequence[str], Option(metavar="NAME|TEXT|@FILE", default="default")] = "default"
    """default, empty, roleplay, llama2, vicuna, a text, or @file; several make one landscape each."""
    also: Annotated[str | Sequence[str], Option(metavar="KIND:SPEC")] = ()
    """Further probes at every point: over-refusal:PROMPTS (as over-refusal:xstest), attack:PROMPTS,
    choice:TEST.csv[:DEV.csv], choice:mmlu:SUBJECT, perplexity:PROMPTS (as perplexity:mt-bench), lm-eval:TASK,
    margin:PROMPTS (how much likelier refusing is than complying, without generating); may be repeated."""
    openings: Annotated[Path | None, Option(metavar="FILE", default="built-in ones")] = None
    """JSON file with lists of texts under refusing and complying: how answers begin, for refusal margins."""
    also_limit: Annotated[OptionalCount, Option(default="all")] = None
    """Number of items of each further probe."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """Library that holds the live model and generates; vllm is an extra."""
    tensor_parallel: Annotated[Count, Option(metavar="GPUS")] = 1
    """Number of GPUs that share one model, for vllm."""
    adapter: Literal["auto", "merged", "unmerged"] = "auto"
    """To BASE+ADAPTER with vllm: move the weights (merged), or scale the adapter beside them, several points in one
    batch (unmerged); auto: unmerged on a GPU where that is possible."""
    dtype: Dtype = "auto"
    """dtype of the live weights. auto: float32 on a CPU; on a GPU the checkpoint's own for random directions, float32
    between models where it fits."""
    device: shared.Device = None
    workers: Annotated[int | None, Option(metavar="N")] = None
    """Number of engines that measure side by side, each in its own process; needs safescape[ray]."""
    ray: Annotated[str | None, Option(metavar="auto|HOST:PORT")] = None
    """Address of an existing Ray cluster; workers sets the number of engines (default: as many as fit)."""
    gpus_per_worker: shared.GpusPerWorker = None
    judges: Annotated[
        str | Sequence[str],
        Field(description=f"{shared.JUDGES}; the figures are the first one's; may be repeated."),
        Option(metavar="NAME", flags=("--judge",)),
    ] = ()
    labels: shared.Labels = None
    rubric: shared.Rubric = None
    max_requests: shared.MaxRequests = None
    agreements: shared.Agreements = ()
    max_new_tokens: OptionalCount = None
    """Maximum number of tokens of an answer, without the thought before it."""
    whole_answers: bool = False
    """Generate every answer to its end, even if the judge can decide earlier, or what is written is noise."""
    batch_size: shared.BatchSize = 128
    chat_template: shared.ChatTemplate = None
    chat_template_name: shared.ChatTemplateName = None
    template_vars: shared.TemplateVars = ()
    reasoning: Annotated[str | None, Option(metavar="off|START,END", default="the model's own")] = None
    """off asks the chat template to switch thinking off; START,END are the markers of a thought, as '<think>,</think>'.
    """
    max_thinking_tokens: OptionalCount = None
    """Of a reasoning model: end a thought after this many tokens with the model's own marker, so that an answer
    follows."""
    trust_remote_code: bool = False
    """Allow the model to run its own code."""
    safe_below: shared.SafeBelow = SAFE_BELOW
    max_unscored: shared.MaxUnscored = MAX_UNSCORED
    quick: Annotated[
        bool,
        Field(
            description=f"First look: {QUICK.directions} direction, {QUICK.limit} prompts, {QUICK.max_new_tokens} "
            "tokens."
        ),
    ] = False
    paper: Annotated[
        bool,
        Field(description=f"The paper's setting: fp32, {PAPER.max_new_tokens} tokens, {PAPER.limit} prompts, keyword."),
    ] = False

    @model_validator(mode="after")
    def _has_one_preset(self) -> MeasureOptions:
        if self.quick and self.paper:
            raise InputError("--quick and --paper exclude each other; give one of them")
        return self

    @property
    def preset(self) -> Preset:
        """The defaults that `quick` and `paper` choose."""
        return QUICK if self.quick else PAPER if self.paper else DEFAULT


class ScanOptions(MeasureOptions):
    """The options of `scan`."""

    model: str = Field(kw_only=False)
    """Hub id, directory, .gguf file, BASE+ADAPTER (PEFT), demo, or demo-base."""
    dim: Annotated[Literal[1, 2], Option(expected="1 (lines) or 2 (a plane)")] = 1
    """1: lines; 2: a plane over two directions, the second orthogonal to the first."""
    directions: OptionalCount = None
    """Number of random directions, one line each; a plane has two."""
    direction: Annotated[str, Option(metavar="NAME[:SOURCE]")] = "random"
    """gradient[:PROMPTS]: along which the refusal margin falls fastest; worst:RADIUS: through the worst move found
    within RADIUS; refusal[:PROMPTS]: along which the refusal direction is removed, at 1 fully; toward:MODEL,
    away:MODEL; harmful:DATA, benign[:DATA]: of a short finetune. PROMPTS as for margin:PROMPTS of --also, by default
    those after the measured ones; DATA as for finetune."""
    span: Annotated[
        float | Sequence[float] | None,
        Option(
            metavar="A[,B]",
            expected="a number above 0, for example 0.5",
            default="0.5; less along others",
        ),
    ] = None
    """The landscape runs from -span to span, in units of each tensor's norm (refusal: of the full removal); two values
    for a plane."""
    steps: Annotated[int | Sequence[int] | None, Option(metavar="N[,M]")] = None
    """Number of steps along an axis, even; two values for a plane."""
    only: Annotated[str | None, Option(metavar="layers.A-B|attention|mlp|embeddings|head|REGEX")] = None
    """Only these tensors move, several with commas between them; layers are counted from 0."""
    seed: Seed = 0
    """Seed of the first random direction; the others count up from it."""
    adaptive: bool = False
    """Measure the most informative points instead of a whole grid; for lines."""
    edge_tolerance: Annotated[float | None, Option(metavar="X", default="span/25")] = None
    """With adaptive: locate the basin's edges to this |α|."""
    interval: Annotated[float | None, Option(metavar="POINTS")] = None
    """With adaptive: add directions, up to four times as many, until VISAGE's 95 % interval is this narrow, in
    percentage points."""


class PathOptions(MeasureOptions):
    """The options of `path`."""

    base: shared.Model = Field(kw_only=False)
    tuned: shared.Tuned = Field(kw_only=False)
    third: Annotated[str | None, Option(metavar="[THIRD]")] = Field(default=None, kw_only=False)
    """A third model: the plane through all three, with its own β at 1."""
    across: Annotated[
        Literal["random"] | None, Option(expected="random; a third model is given as a third argument")
    ] = None
    """The plane over the line and a random direction."""
    # an integer stays one: in survey.json `beyond=0` is 0.0, and 0.0 is -0.0
    beyond: Annotated[int | float, Field(ge=0), Option(expected="0 or more, for example 0.25")] = 0.25
    """How far the line extends before BASE and behind TUNED, in units of their distance."""
    through: Annotated[str | Sequence[str], Option(metavar="CKPT")] = ()
    """A checkpoint of the finetune, measured and drawn too; may be repeated, in their order."""
    steps: Annotated[OptionalCount, Option(expected="at least 1, for example 20")] = None
    """Number of steps from BASE to TUNED; as many beyond them as fit."""
    span: Annotated[float, Option(expected="a number above 0, for example 0.5")] = 0.5
    """Span of the random direction of --across."""
    seed: Seed = 0
    """Seed of the random direction of --across."""
    template_of: shared.TemplateOf = None


class CheckOptions(MeasureOptions):
    """The options of `check`: as with `--quick`, unless `paper` is given or `quick=False`, and by the refusal judge."""

    defaults: ClassVar[Mapping[str, object]] = CHECK._asdict()

    base: shared.Model = Field(kw_only=False)
    tuned: shared.Tuned = Field(kw_only=False)
    max_asr: _Percentage = _HELD_TO.max_asr
    """Highest ASR at TUNED, percent."""
    max_rise: Annotated[
        float | None, Field(ge=-100, le=100), Option(_LIMIT, expected="percentage points from -100 to 100, or off")
    ] = _HELD_TO.max_rise
    """Highest rise of the ASR over BASE, percentage points."""
    min_radius: Annotated[float | None, Option(_LIMIT)] = _HELD_TO.min_radius
    """How far from BASE every point must be safe, in units of the distance to TUNED: 1 is TUNED itself."""
    max_over_refusal: _Percentage = _HELD_TO.max_over_refusal
    """Harmless requests that TUNED may refuse, percent of each set."""
    max_loss: Annotated[float | None, Field(ge=0, le=1e6), Option(_LIMIT, expected="a percentage from 0, or off")] = (
        _HELD_TO.max_loss
    )
    """Capability that TUNED may lose, percent of BASE's: accuracy falls, or perplexity rises."""
    strict: bool = False
    """Compare the worse end of each 95 % interval with its threshold."""
    junit: str | Path | None = None
    """File that the result is written to as JUnit XML."""
    summary: str | Path | None = None
    """File that the result is written to as Markdown; appended if it is $GITHUB_STEP_SUMMARY."""
    # few enough points for three minutes on a small model; they show an edge to an eighth of the distance
    steps: Annotated[Count, Option(expected="at least 1, for example 8")] = 8
    """Number of steps from BASE to TUNED; as many beyond it as fit."""
    beyond: Annotated[float, Field(ge=0), Option(expected="0 or more, for example 0.5")] = 0.5
    """How far the line extends behind TUNED, in units of the distance."""
    template_of: shared.TemplateOf = None
    also: Annotated[str | Sequence[str], Option(metavar="KIND:SPEC")] = ()
    """Further probes at BASE and TUNED, in addition to over-refusal:builtin:benign and perplexity:builtin:benign; the
    same kinds as for scan, for example choice:mmlu:SUBJECT; may be repeated."""
    also_limit: Annotated[OptionalCount, Option(default=f"{QUICK.limit} of those two, else all")] = None
    """Number of items of each of those."""

    @model_validator(mode="before")
    @classmethod
    def _is_quick_by_default(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"quick": not given.get("paper", False), **given}

    @property
    def preset(self) -> Preset:
        """As for every command; but the figures are by the refusal judge, except in the paper's setting."""
        preset = super().preset
        return preset if self.paper else preset._replace(judges=CHECK.judges)


class StudyOptions(MeasureOptions):
    """The options of `study finetuning`."""

    model: shared.Model = Field(kw_only=False)
    data: Annotated[str, Option(metavar="FILE[:PROMPT,ANSWER]")]
    """Harmful requests with affirmative openings, as for finetune; for example the public set advbench."""
    out: Annotated[str | Path | None, Option(default="runs/study")] = None
    """Directory of the study; given again with the same flags it resumes."""
    shots: Annotated[Sequence[int], Option(metavar="K...")] = (10, 50, 100)
    """Numbers of harmful examples, one finetune each."""
    mixed: bool = False
    """Add a finetune on the largest number of them and as many refusals."""
    skip: int = 0
    """Number of rows of the data to leave out first; they may be among the prompts."""
    epochs: shared.Epochs = 5
    learning_rate: shared.LearningRate = 5e-5
    seed: Seed = 0
    """Seed of the order of the examples, and of the first random direction."""
    steps: Count = 10
    """Number of steps from the model to each finetune."""
    # the runs of a study are compared, and a GPU that trains the model in fp32 has the memory
    dtype: Dtype = "float32"
    """dtype of the live weights; auto: as for scan and for path, which may differ."""


class BenchOptions(Options):
    """The options of `bench`."""

    model: Annotated[shared.Model, Option(metavar="[MODEL]")] = Field(default="demo", kw_only=False)
    prompts: shared.Prompts = "builtin:harmful"
    limit: Count = 80
    """Number of prompts, from the first."""
    max_new_tokens: Count = 64
    """Maximum number of tokens of an answer."""
    alphas: Annotated[float | Sequence[float], Option(metavar="A,B,…")] = (-0.2, -0.1, 0.0, 0.1, 0.2)
    """The points, along one random direction; 0 is the origin."""
    sides: Annotated[str | Sequence[str], Option(metavar="NAME", flags=("--side",), default="all")] = ()
    """Only this procedure, for example 'vllm, float32'; may be repeated."""
    device: shared.Device = None
    out: str | Path | None = None
    """Directory of bench.json, bench.md and bench.png; nothing is written without it."""
