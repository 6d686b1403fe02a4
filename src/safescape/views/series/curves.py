"""The series that pictures and pages draw: a landscape's points, and its lines as curves."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.landscape import Landscape, Measure, PointFigures, State, decision_of, is_above, rate_of, unscored_at
from safescape.survey import InterpolationAxis
from safescape.views.text.words import label_of, measure_labels

Array = NDArray[np.float64]

WORST = 1e6
"""The perplexity at which curves, layers and scales end: worse than guessing among all tokens."""


class Sample(NamedTuple):
    """One measured point, as the survey's first judge saw it. Rates in percent."""

    coords: tuple[float, ...]
    """As requested; empty for a checkpoint of a trajectory."""
    effective: tuple[float, ...]
    """Coordinates of the weights as rounded: where the point is drawn."""
    waypoint: int | None
    off: float
    """The share of a checkpoint's squared distance from the origin that lies outside of the subspace."""
    n: int
    complied: int
    asr: float
    low: float
    high: float
    unscored: int
    """Number of answers that the judge left unscored, which the ASR does not count."""

    @property
    def x(self) -> float:
        """The first coordinate of the weights as rounded."""
        return self.effective[0]

    @property
    def y(self) -> float:
        """The second coordinate of the weights as rounded, on a plane."""
        return self.effective[1]


class Reading(NamedTuple):
    """A figure at one place along α, with its 95 % interval."""

    x: float
    value: float
    low: float
    high: float


class Curve(NamedTuple):
    """The measured points of one line in the order of α, the origin among them."""

    line: int
    label: str
    samples: tuple[Sample, ...]
    complete: bool

    @property
    def readings(self) -> dict[float, Reading]:
        """The ASR by the α requested."""
        return {s.coords[0]: Reading(s.x, s.asr, s.low, s.high) for s in self.samples}


