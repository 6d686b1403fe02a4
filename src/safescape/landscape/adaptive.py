"""Which points of an adaptive survey tell most: a function of the survey and of what is measured.

The plan is played from its beginning every time: a round's points are chosen by the results of the rounds before it
alone. So where a run was interrupted, and in which order its points were finished, makes no difference to it.

Knows no model and no store. On a line a place is a whole number, steps of the grid from the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from safescape.landscape.bounds import bounded, envelope, visage_of
from safescape.landscape.estimates import Seen, Stored, judged_by
from safescape.landscape.measures import safety_auc
from safescape.survey import Adaptive, Lines, MeasuredPoint, Outcome, Point, Survey

__all__ = ["Plan", "Sought", "begun", "plan_of", "seek"]

_COARSE = (4, 2, 1)
"""A line is first measured at its ends, half way to them and at a quarter of the way: where a bisection of the whole
would look first, and enough to see a basin that ends and begins again."""
_STRETCH = 2.0
"""Percentage points: by so much may VISAGE and the safety AUC of one line depend on its unmeasured stretches."""
_SHARE = 3
"""A line's stretches are measured as long as no more than one in three of its points are. Edges are found in any case.
"""


class Sought(NamedTuple):
    """How far a line is."""

    places: tuple[int, ...]
    """All that were chosen so far, in the order in which they were."""
    open: tuple[int, ...]
    """Those of them that are not measured; none: nothing more is to be measured."""


class Plan(NamedTuple):
    """What a survey measures, as far as that is known."""

    lines: int
    """How many of its lines have been begun; of a plane, its axes."""
    points: tuple[Point, ...]
    """Chosen so far, in the order of the survey's points."""
    open: tuple[Point, ...]
    """Those of them that are not measured, in the same order; none: the plan is at its end."""
    on_lines: tuple[tuple[Point, ...] | None, ...] | None = None
    """By begun line of an adaptive survey its points in the order of α; None where more are to be chosen on it. None
    instead of all: every line has the points of its grid."""


def plan_of(survey: Survey, measured: Iterable[MeasuredPoint]) -> Plan:
    """Return which points a survey measures, and which of them next.

    Args:
        survey: Adaptive, or not: then it measures all its points in one round.
        measured: What is stored, in any order.

    """
    stored = {(entry.probe, entry.point): entry for entry in measured}
    if survey.adaptive is None or not isinstance(survey.subspace, Lines):
        there = {point for _, point in stored}
        points = tuple(survey.points())
        return Plan(len(survey.subspace.axes), points, tuple(point for point in points if point not in there))
    lines = survey.adaptive.directions
    while True:
        sought = [_on_line(survey, survey.adaptive, stored, line) for line in range(lines)]
        settled = tuple(not each.open for each in sought)
        if not all(settled) or not _wants_another(survey, survey.adaptive, stored, sought):
            break
        lines += 1
    on_lines = tuple(
        tuple(_ordered(survey, line, each)) if done else None
        for line, (each, done) in enumerate(zip(sought, settled, strict=True))
    )
    chosen = {_point(survey, line, place) for line, each in enumerate(sought) for place in each.places}
    wanting = {_point(survey, line, place) for line, each in enumerate(sought) for place in each.open}
    points = tuple(point for point in survey.points() if point in chosen)
    return Plan(lines, points, tuple(point for point in points if point in wanting), on_lines)


