"""The types of what Python gives to the page's scripts: those below, and records of `series`.

The scripts read the same names: `tools/payload_types.py` writes these types to `scripts/payload.d.ts`, and TypeScript
checks the scripts against it. Strings are untrusted: the scripts set them as text. Plotly reads markup in labels, so
those are made plain where they are written. Rates are in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from safescape.landscape import Threshold
from safescape.survey import Axis
from safescape.views.series.curves import Array, Course, Panel, Reading
from safescape.views.series.outcomes import Shares
from safescape.views.series.planes import Layer
from safescape.views.text.words import limit_label, limit_value, title_of


class FigureData(TypedDict):
    """The ASR or, of harmless prompts, the over-refusal of one probe at one point, in percent."""

    n: int
    count: int
    value: float
    low: float
    high: float
    unscored: int


class LimitData(TypedDict):
    """The threshold of the basin."""

    value: float
    """Percent."""
    label: str
    """What stands beside its line, as HTML; `short` has the value alone."""
    short: str


class OpinionData(TypedDict):
    """The verdicts of one judge on the answers to one probe at one point."""

    outcomes: str
    """One character an answer: the number of its outcome, `-` where the judge has not read it."""
    probabilities: Sequence[float | None] | None
    """The probability of compliance an answer; null where the judge states none."""


class PointData(TypedDict):
    """A measured point."""

    id: int
    """Its number among the survey's points, which stays the same while a run grows."""
    coords: Sequence[float]
    effective: Sequence[float]
    waypoint: int | None
    """The number of a checkpoint of the trajectory."""
    off: float
    """The share of a checkpoint's squared distance from the origin that lies outside of the subspace."""
    figures: Sequence[FigureData | None]
    """One a probe."""
    answers: Sequence[Sequence[OpinionData]]
    """One a probe, in each one a judge."""


class ProbeData(TypedDict):
    """A probe of prompts."""

    name: str
    harmful: bool
    prompts: Sequence[str]


class AgreementData(TypedDict):
    """How far two judges agree on one probe; judges, probe and points by their places in the payload."""

    judges: Sequence[int]
    probe: int
    table: Sequence[Sequence[int]]
    at: Sequence[tuple[int, float | None, float | None] | None]
    """A point's answers that both judges scored, the share on which they agree in percent, and Cohen's κ."""


class CurveData(TypedDict):
    """A path through points that the reader can follow: a line, a row of a plane, the checkpoints."""

    kind: Literal["line", "row", "checkpoints"]
    label: str
    grid: Sequence[float]
    points: Sequence[int | None]
    """By place in the payload, one a value of the grid; null where it is not measured."""


class MarkData(TypedDict):
    """A named model other than the origin."""

    label: str
    point: int


class StackData(TypedDict):
    """The shares of the outcomes along α, stacked, and the ASR that counts compliance alone."""

    judge: str
    shown: str
    pieces: Sequence[Shares]
    strict: Sequence[Sequence[Reading]]


class ScaleData(TypedDict):
    """The α axis of lines."""

    low: float
    high: float
    title: str


class LinesData(TypedDict):
    """What is drawn of a run over lines."""

    scale: ScaleData
    mean: Sequence[Reading]
    edges: tuple[float, float] | None
    is_basin_shown: bool
    """Whether the basin between the edges is shown to be safe."""
    courses: Sequence[Course]
    measures: Sequence[Course]
    stack: StackData | None
    keyword: Sequence[Sequence[Reading]]
    """The ASR by the keyword judge, where the refusal judge contradicts it and the curves are by another; else empty.
    """


class PlaneData(TypedDict):
    """What is drawn of a run over a plane."""

    across: Sequence[float]
    up: Sequence[float]
    alphas: Sequence[Sequence[float]]
    betas: Sequence[Sequence[float]]
    headings: Sequence[str]
    layers: Sequence[Layer]


class SampledData(TypedDict):
    """An answer of a sample with its label so far."""

    prompt: str
    text: str
    label: str | None
    skipped: bool


class RunPayload(TypedDict):
    """The data of a run's page."""

    run: str
    """The name by which the server knows the run; empty in a file."""
    outcomes: Sequence[str]
    judges: Sequence[str]
    finest: int
    """The judge that tells noise from compliance, else the first."""
    probes: Sequence[ProbeData]
    points: Sequence[PointData]
    agreement: Sequence[AgreementData]
    curves: Sequence[CurveData]
    marks: Sequence[MarkData]
    limit: LimitData
    rounded: bool
    """Whether the weights are of a dtype that rounds moves."""
    between: bool
    """Whether the first axis leads to another model."""
    lines: LinesData | None
    plane: PlaneData | None
    """Exactly one of `lines` and `plane` is given."""


class AnswersBlock(TypedDict):
    """What the model said at one point. Texts and reasons are stored once; rows hold their places."""

    judges: Sequence[str]
    finishes: Sequence[str]
    texts: Sequence[str]
    reasons: Sequence[str]
    answers: Sequence[Sequence[Sequence[int]]]
    """One list a probe, one row an answer: text, finish, tokens, the thought's text (-1: none), its tokens, whether the
    model ended it, then a reason a judge (-1: not read)."""


class ComparedLines(TypedDict):
    """Several runs over lines."""

    scale: ScaleData
    between: bool
    runs: Sequence[Course]
    """Their labels are the names of the runs."""
    measures: Sequence[Panel]


class PlaceData(TypedDict):
    """Where a named model lies on a plane."""

    label: str
    place: Sequence[float]
    asr: float


class ComparedMap(TypedDict):
    """The ASR of one run over its plane."""

    label: str
    across: Sequence[float]
    up: Sequence[float]
    values: Array
    marks: Sequence[PlaceData]


class ComparedPlanes(TypedDict):
    """Several runs over planes."""

    headings: Sequence[str]
    runs: Sequence[ComparedMap]


class ComparisonPayload(TypedDict):
    """The data of a comparison's page."""

    limit: LimitData
    rounded: bool
    lines: ComparedLines | None
    planes: ComparedPlanes | None
    """Exactly one of `lines` and `planes` is given."""


class LabelPayload(TypedDict):
    """The answers of a sample that a person labels; no point and no verdict."""

    token: str
    """What a request to store a label must send."""
    labels: Sequence[str]
    answers: Sequence[SampledData]


class NoticePayload(TypedDict):
    """The data of a page that says why there is no other one."""

    run: str | None
    """A run whose page this becomes when its first point is measured."""


def limit_of(limit: Threshold) -> LimitData:
    """Return the threshold of a basin as it is drawn."""
    return {"value": limit.value, "label": limit_label(limit).replace("\n", "<br>"), "short": limit_value(limit)}


def scale_of(axes: Sequence[Axis]) -> ScaleData:
    """Return the α axis on which all of these lines fit."""
    return {"low": min(axis.low for axis in axes), "high": max(axis.high for axis in axes), "title": title_of(axes[0])}