class Course(NamedTuple):
    """One figure of one probe along α: on the only line, or its mean over the finished ones."""

    probe: str
    kind: str
    """asr, over_refusal, accuracy or perplexity; or the name of an outcome, whose share it is."""
    pieces: tuple[tuple[Reading, ...], ...]
    """The readings, cut where a point between them is not measured yet: no curve is drawn across. At least one."""
    label: str = ""
    """Of a measure: its kind, numbered if several have the same."""
    run: int = 0
    """The number of the run in a comparison."""

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The readings of all pieces."""
        return tuple(chain.from_iterable(self.pieces))


class Panel(NamedTuple):
    """One probe of over-refusal or capability over all runs of a comparison."""

    label: str
    kind: str
    runs: tuple[Course, ...]
    """Of the runs in which it is measured."""


class Extent(NamedTuple):
    """How much of a survey is measured."""

    measured: int
    total: int | None
    """Points, the origin counted once; None while an adaptive run has not chosen them all."""
    prompts: int

    @property
    def points(self) -> str:
        """The progress in words: `12 of 61 points`, or `12 points so far`."""
        return f"{self.measured} points so far" if self.total is None else f"{self.measured} of {self.total} points"


def first_probe(landscape: Landscape) -> str:
    """Return the name of the probe that the figures are about; empty if nothing is measured."""
    return landscape.counted[0].probe if landscape.counted else ""


def sample_of(landscape: Landscape, figures: PointFigures) -> Sample:
    """Return a point as the first judge sees it: an attack succeeds where the model complied."""
    count = figures.count or 0
    rate, unscored = rate_of(count, figures.n), unscored_at(landscape, figures)
    return Sample(figures.coords, figures.effective, figures.waypoint, figures.off, figures.n, count, *rate, unscored)


def places_of(landscape: Landscape, line: int) -> tuple[float, ...]:
    """Return the α that a finished line has: its grid, or in an adaptive run those that were chosen."""
    finished = landscape.metrics["safety_auc"].per_line
    if landscape.survey.adaptive is not None and line < len(finished) and finished[line] is not None:
        return tuple(point.coords[0] for point in landscape.on_line(line))
    return landscape.axes[line].grid


def curves_of(landscape: Landscape, probe: str | None = None) -> list[Curve]:
    """Return the ASR of a probe, by default the first, as one curve per line, even if only the origin is measured."""
    found = []
    for line, axis in enumerate(landscape.axes):
        samples = tuple(sample_of(landscape, figures) for figures in landscape.on_line(line, probe))
        complete = {s.coords[0] for s in samples} >= set(places_of(landscape, line))
        found.append(Curve(line, label_of(line, axis), samples, complete))
    return found


def mean_of(curves: Sequence[Curve]) -> tuple[Reading, ...]:
    """Return the mean over the complete curves, at every coordinate that one of them has; empty for fewer than two.

    Incomplete curves are left out: a mean over different lines at every point would show steps that no model has.
    """
    whole = [curve.readings for curve in curves if curve.complete]
    return _mean(whole) if len(whole) > 1 else ()


def courses_of(landscape: Landscape) -> list[Course]:
    """Return the ASR along α of every probe of harmful prompts that is asked along it, the first one first."""
    further = (name for name in landscape.by_probe if name not in landscape.survey.only_at_models)
    return [
        course_over(landscape, probe, "asr", [curve.readings for curve in curves_of(landscape, probe)])
        for probe in (first_probe(landscape), *further)
    ]


def measure_courses(landscape: Landscape) -> list[Course]:
    """Return over-refusal and capability along α, one course per probe that is asked along it."""
    measures = measures_everywhere(landscape)
    labels = measure_labels((m.probe, m.kind) for m in measures)
    courses = []
    for probe, kind in dict.fromkeys((m.probe, m.kind) for m in measures):
        lines = [
            {
                m.coords[0]: Reading(m.effective[0], m.value, m.low, m.high)
                for m in measures
                if m.probe == probe and m.line in (line, None)
            }
            for line in range(len(landscape.axes))
        ]
        courses.append(course_over(landscape, probe, kind, lines)._replace(label=labels[probe]))
    return courses


def panels_of(landscapes: Sequence[Landscape]) -> list[Panel]:
    """Return what was measured of several runs beside the ASR, in the order of the survey."""
    found: dict[tuple[str, str], list[Course]] = {}
    for number, landscape in enumerate(landscapes):
        for course in measure_courses(landscape):
            found.setdefault((course.probe, course.kind), []).append(course._replace(run=number))
    labels = measure_labels(list(found))
    return [Panel(labels[probe], kind, tuple(courses)) for (probe, kind), courses in found.items()]


def course_over(landscape: Landscape, probe: str, kind: str, lines: Sequence[Mapping[float, Reading]]) -> Course:
    """Return the mean over the finished lines; where none is finished, the first one that has more than the origin.

    `lines` has the readings of each line by the α requested.
    """
    whole = [here for line, here in enumerate(lines) if set(here) >= set(places_of(landscape, line))]
    begun = sorted((here for here in lines if here), key=lambda here: len(here) == 1)
    # an adaptive run chooses the points of each line: none is missing between two of them
    grid = () if landscape.survey.adaptive is not None else landscape.axes[0].grid
    return course_of(probe, kind, whole or begun[:1], grid)


def course_of(probe: str, kind: str, lines: Sequence[Mapping[float, Reading]], grid: Sequence[float]) -> Course:
    """Return the mean over lines at every α where one has a reading; of a perplexity, the geometric mean.

    `lines` has the readings of each line by the α requested; between them, a line is interpolated linearly. A gap is
    where all lines lack a point of the `grid`.
    """
    places, grid = sorted(set().union(*lines)), sorted(grid)
    between = enumerate(pairwise(places), start=1)
    gaps = [n for n, (left, right) in between if bisect_right(grid, left) < bisect_left(grid, right)]
    readings = _mean(lines, logarithmic=kind == "perplexity")
    if kind == "perplexity":
        readings = tuple(Reading(r.x, *(min(figure, WORST) for figure in r[1:])) for r in readings)
    pieces = (readings[begin:end] for begin, end in pairwise([0, *gaps, len(readings)]))
    return Course(probe, kind, tuple(pieces))


def waypoints_of(landscape: Landscape) -> list[Sample]:
    """Return the measured checkpoints of the trajectory in their order, as the first probe saw them."""
    first = first_probe(landscape)
    found = [sample_of(landscape, p) for p in landscape.counted if p.waypoint is not None and p.probe == first]
    return sorted(found, key=lambda sample: sample.waypoint or 0)


def origin_of(landscape: Landscape) -> Sample | None:
    """Return the origin, as the first probe saw it; None if it is not measured."""
    return _at(landscape, 0.0)


def other_model(landscape: Landscape) -> Sample | None:
    """Return the point of the other model; None if the first axis leads to none, or it is not measured."""
    return _at(landscape, 1.0) if isinstance(landscape.axes[0], InterpolationAxis) else None


def named_models(landscape: Landscape) -> dict[str, Sample]:
    """Return the points of the models that have a name and are measured: origin, other model, third model."""
    found = {
        "origin": origin_of(landscape),
        "other model": other_model(landscape),
        "third model": _third_model(landscape),
    }
    return {name: sample for name, sample in found.items() if sample is not None}


def _third_model(landscape: Landscape) -> Sample | None:
    """The third model of a plane; its α is known only if a checkpoint names that model."""
    axis = landscape.axes[-1]
    if landscape.subspace != "plane" or not isinstance(axis, InterpolationAxis):
        return None
    names = [waypoint.fingerprint for waypoint in landscape.survey.through]
    return next((s for s in waypoints_of(landscape) if names[s.waypoint or 0] == axis.fingerprint), None)


def mean_edges(landscape: Landscape) -> tuple[float, float] | None:
    """Return where the basin ends, averaged over the finished lines; None where there is no basin to show."""
    landscape = landscape.decided
    found = [edges for edges in landscape.edges if edges is not None]
    if not landscape.has_basin or not found:
        return None
    left, right = zip(*found, strict=True)
    return fmean(left), fmean(right)


def is_basin_shown(landscape: Landscape) -> bool:
    """Return whether the basin is shown to be safe: the run is decided, and the origin's whole interval is safe."""
    landscape = landscape.decided
    asr, is_decided = landscape.metrics["origin_asr"], decision_of(landscape).state is not State.UNKNOWN
    return is_decided and asr.high is not None and not is_above(asr.high, landscape.safe_below)


