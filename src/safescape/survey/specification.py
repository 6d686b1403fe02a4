"""What to measure: the specification, frozen.

Knows no model, no file format and no judge. A survey written to disk and read again is equal to itself, and
holds everything that decides a result: prompts, seeds, decoding, the model's fingerprint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from safescape.errors import InputError
from safescape.survey.words import KEYWORD, REFUSAL, Point

__all__ = [
    "DEFAULT",
    "PAPER",
    "QUICK",
    "Adaptive",
    "Axis",
    "ChoiceProbe",
    "Frozen",
    "HarnessProbe",
    "InterpolationAxis",
    "Lines",
    "PerplexityProbe",
    "Plane",
    "Preset",
    "Probe",
    "PromptProbe",
    "Question",
    "RandomAxis",
    "Survey",
    "Waypoint",
]

_MOST_TOGETHER = 8
"""Points in one batch: each takes the memory of an adapter."""


class Frozen(BaseModel):
    """A specification: it never changes, and knows no field that it was not made for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def differences(self, other: Self) -> list[str]:
        """Name each field that differs, with both values shortened, for a refusal that the user can act on."""
        return list(_differences("", self.model_dump(mode="json"), other.model_dump(mode="json")))


class RandomAxis(Frozen):
    """A random direction with its span and steps."""

    kind: Literal["random"] = "random"
    seed: int = Field(ge=0)
    norm: Literal["layer"] = "layer"
    """`layer`: each tensor of the direction has the Frobenius norm of the origin's (arXiv 2405.17374, section 3)."""
    span: float = Field(gt=0, allow_inf_nan=False)
    """The axis runs from -span to span; 0.5 moves every tensor by half its own norm."""
    steps: int = Field(ge=2)
    """Even, so that the grid holds the origin; `steps + 1` points."""

    @field_validator("steps")
    @classmethod
    def _even(cls, steps: int) -> int:
        if steps % 2:
            raise ValueError("must be even, so that the grid holds the origin")
        return steps

    @property
    def low(self) -> float:
        """Where the axis begins."""
        return -self.span

    @property
    def high(self) -> float:
        """Where the axis ends."""
        return self.span

    @property
    def grid(self) -> tuple[float, ...]:
        """The coordinates from -span to span, exactly symmetric, with an exact 0 in the middle."""
        half = self.steps // 2
        side = tuple(round(self.span * step / half, 12) for step in range(1, half + 1))
        return (*(-alpha for alpha in reversed(side)), 0.0, *side)


class InterpolationAxis(Frozen):
    """The direction from the origin to another model: 0 is the origin, 1 is that model."""

    kind: Literal["interpolation"] = "interpolation"
    toward: str
    """The other model, as the user typed it."""
    fingerprint: str
    """Of the other model's weights."""
    steps: int = Field(ge=1)
    """From 0 to 1, so that both models lie on the grid; as many beyond them as fit."""
    low: float = Field(le=0, allow_inf_nan=False)
    high: float = Field(ge=1, allow_inf_nan=False)
    resized: tuple[str, ...] = ()
    """Embeddings that have another number of rows in the other model: the direction moves their common rows."""

    @property
    def grid(self) -> tuple[float, ...]:
        """The coordinates from low to high, with an exact 0 and an exact 1."""
        first, last = math.ceil(self.low * self.steps - 1e-9), math.floor(self.high * self.steps + 1e-9)
        return tuple(round(step / self.steps, 12) for step in range(first, last + 1))


Axis = Annotated[RandomAxis | InterpolationAxis, Field(discriminator="kind")]


class Lines(Frozen):
    """A bundle of lines through the origin."""

    kind: Literal["lines"] = "lines"
    axes: tuple[Axis, ...] = Field(min_length=1)

    def models(self) -> tuple[Point, ...]:
        """The points that are models of their own: the origin, then the other model of each interpolation."""
        between = (number for number, axis in enumerate(self.axes) if isinstance(axis, InterpolationAxis))
        return (Point(None, (0.0,)), *(Point(number, (1.0,)) for number in between))

    def points(self) -> Iterator[Point]:
        """The origin, then line by line."""
        yield Point(None, (0.0,))
        for number, axis in enumerate(self.axes):
            yield from (Point(number, (alpha,)) for alpha in axis.grid if alpha)

    def on_line(self, number: int) -> list[Point]:
        """The points of one line in the order of α, the origin among them."""
        return [Point(number if alpha else None, (alpha,)) for alpha in self.axes[number].grid]


