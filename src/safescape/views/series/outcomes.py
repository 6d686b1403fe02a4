"""The four outcomes along α and over a plane, of runs with a judge that tells noise from compliance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from safescape.landscape import Landscape, PointFigures, is_above, rate_of
from safescape.survey import KEYWORD, InterpolationAxis, Outcome
from safescape.views.series.curves import Course, Reading, course_over, places_of
from safescape.views.series.planes import Layer, layer_of
from safescape.views.series.samples import first_probe
from safescape.views.text.words import all_judges_of, printable, shortened

ORDER = (Outcome.COMPLIED, Outcome.INCOHERENT, Outcome.UNSCORED, Outcome.REFUSED)
"""From the bottom of a stack to its top: the lowest can be read off the axis, and all but the last are together the
answers that were not refused."""


class Shares(NamedTuple):
    """The outcomes along a stretch of α without a gap, in percent, as the finest judge sees them."""

    x: tuple[float, ...]
    """Effective coordinates, ascending; two at least."""
    percent: Mapping[Outcome, tuple[float, ...]]
    """In the order of a stack; they add up to 100. Without `unscored` if no answer is unscored anywhere."""


class Beyond(NamedTuple):
    """The outcomes at the place that shows best what lies beyond the basin. Shares of all answers, in percent."""

    where: str
    not_refused: float
    complied: float
    incoherent: float


def finest_of(landscape: Landscape) -> str | None:
    """Return the judge that tells noise from compliance, of several the one that read most; None without one."""
    first = first_probe(landscape)
    read = Counter(p.judge for p in landscape.counted if p.incoherent is not None and p.probe == first)
    return read.most_common(1)[0][0] if read else None


def shares_of(landscape: Landscape) -> list[Shares]:
    """Return the outcomes of the first probe along α, on the only line or as a mean over the finished ones.

    As for curves: if no line is finished, those of the first one begun, cut where a point is not measured.
    """
    courses = {outcome: _course(landscape, outcome) for outcome in _outcomes(landscape)}
    if not courses or not courses[Outcome.COMPLIED].readings:
        return []
    step = min(after - before for before, after in pairwise(landscape.axes[0].grid))
    found = []
    for piece in zip(*(course.pieces for course in courses.values()), strict=True):
        x = tuple(reading.x for reading in piece[0])
        shares = [tuple(reading.value for reading in readings) for readings in piece]
        if len(x) == 1:
            # a point between two gaps gets a width, or it would be invisible
            x, shares = (x[0] - step / 4, x[0] + step / 4), [2 * share for share in shares]
        found.append(Shares(x, dict(zip(courses, shares, strict=True))))
    return found


def seen_by(landscape: Landscape) -> tuple[str, str]:
    """Return the finest judge, as one line of untrusted text, and a description of what `shares_of` shows."""
    grids = [len(places_of(landscape, line)) for line in range(len(landscape.axes))]
    finished = sum(len(_readings(landscape, line, Outcome.COMPLIED)) == grid for line, grid in enumerate(grids))
    said = f", to “{shortened(printable(first_probe(landscape)), 20)}”" if landscape.by_probe else ""
    if len(landscape.axes) > 1 and landscape.subspace == "lines":
        said += f", mean of {finished} directions" if finished > 1 else ", one direction"
    return printable(finest_of(landscape)), said


def strict_course(landscape: Landscape) -> Course | None:
    """Return the ASR that counts compliance alone, along α; None if the ASR itself does so, or no judge can tell."""
    if finest_of(landscape) in (None, all_judges_of(landscape)[0]):
        return None
    course = _course(landscape, Outcome.COMPLIED)
    return course if course.readings else None


def keyword_course(landscape: Landscape) -> Course | None:
    """Return the ASR by the keyword judge along α, where it clashes with the refusal judge and the ASR is another's."""
    if not _is_beside_keyword(landscape):
        return None
    lines = [
        {
            p.coords[0]: Reading(p.effective[0], p.keyword_asr, p.keyword_asr_low or 0.0, p.keyword_asr_high or 0.0)
            for p in landscape.on_line(line, first_probe(landscape))
            if p.keyword_asr is not None
        }
        for line in range(len(landscape.axes))
    ]
    course = course_over(landscape, first_probe(landscape), "asr", lines)
    return course if course.readings else None


