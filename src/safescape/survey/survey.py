"""The survey: the frozen specification of a measurement, stored as survey.json.

A survey holds everything that determines a result: prompts, seeds, decoding, the model's fingerprint. Written to disk
and read again, it is equal and has the same digest. This module knows no model and no judge.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from safescape.errors import InputError
from safescape.survey.axes import Axis, ComputedAxis, InterpolationAxis, Lines, Plane, RandomAxis, Waypoint
from safescape.survey.judge_names import KEYWORD, REFUSAL, parse_judge_name
from safescape.survey.probes import ChatProbe, Chats, Probe, PromptProbe
from safescape.survey.thoughts import Markers, Thinking
from safescape.survey.types import Frozen, Point

_MOST_TOGETHER = 8
"""Maximum number of points in one batch. Each needs the memory of one adapter."""


class Adaptive(Frozen):
    """Adaptive choice of points: which grid points of the survey's lines are measured depends on earlier results.

    The edge of the basin is located to one step of the grid. At a point, prompts of the first probe are asked in order
    until its verdict is determined. All other probes are asked in full.
    """

    directions: int = Field(ge=1)
    """Number of lines that are always measured. Further lines are added only if `interval` is not reached."""
    safe_below: float = Field(ge=0, lt=100)
    """The ASR, in percent, whose crossing is the edge. It determines which points are chosen."""
    interval: float | None = Field(default=None, gt=0)
    """Target width of the 95 % interval of VISAGE, in percentage points. None: no further lines are measured."""


class LoopRule(Frozen):
    """When an answer repeats the same tokens."""

    times: int = Field(ge=2)
    """How often it repeats them at its end, at least; the last time perhaps in part."""
    tokens: int = Field(ge=2)
    """How many tokens all repetitions have together, at least."""
    period: int = Field(ge=1)
    """The largest number of tokens that are repeated."""
    refusal: float = Field(ge=0, le=1)
    """The probability of a refusal above which it is written on all the same."""


class NoiseRule(Frozen):
    """When an answer ends because what is written so far is noise.

    Fields with a default were added later; a rule without them means what it meant before.
    """

    checks: tuple[tuple[int, float], ...] = Field(min_length=1)
    """Numbers of tokens after which an answer is read, ascending, each with the log-odds of language, by the text
    alone, up to which it ends there."""
    refusal: float = Field(ge=0, le=1)
    """The probability of a refusal, by the refusal classifier, above which it is written on all the same; a loop has a
    limit of its own."""
    coherence: float = Field(default=0.05, gt=0, le=1, exclude_if=lambda coherence: coherence == 0.05)
    """The coherence by the text alone below which an answer may end."""
    loop: LoopRule | None = Field(default=None, exclude_if=lambda loop: loop is None)
    """Ends a loop at the same numbers of tokens, whatever its log-odds are. None: it has no rule of its own."""
    made_of: dict[str, str] = Field(default={}, exclude_if=lambda digests: not digests)
    """SHA-256 of the data files by which text is told from noise and refusals; empty: not recorded."""

    @field_validator("checks")
    @classmethod
    def _ascends(cls, checks: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
        tokens = [number for number, _ in checks]
        if tokens != sorted({*tokens}) or tokens[0] < 1:
            raise ValueError("expected numbers of tokens that ascend from 1")
        return checks


class Survey(Frozen):
    """The full specification of a measurement."""

    schema_version: Literal[1] = 1
    model: str
    model_fingerprint: str
    trust_remote_code: bool = False
    chat_template: str | None = None
    """A Jinja chat template used instead of the tokenizer's own."""
    chat_template_name: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """Name of the template, of a tokenizer that has several. None, which is left out of survey.json: its default."""
    template_vars: dict[str, JsonValue] = Field(default={}, exclude_if=lambda variables: not variables)
    """Variables given to the chat template, such as `enable_thinking`."""
    template_of: Literal["adapter", "tuned", "each"] | None = Field(default=None, exclude_if=lambda of: of is None)
    """Whose tokenizer, chat template and generation settings are used: those of the model's `adapter`; of the other
    model of an interpolation (`tuned`); or those too, with harmful prompts asked in the templates of `each` model.
    None, which is left out of survey.json: those of the model, without its adapter."""
    generation: dict[str, JsonValue] = Field(default={}, exclude_if=lambda settings: not settings)
    """What the model's generation_config.json changes of greedy decoding, such as `repetition_penalty`."""
    reasoning: str | None = Field(default=None, exclude_if=lambda given: given is None)
    """`off`: the chat template is asked to switch thinking off. `START,END`: the markers of a thought. None, which is
    left out of survey.json: the model's own."""
    max_thinking_tokens: int | None = Field(default=None, ge=1, exclude_if=lambda most: most is None)
    """Where a thought is ended so that an answer follows; see `Thinking`. None, which is left out of survey.json: the
    model has no markers of thoughts, or a thought may be as long as an answer, and is not ended."""
    markers: Markers | None = Field(default=None, exclude_if=lambda markers: markers is None)
    """The markers of the model's thoughts. None, which is left out of survey.json: it has none, and what it writes is
    its answer."""
    calibration: Chats | None = Field(default=None, exclude_if=lambda chats: chats is None)
    """The harmless prompts on whose answers judges that weigh likelihoods are calibrated, as the model reads them.
    None, which is left out of survey.json, if the probes' chats were not stored either."""
    engine: Literal["transformers", "vllm"] = "transformers"
    tensor_parallel: int = Field(default=1, ge=1, exclude_if=lambda gpus: gpus == 1)
    """Number of GPUs that share one model in vLLM, which affects rounding. The default, 1, is left out of
    survey.json."""
    adapter: Literal["merged", "unmerged"] = Field(default="merged", exclude_if=lambda where: where == "merged")
    """`merged`: weights are moved; the default, which is left out of survey.json. `unmerged`: on the line to
    BASE+ADAPTER the base weights stay and the adapter is applied with the factor α, which rounds differently."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    """Its generator also makes the noise, so runs on different kinds of device have different random directions."""
    subspace: Annotated[Lines | Plane, Field(discriminator="kind")]
    adaptive: Adaptive | None = Field(default=None, exclude_if=lambda chosen: chosen is None)
    """None, which is left out of survey.json: every point of the subspace is measured."""
    through: tuple[Waypoint, ...] = ()
    """Checkpoints that are measured in addition to the points of the subspace."""
    probes: tuple[Probe, ...] = Field(min_length=1)
    """The first one holds harmful prompts. Figures such as VISAGE and the basin radius are computed from it."""
    judges: tuple[str, ...] = Field(default=(KEYWORD, REFUSAL), min_length=1)
    """Names of judges; see `judge_names`. The first one determines the headline figures, the others are listed
    separately."""
    rubrics: dict[str, str] = Field(default={}, exclude_if=lambda rubrics: not rubrics)
    """Texts of rubrics that came from files, by judge."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Maximum number of tokens of an answer, without the thought before it."""
    whole_answers: bool = False
    """Generate every answer to its end, even if the verdicts are determined earlier."""
    noise: NoiseRule | None = Field(default=None, exclude_if=lambda rule: rule is None)
    """When an answer ends as noise. None, which is left out of survey.json: noise is written on like any answer, as by
    vLLM and in surveys of earlier versions."""
    batch_size: int = Field(default=128, ge=1)
    """Maximum number of answers decoded together, which affects rounding."""

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

    @model_validator(mode="after")
    def _has_all_chats_or_none(self) -> Self:
        stored = [probe.chats is None for probe in self.chat_probes]
        if len({*stored, self.calibration is None}) > 1:
            raise ValueError("some probes have chats and others have none, or there is no calibration")
        if self.markers is not None and self.calibration is None:
            raise ValueError("it has markers of thoughts and no chats, which say whether a thought is begun")
        return self

    @model_validator(mode="after")
    def _writes_noise_on_in_vllm(self) -> Self:
        if self.engine == "vllm" and self.noise is not None:
            raise ValueError("noise does not end in vllm; leave noise out")
        return self

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
            raise ValueError("adaptive needs lines in random directions, without checkpoints")
        if len({axis.grid for axis in axes}) > 1 or self.adaptive.directions > len(axes):
            raise ValueError("adaptive needs lines with one grid, and at least as many lines as it starts with")
        return self

    @property
    def prompts(self) -> PromptProbe:
        """The first probe: harmful prompts."""
        first = self.probes[0]
        assert isinstance(first, PromptProbe)
        return first

    @property
    def has_chats(self) -> bool:
        """Whether the survey holds the chats of its prompts; one written by an earlier version does not."""
        return self.prompts.chats is not None

    def without_chats(self) -> Self:
        """Return what was asked for, without what the model's own files made of it: chats, markers, generation.

        The goals of attacks are left out, too, because the model reads the prompts, and so is the rule by which noise
        ends, because it is this version's.
        """
        probes = tuple(map(_without_chats, self.probes))
        unasked: dict[str, object] = {"calibration": None, "generation": {}, "markers": None, "noise": None}
        uncomputed = self.with_axes([_uncomputed(axis) for axis in self.subspace.axes])
        return uncomputed.model_copy(update={"probes": probes, **unasked})

    def with_axes(self, axes: Sequence[Axis]) -> Self:
        """Return the survey with other axes in the place of its own."""
        if list(axes) == list(self.subspace.axes):
            return self
        return self.model_copy(update={"subspace": self.subspace.model_copy(update={"axes": tuple(axes)})})

    @property
    def chat_probes(self) -> list[ChatProbe]:
        """Everything whose prompts the model reads in its chat template: probes, and the recipes of directions."""
        asked = [probe for probe in self.probes if isinstance(probe, ChatProbe)]
        recipes = [axis.recipe for axis in self.subspace.axes if isinstance(axis, ComputedAxis)]
        return [*asked, *(probe for recipe in recipes for probe in recipe.chat_probes)]

    def thinking(self, probe: PromptProbe) -> Thinking | None:
        """Return how a probe's prompts are answered by a model that thinks first; None if it has no markers."""
        if self.markers is None:
            return None
        assert probe.chats is not None
        return Thinking(self.markers, self.markers.is_open(probe.chats.after), self.max_thinking_tokens)

    @property
    def digest(self) -> str:
        """SHA-256 of the survey as compact JSON, in 64 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def points(self) -> Iterator[Point]:
        """Iterate over the points in the order of measuring: origin, subspace, checkpoints.

        For an adaptive survey these are all points that may be measured.
        """
        yield from self.subspace.points()
        yield from (Point(None, (), number) for number in range(len(self.through)))

    @property
    def points_together(self) -> int:
        """Maximum number of points whose prompts share one batch: 1 if weights are moved, else enough to fill it."""
        if self.adapter == "merged":
            return 1
        return min(_MOST_TOGETHER, math.ceil(self.batch_size / len(self.prompts.prompts)))

    @property
    def choice(self) -> str | None:
        """How the engine reaches points, in words; None where moving the weights is the only way."""
        if self.adapter == "unmerged":
            return f"adapter unmerged: no weight moves, up to {self.points_together} points in one batch"
        if self.engine == "vllm" and any(isinstance(axis, InterpolationAxis) for axis in self.subspace.axes):
            return "weights are moved"
        return None

    @property
    def template_choice(self) -> str | None:
        """Whose chat template and generation settings are used, in words; None: the model's, without its adapter."""
        toward = next((axis.toward for axis in self.subspace.axes if isinstance(axis, InterpolationAxis)), "")
        if self.template_of == "adapter":
            return "the adapter's own chat template, which differs from its base's"
        if self.template_of == "tuned":
            return f"chat template and generation settings of {toward}, which differ from those of {self.model}"
        if self.template_of == "each":
            return f"the harmful prompts are asked in the chat templates of {toward} and of {self.model}, which differ"
        return None

    @property
    def thinking_choice(self) -> str | None:
        """How a reasoning model's thoughts are told from its answers, in words; None: it has no markers of thoughts."""
        if self.markers is None:
            return None
        most = self.max_thinking_tokens
        end = "are unscored where they are cut" if most is None else f"are ended after {most} tokens"
        return f"thoughts between {self.markers.starts[0]} and {self.markers.ends[-1]} are not judged, and {end}"

    @property
    def failed_attacks(self) -> str | None:
        """How many attacks found no prompt, in words; None: every prompt is asked."""
        said = [probe.failed_attacks for probe in self.probes if isinstance(probe, PromptProbe)]
        return "; ".join(dict.fromkeys(filter(None, said))) or None

    def asked_at(self, point: Point) -> tuple[Probe, ...]:
        """Return the probes that are evaluated at a point, in order."""
        return tuple(probe for probe in self.probes if probe.only_at is None or self._is_model(point))

    def _is_model(self, point: Point) -> bool:
        return point.waypoint is not None or point in self.subspace.models()

    def differences(self, other: Self) -> list[str]:
        """Return one text for each field that differs; two spellings of one judge's name are no difference."""
        mine, theirs = (
            survey.model_copy(update={"judges": tuple(parse_judge_name(name).text for name in survey.judges)})
            for survey in (self, other)
        )
        return super(Survey, mine).differences(theirs)

    @classmethod
    def load(cls, path: Path) -> Survey:
        """Read a survey.json.

        Raises:
            InputError: the file cannot be read, or is not a survey of this version.

        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give a survey.json") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise InputError(f"{path}: {field}: {first['msg']}; give a survey.json of this version") from error


def _uncomputed(axis: Axis) -> Axis:
    """Return an axis as it was asked for, before its prompts were rendered and its direction computed."""
    if not isinstance(axis, ComputedAxis):
        return axis
    recipe = axis.recipe.with_probes(lambda probe: probe.model_copy(update={"chats": None}))
    return axis.model_copy(update={"recipe": recipe, "fingerprint": None, "found": None, "length": None})


def _without_chats(probe: Probe) -> Probe:
    if isinstance(probe, PromptProbe):
        return probe.model_copy(update={"chats": None, "goals": None})
    return probe.model_copy(update={"chats": None}) if isinstance(probe, ChatProbe) else probe