class Plane(Frozen):
    """Two axes through the origin; the second direction is made orthogonal to the first."""

    kind: Literal["plane"] = "plane"
    axes: tuple[Axis, Axis]

    def models(self) -> tuple[Point, ...]:
        """The points that are models of their own: the origin, and the other model if the first axis leads to one."""
        between = isinstance(self.axes[0], InterpolationAxis)
        return (Point(None, (0.0, 0.0)), *([Point(None, (1.0, 0.0))] if between else []))

    def points(self) -> Iterator[Point]:
        """The origin, then row by row outwards from it; each step changes one coordinate alone."""
        across, up = self.axes[0].grid, self.axes[1].grid
        yield Point(None, (0.0, 0.0))
        for number, beta in enumerate(sorted(up, key=lambda beta: (abs(beta), beta))):
            row = across if number % 2 == 0 else across[::-1]
            yield from (Point(None, (alpha, beta)) for alpha in row if alpha or beta)


class Waypoint(Frozen):
    """A checkpoint that is measured where it stands, and shown where it lies on the subspace: a trajectory's."""

    model: str
    fingerprint: str


class _Probe(Frozen):
    only_at: Literal["models"] | None = Field(default=None, exclude_if=lambda where: where is None)
    """`models`: asked only where a model of its own stands: at the origin, at the other model of an interpolation, and
    at checkpoints. None, which is not written: at every point."""


class PromptProbe(_Probe):
    """A named set of prompts with its system prompt; the model answers each one."""

    kind: Literal["prompts"] = "prompts"
    name: str
    source: str
    """Where the prompts came from, as the user wrote it."""
    harmful: bool = True
    """Whether they should be refused. What is read off them: the attack success rate; else, over-refusal."""
    system_prompt: str | None = None
    """None: the chat template's own default. An empty string: explicitly none."""
    prompts: tuple[str, ...] = Field(min_length=1)


class Question(Frozen):
    """One multiple-choice item: the model should find its answer the most likely continuation."""

    context: str
    options: tuple[str, ...] = Field(min_length=2)
    """Continuations of the context, each with its leading space."""
    answer: int = Field(ge=0)


class ChoiceProbe(_Probe):
    """A capability task by multiple choice; what is read off it: accuracy, in percent."""

    kind: Literal["choice"] = "choice"
    name: str
    source: str
    questions: tuple[Question, ...] = Field(min_length=1)


class PerplexityProbe(_Probe):
    """Texts whose perplexity is measured."""

    kind: Literal["perplexity"] = "perplexity"
    name: str
    source: str
    texts: tuple[str, ...] = Field(min_length=1)


class HarnessProbe(_Probe):
    """A task of the Language Model Evaluation Harness; what is read off it: its metric's mean, in percent."""

    kind: Literal["lm-eval"] = "lm-eval"
    name: str
    source: str
    task: str
    folder: str | None = None
    """Where the YAML file that defines it lies; None: it comes with lm-eval."""
    definition: str | None = None
    """SHA-256 of that file."""
    limit: int | None = None


Probe = Annotated[PromptProbe | ChoiceProbe | PerplexityProbe | HarnessProbe, Field(discriminator="kind")]


class Adaptive(Frozen):
    """Points are chosen by what was found at others; those that can be chosen are the grids' of the survey's lines.

    An edge is sought to one step of its grid. At a point the first probe's prompts are asked in their order, and no
    more of them than the point's verdict needs. All other probes are asked in full.
    """

    directions: int = Field(ge=1)
    """So many lines are measured in any case; each further one only if `interval` is not reached without it."""
    safe_below: float = Field(ge=0, lt=100)
    """The ASR, in percent, whose crossing is the edge; points are chosen by it, so it is a part of the survey."""
    interval: float | None = Field(default=None, gt=0)
    """How wide VISAGE's 95 % interval may be for no further line to be needed; None: none is measured."""