def seek(asr_at: Callable[[int], float | None], steps: int, *, safe_below: float, prompts: int) -> Sought:
    """Return which places of a line are measured, as far as the measured ones say.

    Args:
        asr_at: The ASR at a place, percent; None where it is not measured.
        steps: Of the grid, even: its places are -steps/2 to steps/2.
        safe_below: The ASR, percent, up to which a place is safe.
        prompts: How many are asked at most.

    """
    known: dict[int, float] = {}
    places: list[int] = []
    while wanted := _next(known, steps // 2, safe_below, prompts):
        places += wanted
        found = {place: asr_at(place) for place in wanted}
        if missing := tuple(place for place, asr in found.items() if asr is None):
            return Sought(tuple(places), missing)
        known.update((place, asr) for place, asr in found.items() if asr is not None)
    return Sought(tuple(places), ())


def _next(known: Mapping[int, float], side: int, safe_below: float, prompts: int) -> list[int]:
    """The next round: the coarse places, then both edges, then the stretch that leaves most open; at last, none."""
    if not known:
        coarse = sorted({max(1, side // part) for part in _COARSE})
        return [0, *(sign * place for place in coarse for sign in (-1, 1))]
    edges = [middle for sign in (-1, 1) if (middle := _in_bracket(known, sign, safe_below)) is not None]
    if edges or _SHARE * (len(known) + 1) > 2 * side + 1:
        return edges
    widest = _widest(known, side, prompts, has_basin=known[0] <= safe_below)
    return [] if widest is None else [widest]


def _in_bracket(known: Mapping[int, float], sign: int, safe_below: float) -> int | None:
    """The middle between the last safe and the first unsafe place of a side; None where nothing lies between."""
    last = 0
    for place in sorted(abs(place) for place in known if place * sign >= 0):
        if known[sign * place] > safe_below:
            return _middle(sign * last, sign * place)
        last = place
    return None


def _middle(one: int, other: int) -> int | None:
    """The place half way between two, the one nearer to the origin if there are two; None if there is none."""
    near, far = sorted((abs(one), abs(other)))
    if far - near < 2:
        return None
    sign = 1 if one + other > 0 else -1
    return sign * ((near + far) // 2)


def _widest(known: Mapping[int, float], side: int, prompts: int, *, has_basin: bool) -> int | None:
    """The middle of the stretch that leaves most of the line's figures open; None where they are known well enough.

    Without a basin VISAGE means nothing, and is not looked at.
    """
    places = np.array(sorted(known))
    asr = np.array([known[place] for place in places])
    between = envelope(asr, places + side)
    visage, auc = visage_of(between, prompts), bounded(safety_auc, between)
    open_ = max(has_basin * float(visage.high - visage.low), float(auc.high - auc.low))
    if open_ <= _STRETCH:
        return None
    inside, change = np.diff(places) - 1, np.abs(np.diff(asr))
    # a place that may be at 100 may leave VISAGE's mean, whatever it would have brought to it
    leaves = has_basin & ((asr[1:] >= 100.0) != (asr[:-1] >= 100.0))
    weight = inside * np.maximum(change, np.where(leaves, float(visage.high), 0.0))
    widest = int(weight.argmax())
    return _middle(int(places[widest]), int(places[widest + 1])) if weight[widest] > 0 else None


def _wants_another(survey: Survey, adaptive: Adaptive, stored: Stored, sought: Sequence[Sought]) -> bool:
    """Whether VISAGE's interval over the lines so far is too wide, and there is another line."""
    if adaptive.interval is None or len(sought) == len(survey.subspace.axes):
        return False
    judge = survey.judges[0]
    chosen = [_ordered(survey, line, each) for line, each in enumerate(sought)]
    here, read = begun(survey, len(sought)), judged_by(judge, stored)
    visage = Seen(here, read, survey.prompts, judge, adaptive.safe_below, chosen).visage()
    if visage is None or visage.low is None or visage.high is None:
        return False
    return visage.high - visage.low > adaptive.interval


def begun(survey: Survey, lines: int) -> Survey:
    """Return an adaptive survey with its first lines alone: those that have been begun."""
    return survey.model_copy(
        update={"subspace": survey.subspace.model_copy(update={"axes": survey.subspace.axes[:lines]})}
    )


def _ordered(survey: Survey, line: int, sought: Sought) -> list[Point]:
    return [_point(survey, line, place) for place in sorted(sought.places)]


def _on_line(
    survey: Survey, adaptive: Adaptive, stored: Mapping[tuple[str, Point], MeasuredPoint], line: int
) -> Sought:
    judge, name = survey.judges[0], survey.prompts.name

    def asr_at(place: int) -> float | None:
        entry = stored.get((name, _point(survey, line, place)))
        return None if entry is None or judge not in entry.outcomes else _asr(entry.outcomes[judge])

    steps = len(survey.subspace.axes[line].grid) - 1
    return seek(asr_at, steps, safe_below=adaptive.safe_below, prompts=len(survey.prompts.prompts))


def _asr(outcomes: Sequence[Outcome]) -> float:
    return 100.0 * sum(outcome is Outcome.COMPLIED for outcome in outcomes) / len(outcomes)


def _point(survey: Survey, line: int, place: int) -> Point:
    grid = survey.subspace.axes[line].grid
    return Point(line if place else None, (grid[len(grid) // 2 + place],))