def keyword_layers(landscape: Landscape) -> list[Layer]:
    """Return the same over a plane, as the only layer of a list; an empty list where it is not to be shown."""
    if not _is_beside_keyword(landscape):
        return []
    first = first_probe(landscape)
    here = [point for point in landscape.counted if point.probe == first and point.waypoint is None]
    values = ((point.coords, point.keyword_asr) for point in here if point.keyword_asr is not None)
    return [layer_of(landscape, first, "asr", values, "ASR, keyword judge")]


def _is_beside_keyword(landscape: Landscape) -> bool:
    return bool(landscape.clashes) and landscape.survey.judges[0] != KEYWORD


def outcome_layers(landscape: Landscape) -> list[Layer]:
    """Return the share of each outcome over a plane; without `complied` where that is the ASR itself."""
    counts_compliance, first = finest_of(landscape) == all_judges_of(landscape)[0], first_probe(landscape)
    points = [point for point in _points(landscape) if point.waypoint is None]
    return [
        layer_of(landscape, first, outcome.value, ((p.coords, _share(p, outcome)) for p in points), outcome.value)
        for outcome in _outcomes(landscape)
        if not (outcome is Outcome.COMPLIED and counts_compliance)
    ]


def beyond_of(landscape: Landscape) -> Beyond | None:
    """Return what the answers are where safety is lost; None where it is not, or no judge can tell.

    Without a basin that is at the origin, on a line to another model at that model. In random directions it is at the
    nearest distance at which 90 % are no longer refused, or else at the one with the fewest refusals; on a plane, over
    all points whose ASR is above the threshold. An adaptive run counts only distances at which all lines are measured.
    """
    if finest_of(landscape) is None:
        return None
    points = [point for point in _points(landscape) if point.waypoint is None]
    if landscape.has_basin is False:
        return _beyond(landscape, "At the origin", (point for point in points if not any(point.coords)))
    if isinstance(landscape.axes[0], InterpolationAxis):
        there = (p for p in points if p.line in (None, 0) and p.coords[0] == 1.0 and not any(p.coords[1:]))
        return _beyond(landscape, "At the other model", there)
    if landscape.subspace == "plane":
        lost = (p for p in points if p.count is not None and is_above(100.0 * p.count / p.n, landscape.limit.value))
        return _beyond(landscape, "Over the points of the plane outside of the basin", lost)
    rings: dict[float, list[PointFigures]] = {}
    for point in points:
        rings.setdefault(abs(point.coords[0]), []).append(point)
    least = 1 if landscape.survey.adaptive is None else 2 * len(landscape.axes)
    found = [
        beyond
        for far, ring in sorted(rings.items())
        if far and len(ring) >= least and (beyond := _beyond(landscape, f"At |α| = {far:g}", ring)) is not None
    ]
    broken = (beyond for beyond in found if beyond.not_refused >= 90.0)
    return next(broken, max(found, key=lambda beyond: beyond.not_refused, default=None))


def _beyond(landscape: Landscape, where: str, points: Iterable[PointFigures]) -> Beyond | None:
    shares = [[_share(point, outcome) for outcome in (*ORDER[:2], Outcome.REFUSED)] for point in points]
    if not shares:
        return None
    complied, incoherent, refused = (float(share) for share in np.mean(shares, axis=0))
    # where hardly anything is answered, safety is not lost
    is_lost = is_above(100.0 - refused, landscape.limit.value)
    return Beyond(where, 100.0 - refused, complied, incoherent) if is_lost else None


def _points(landscape: Landscape) -> list[PointFigures]:
    """The points of the first probe that the finest judge has read."""
    first, finest = first_probe(landscape), finest_of(landscape)
    return [point for point in landscape.counted if point.probe == first and point.judge == finest]


def _outcomes(landscape: Landscape) -> list[Outcome]:
    if finest_of(landscape) is None:
        return []
    unscored = any(point.unscored for point in _points(landscape))
    return [outcome for outcome in ORDER if unscored or outcome is not Outcome.UNSCORED]


def _share(point: PointFigures, outcome: Outcome) -> float:
    return 100.0 * int(getattr(point, outcome.value) or 0) / point.n


def _course(landscape: Landscape, outcome: Outcome) -> Course:
    lines = [_readings(landscape, line, outcome) for line in range(len(landscape.axes))]
    return course_over(landscape, first_probe(landscape), outcome.value, lines)


def _readings(landscape: Landscape, line: int, outcome: Outcome) -> dict[float, Reading]:
    """The share of an outcome on one line, by the α requested."""
    return {
        p.coords[0]: Reading(p.effective[0], *rate_of(getattr(p, outcome.value) or 0, p.n))
        for p in _points(landscape)
        if p.waypoint is None and p.line in (line, None)
    }
