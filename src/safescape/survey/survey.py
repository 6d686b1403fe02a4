"""What to measure: the specification, frozen.

Knows no model, no file format and no judge. A survey written to disk and read again is equal to itself, and
holds everything that decides a result: prompts, seeds, decoding, the model's fingerprint.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from safescape.errors import InputError
from safescape.survey.axes import InterpolationAxis, Lines, Plane, RandomAxis, Waypoint
from safescape.survey.base import Frozen
from safescape.survey.probes import Probe, PromptProbe
from safescape.survey.types import KEYWORD, REFUSAL, Point

__all__ = ["DEFAULT", "PAPER", "QUICK", "Adaptive", "Preset", "Survey"]

_MOST_TOGETHER = 8
"""Points in one batch: each takes the memory of an adapter."""


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

    @property
    def digest(self) -> str:
        """SHA-256 of what is written as survey.json, in 64 hexadecimal digits: the same of the same survey."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

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
            return cls.model_validate_json(path.read_bytes())
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
