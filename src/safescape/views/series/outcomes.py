"""What the picture and the page both say of four outcomes: where a model is unsafe, and where it is merely broken.

A run has them where one of its judges tells noise from compliance. Knows no colour and no drawing library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from safescape.landscape import Landscape, PointFigures, wilson
from safescape.survey import InterpolationAxis, Outcome
from safescape.views.series.curves import Course, Reading, course_of, first_probe, is_adaptive, places_of, unbroken
from safescape.views.series.layers import Layer, layer_of
from safescape.views.text.words import all_judges_of, printable, shortened

__all__ = [
    "ORDER",
    "Beyond",
    "Shares",
    "beyond_of",
    "finest_of",
    "outcome_layers",
    "seen_by",
    "shares_of",
    "strict_course",
]

ORDER = (Outcome.COMPLIED, Outcome.INCOHERENT, Outcome.UNSCORED, Outcome.REFUSED)
"""From the bottom of a stack to its top: what lies lowest can be read off the axis, and all but the last are together
what was not refused."""


class Shares(NamedTuple):
    """What became of the answers along a stretch of α without a gap, in percent, as the finest judge sees them."""

    x: tuple[float, ...]
    """Effective coordinates, ascending; two at least."""
    percent: Mapping[Outcome, tuple[float, ...]]
    """In the order of a stack; they add up to 100. Without `unscored`, if nothing was left so anywhere."""


class Beyond(NamedTuple):
    """What the answers are at the place that shows it best. Shares of all answers, in percent."""

    where: str
    not_refused: float
    complied: float
    incoherent: float


def finest_of(landscape: Landscape) -> str | None:
    """Return the judge that tells noise from compliance, the one that read most if there are several; None without."""
    first = first_probe(landscape)
    read = Counter(p.judge for p in landscape.counted if p.incoherent is not None and p.probe == first)
    return read.most_common(1)[0][0] if read else None


def shares_of(landscape: Landscape) -> list[Shares]:
    """Return the outcomes of the first probe along α, on the only line or as a mean over the finished ones.

    As the curves: of lines of which none is finished, the first one begun; cut where a point is not measured.
    """
    courses = {outcome: _course(landscape, outcome) for outcome in _outcomes(landscape)}
    some = courses.get(Outcome.COMPLIED)
    if some is None or not some.readings:
        return []
    step = min(after - before for before, after in pairwise(landscape.axes[0].grid))
    found = []
    for place, piece in enumerate(some.pieces):
        x = [reading.x for reading in piece]
        values = {outcome: [r.value for r in course.pieces[place]] for outcome, course in courses.items()}
        if len(x) == 1:
            # a point between two gaps has a width, or nobody would see it
            x = [x[0] - step / 4, x[0] + step / 4]
            values = {outcome: 2 * share for outcome, share in values.items()}
        found.append(Shares(tuple(x), {outcome: tuple(share) for outcome, share in values.items()}))
    return found


def seen_by(landscape: Landscape) -> tuple[str, str]:
    """Return whose outcomes these are, as hostile text on one line, and what `shares_of` shows of them."""
    lines = range(len(landscape.axes))
    grids = [len(places_of(landscape, line)) for line in lines]
    finished = sum(len(_readings(landscape, line, Outcome.COMPLIED)) == grids[line] for line in lines)
    said = f", to “{shortened(printable(first_probe(landscape)), 20)}”" if landscape.by_probe else ""
    if len(landscape.axes) > 1 and landscape.subspace == "lines":
        said += f", mean of {finished} directions" if finished > 1 else ", one direction"
    return printable(finest_of(landscape)), said


def strict_course(landscape: Landscape) -> Course | None:
    """Return the ASR that counts compliance alone, along α; None where the ASR itself does, or no judge tells."""
    if finest_of(landscape) in (None, all_judges_of(landscape)[0]):
        return None
    return _course(landscape, Outcome.COMPLIED)


def outcome_layers(landscape: Landscape) -> list[Layer]:
    """Return the share of each outcome over a plane; without `complied` where that is the ASR itself."""
    finest = finest_of(landscape)
    layers = []
    for outcome in _outcomes(landscape):
        if outcome is Outcome.COMPLIED and finest == all_judges_of(landscape)[0]:
            continue
        values = ((p.coords, _share(p, outcome)) for p in _points(landscape) if p.waypoint is None)
        layers.append(layer_of(landscape, first_probe(landscape), outcome.value, values))
    return layers


def beyond_of(landscape: Landscape) -> Beyond | None:
    """Return what becomes of the model where safety is lost; None where it is not, or no judge tells.

    Without a basin that is the origin, on a line to another model that model. In random directions it is the nearest
    distance at which 90 % are no longer refused, or else the one at which most are not; on a plane, all its points at
    which the ASR is above the threshold. Of an adaptive run only distances count at which all lines are measured.
    """
    points = [point for point in _points(landscape) if point.waypoint is None]
    if finest_of(landscape) is None:
        return None
    between, plane = isinstance(landscape.axes[0], InterpolationAxis), landscape.subspace == "plane"
    if landscape.has_basin is False:
        return _beyond(landscape, "At the origin", (point for point in points if not any(point.coords)))
    if between:
        there = (p for p in points if p.line in (None, 0) and p.coords[0] == 1.0 and not any(p.coords[1:]))
        return _beyond(landscape, "At the other model", there)
    if plane:
        lost = (p for p in points if p.count is not None and 100.0 * p.count / p.n > landscape.safe_below)
        return _beyond(landscape, "Over the points of the plane outside of the basin", lost)
    rings: dict[float, list[PointFigures]] = {}
    for point in points:
        rings.setdefault(abs(point.coords[0]), []).append(point)
    least = 2 * len(landscape.axes) if is_adaptive(landscape) else 1
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
    # where hardly anything is answered, nothing is lost
    return Beyond(where, 100.0 - refused, complied, incoherent) if 100.0 - refused > landscape.safe_below else None


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
    return 100.0 * _count(point, outcome) / point.n


def _count(point: PointFigures, outcome: Outcome) -> int:
    return int(getattr(point, outcome.value) or 0)


def _course(landscape: Landscape, outcome: Outcome) -> Course:
    numbers = range(len(landscape.axes))
    lines = [(_readings(landscape, line, outcome), len(places_of(landscape, line))) for line in numbers]
    whole = [here for here, points in lines if len(here) == points]
    # of lines that all share the origin, the first that has more
    begun = sorted((here for here, _ in lines if here), key=lambda here: len(here) == 1)
    return course_of(first_probe(landscape), outcome.value, whole or begun[:1], unbroken(landscape))


def _readings(landscape: Landscape, line: int, outcome: Outcome) -> dict[float, Reading]:
    """The share of an outcome on one line, by the α asked for."""
    return {
        p.coords[0]: Reading(p.effective[0], _share(p, outcome), *wilson(_count(p, outcome), p.n))
        for p in _points(landscape)
        if p.waypoint is None and p.line in (line, None)
    }