def limits_of(landscapes: Sequence[Landscape]) -> tuple[float, float]:
    """Return the ends of an axis of α on which all points of these landscapes fit, with a margin."""
    ends = [end for landscape in landscapes for axis in landscape.axes for end in (axis.low, axis.high)]
    seen = [point.effective[0] for landscape in landscapes for point in landscape.counted]
    low, high = min(*ends, *seen), max(*ends, *seen)
    return low - 0.015 * (high - low), high + 0.015 * (high - low)


def extent_of(landscape: Landscape) -> Extent:
    """Count the measured points of the survey's first probe, and those to be measured."""
    first, adaptive = first_probe(landscape), landscape.survey.adaptive is not None
    here = [point for point in landscape.counted if point.probe == first]
    grids = [len(axis.grid) for axis in landscape.axes]
    total = math.prod(grids) if landscape.subspace == "plane" else 1 + sum(size - 1 for size in grids)
    total += len(landscape.survey.through)
    chosen = len(here) if landscape.complete else None
    return Extent(len(here), chosen if adaptive else total, here[0].n if here else 0)


def measures_everywhere(landscape: Landscape) -> list[Measure]:
    """The measures of the probes that are asked at every point."""
    apart = landscape.survey.only_at_models
    return [measure for measure in landscape.measures if measure.waypoint is None and measure.probe not in apart]


def _at(landscape: Landscape, alpha: float) -> Sample | None:
    coords = (alpha, 0.0) if landscape.subspace == "plane" else (alpha,)
    here = (p for p in landscape.counted if p.coords == coords and p.line in (None, 0))
    return next((sample_of(landscape, p) for p in here if p.probe == first_probe(landscape)), None)


def _mean(lines: Sequence[Mapping[float, Reading]], *, logarithmic: bool = False) -> tuple[Reading, ...]:
    """The mean of the lines, and of the ends of their intervals, wherever one of them has a reading.

    The same prompts are asked on every line, so the interval of the mean is hardly narrower than that of a line.
    """
    places = sorted(set().union(*lines))
    if not places:
        return ()
    mean = np.mean([_read_at(places, line, logarithmic=logarithmic) for line in lines], axis=0)
    if logarithmic:
        mean[..., 1:] = np.exp(mean[..., 1:])
    return tuple(Reading(*(float(part) for part in reading)) for reading in mean)


def _read_at(places: Sequence[float], line: Mapping[float, Reading], *, logarithmic: bool) -> Array:
    """The readings of a line at all places, interpolated linearly: shape (places, fields of a reading)."""
    own = sorted(line)
    cells = np.array([line[alpha] for alpha in own])
    if logarithmic:
        cells[..., 1:] = np.log(cells[..., 1:])
    return cells if own == list(places) else np.array([np.interp(places, own, field) for field in cells.T]).T