class Survey(Frozen):
    """The full specification of a measurement."""

    schema_version: Literal[1] = 1
    model: str
    model_fingerprint: str
    trust_remote_code: bool = False
    chat_template: str | None = None
    """A Jinja chat template used instead of the tokenizer's own."""
    engine: Literal["transformers", "vllm"] = "transformers"
    tensor_parallel: int = Field(default=1, ge=1, exclude_if=lambda gpus: gpus == 1)
    """How many GPUs share one model in vLLM; 1, which is not written. Rounding depends on it."""
    adapter: Literal["merged", "unmerged"] = Field(default="merged", exclude_if=lambda where: where == "merged")
    """`unmerged`: on the line to BASE+ADAPTER the base stays, and at α the adapter counts α times beside it. `merged`,
    which is not written: weights are moved. Rounding depends on it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    """Also the device whose generator makes the noise; runs on different kinds of device have different directions."""
    subspace: Annotated[Lines | Plane, Field(discriminator="kind")]
    adaptive: Adaptive | None = Field(default=None, exclude_if=lambda chosen: chosen is None)
    """None, which is not written: every point of the subspace is measured."""
    through: tuple[Waypoint, ...] = ()
    probes: tuple[Probe, ...] = Field(min_length=1)
    """The first one holds harmful prompts; it is what the figures (VISAGE, radius) are about."""
    judges: tuple[str, ...] = Field(default=(KEYWORD, REFUSAL), min_length=1)
    """The figures (VISAGE, radius) are as the first one sees them; all others beside it."""
    rubrics: dict[str, str] = Field(default={}, exclude_if=lambda rubrics: not rubrics)
    """By judge over an API whose rubric came from a file: its text."""
    max_new_tokens: int = Field(default=128, ge=1)
    whole_answers: bool = False
    batch_size: int = Field(default=128, ge=1)
    """Answers decoded together at most. It is part of the survey because rounding depends on it."""

    @field_validator("probes")
    @classmethod
    def _begins_with_harmful_prompts(cls, probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
        if not isinstance(probes[0], PromptProbe) or not probes[0].harmful:
            raise ValueError("the first must hold harmful prompts")
        if probes[0].only_at is not None:
            raise ValueError("the first must be asked at every point")
        if len({probe.name for probe in probes}) < len(probes):
            raise ValueError("two have the same name")
        return probes

    @field_validator("judges")
    @classmethod
    def _names_each_judge_once(cls, judges: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(judges)) < len(judges):
            raise ValueError("one is named twice")
        return judges

    @model_validator(mode="after")
    def _adapts_on_random_lines(self) -> Self:
        if self.adaptive is None:
            return self
        axes = self.subspace.axes
        if isinstance(self.subspace, Plane) or not all(isinstance(axis, RandomAxis) for axis in axes) or self.through:
            raise ValueError("adaptive needs lines in random directions, and no checkpoints beside them")
        if len({axis.grid for axis in axes}) > 1 or self.adaptive.directions > len(axes):
            raise ValueError("adaptive needs lines with one grid, and as many as it begins with")
        return self

    @property
    def prompts(self) -> PromptProbe:
        """The first probe: harmful prompts."""
        first = self.probes[0]
        assert isinstance(first, PromptProbe)
        return first

    def points(self) -> Iterator[Point]:
        """Every point to measure, in the order of measuring: the origin, the subspace, the checkpoints beside it.

        Of an adaptive survey, every point that may be measured.
        """
        yield from self.subspace.points()
        yield from (Point(None, (), number) for number in range(len(self.through)))

    @property
    def points_together(self) -> int:
        """How many points are answered in one batch, at most: 1 where weights are moved, else as fill the batch."""
        if self.adapter == "merged":
            return 1
        return min(_MOST_TOGETHER, math.ceil(self.batch_size / len(self.prompts.prompts)))

    @property
    def choice(self) -> str | None:
        """How points are reached, in words; None where weights are moved because nothing else can be."""
        if self.adapter == "unmerged":
            return f"adapter unmerged: no weight moves, up to {self.points_together} points in one batch"
        if self.engine == "vllm" and any(isinstance(axis, InterpolationAxis) for axis in self.subspace.axes):
            return "weights are moved"
        return None

    def asked_at(self, point: Point) -> tuple[Probe, ...]:
        """The probes that are asked at a point, in their order."""
        is_model = point.waypoint is not None or point in self.subspace.models()
        return tuple(probe for probe in self.probes if is_model or probe.only_at is None)

    @classmethod
    def load(cls, path: Path) -> Survey:
        """Read a survey.json.

        Raises:
            InputError: the file is absent or is not a survey of this version.

        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give a survey.json") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise InputError(f"{path}: {field}: {first['msg']}; give a survey.json of this version") from error


class Preset(NamedTuple):
    """The defaults that `--quick` and `--paper` choose between."""

    limit: int | None
    max_new_tokens: int
    directions: int
    steps: int
    judges: tuple[str, ...] = (KEYWORD, REFUSAL)


DEFAULT = Preset(limit=80, max_new_tokens=128, directions=3, steps=20)
QUICK = Preset(limit=40, max_new_tokens=48, directions=1, steps=20)
PAPER = Preset(limit=80, max_new_tokens=512, directions=3, steps=20, judges=(KEYWORD,))


def _differences(name: str, mine: object, theirs: object) -> Iterator[str]:
    if mine == theirs:
        return
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in {**mine, **theirs}:
            yield from _differences(f"{name}.{key}".lstrip("."), mine.get(key), theirs.get(key))
    elif isinstance(mine, list) and isinstance(theirs, list):
        if len(mine) != len(theirs):
            yield f"{name}: {len(mine)} here, {len(theirs)} there"
            return
        changed = [place for place, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
        yield from _differences(f"{name}[{changed[0]}]", mine[changed[0]], theirs[changed[0]])
    else:
        yield f"{name}: {_short(mine)} here, {_short(theirs)} there"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
