"""The types of what Python gives to the page's scripts.

The scripts read the same names: `tools/payload_types.py` writes these TypedDicts to `scripts/payload.d.ts`, and
TypeScript checks the scripts against it. Strings are untrusted: the scripts set them as text. Plotly reads markup in
labels, so those are made plain where they are written. Rates are in percent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypedDict

from safescape.views.series.curves import Reading
from safescape.views.series.layers import Array

CellData = float | None
"""A value of a map; null where it is not measured."""


class ReadingData(TypedDict):
    """A figure at one effective α, with its 95 % interval."""

    x: float
    value: float
    low: float
    high: float


class FigureData(TypedDict):
    """The ASR or, of harmless prompts, the over-refusal of one probe at one point, in percent."""

    n: int
    count: int
    value: float
    low: float
    high: float


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


class CourseData(TypedDict):
    """A figure along α."""

    kind: str
    label: str
    readings: Sequence[ReadingData]


class SharesData(TypedDict):
    """The shares of the outcomes along a stretch of α without a gap."""

    x: Sequence[float]
    percent: Mapping[str, Sequence[float]]


class StackData(TypedDict):
    """The shares of the outcomes along α, stacked, and the ASR that counts compliance alone."""

    judge: str
    shown: str
    pieces: Sequence[SharesData]
    strict: Sequence[Sequence[ReadingData]]


class ScaleData(TypedDict):
    """The α axis of lines."""

    low: float
    high: float
    title: str


class LinesData(TypedDict):
    """What is drawn of a run over lines."""

    scale: ScaleData
    between: bool
    mean: Sequence[ReadingData]
    edges: tuple[float, float] | None
    is_basin_shown: bool
    """Whether the basin between the edges is shown to be safe."""
    courses: Sequence[CourseData]
    measures: Sequence[CourseData]
    stack: StackData | None


class LayerData(TypedDict):
    """One figure over a plane."""

    kind: str
    label: str
    values: Sequence[Sequence[CellData]]


class PlaneData(TypedDict):
    """What is drawn of a run over a plane."""

    across: Sequence[float]
    up: Sequence[float]
    alphas: Sequence[Sequence[float]]
    betas: Sequence[Sequence[float]]
    headings: Sequence[str]
    between: bool
    layers: Sequence[LayerData]


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
    safe_below: float
    rounded: bool
    """Whether the weights are of a dtype that rounds moves."""
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
    """One list a probe, one row an answer: text, finish, tokens, then a reason a judge (-1: not read)."""


class ComparedCurve(TypedDict):
    """The ASR of one run along α, cut where a point is not measured."""

    label: str
    pieces: Sequence[Sequence[ReadingData]]


class ComparedCourse(TypedDict):
    """A further figure of one run, by the run's number."""

    run: int
    pieces: Sequence[Sequence[ReadingData]]


class ComparedMeasure(TypedDict):
    """A further figure of all runs in which it is measured."""

    kind: str
    label: str
    runs: Sequence[ComparedCourse]


class ComparedLines(TypedDict):
    """Several runs over lines."""

    scale: ScaleData
    between: bool
    runs: Sequence[ComparedCurve]
    measures: Sequence[ComparedMeasure]


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
    values: Sequence[Sequence[CellData]]
    marks: Sequence[PlaceData]


class ComparedPlanes(TypedDict):
    """Several runs over planes."""

    headings: Sequence[str]
    runs: Sequence[ComparedMap]


class ComparisonPayload(TypedDict):
    """The data of a comparison's page."""

    safe_below: float
    rounded: bool
    lines: ComparedLines | None
    planes: ComparedPlanes | None
    """Exactly one of `lines` and `planes` is given."""


class NoticePayload(TypedDict):
    """The data of a page that says why there is no other one."""

    run: str | None
    """A run whose page this becomes when its first point is measured."""


def readings_of(readings: Iterable[Reading]) -> list[ReadingData]:
    """Return a curve's readings as the scripts read them."""
    return [{"x": r.x, "value": r.value, "low": r.low, "high": r.high} for r in readings]


def cells_of(values: Array, worst: float = math.inf) -> list[list[CellData]]:
    """Return a map's values, cut at `worst`; None where they are not finite."""
    return [[min(value, worst) if math.isfinite(value) else None for value in row] for row in values.tolist()]
