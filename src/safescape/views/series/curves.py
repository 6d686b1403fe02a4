"""A landscape's lines as curves, as pictures and pages draw them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.landscape import Landscape, Measure, State, decision_of, is_above
from safescape.views.series.samples import Sample, first_probe, sample_of
from safescape.views.text.words import label_of, measure_labels

Array = NDArray[np.float64]

WORST = 1e6
"""The perplexity at which curves, layers and scales end: worse than guessing among all tokens."""


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
    """asr, over_refusal, accuracy, perplexity or margin; or the name of an outcome, whose share it is."""
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


def measures_everywhere(landscape: Landscape) -> list[Measure]:
    """The measures of the probes that are asked at every point."""
    apart = landscape.survey.only_at_models
    return [measure for measure in landscape.measures if measure.waypoint is None and measure.probe not in apart]


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
