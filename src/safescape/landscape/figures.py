"""The landscape of a run: every figure with its interval, computed from what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from safescape.errors import InputError
from safescape.landscape.adaptive import Plan, first_lines, plan_of
from safescape.landscape.agreement import agreements_of
from safescape.landscape.clash import clashes_of
from safescape.landscape.defence import defence_of
from safescape.landscape.estimates import JudgedSubspace, judged_by
from safescape.landscape.figure import differences
from safescape.landscape.rates import Stored, changes_of, counted_of, reading_of
from safescape.landscape.schema import (
    MAX_UNSCORED,
    OF_A_BASIN,
    SAFE_BELOW,
    Landscape,
    Measure,
    Metric,
    PointFigures,
    SurveySummary,
    ThoughtFigures,
    Threshold,
)
from safescape.landscape.threshold import threshold_of
from safescape.survey import (
    KEYWORD,
    REFUSAL,
    MeasuredPoint,
    Outcome,
    Probe,
    PromptProbe,
    Survey,
    ThoughtCounts,
    tells_noise,
)

MAX_LOSS = 10.0
"""The largest capability loss of the defence, in percent of the origin's (TamperBench, arXiv 2602.06911)."""


class _Limits(NamedTuple):
    """What the figures are held against."""

    safe_below: float
    max_unscored: float
    shared: float | None


def landscape_of(
    survey: Survey,
    measured: Iterable[MeasuredPoint],
    *,
    safe_below: float = SAFE_BELOW,
    max_unscored: float = MAX_UNSCORED,
    by: str | None = None,
    shared: float | None = None,
) -> Landscape:
    """Compute every figure of a run.

    An interrupted run has the figures of its finished lines. The landscape of an adaptive survey has the lines that
    have started, and its figures are those of the full grids; `bounds` bounds the values of unmeasured points.

    Args:
        survey: The survey of the run.
        measured: Stored entries, one per point and probe, in any order.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        max_unscored: The share of unscored answers, in percent, above which a rate decides nothing.
        by: The judge that the figures are by; None: the survey's first one.
        shared: The threshold of the first probe's basin, in percent, in a comparison; None: the run's own.

    Raises:
        InputError: `safe_below` is not a percentage below 100, or `max_unscored` is none.

    """
    if not 0.0 <= safe_below < 100.0:
        raise InputError(f"--safe-below {safe_below}: expected a percentage from 0 to below 100, for example 10")
    if not 0.0 <= max_unscored <= 100.0:
        raise InputError(f"--max-unscored {max_unscored}: expected a percentage from 0 to 100, for example 5")
    stored = {(entry.probe, entry.point): entry for entry in measured}
    plan = plan_of(survey, stored.values())
    if survey.adaptive is not None:
        survey = first_lines(survey, plan.lines)
    first = by or survey.judges[0]
    # the verdict of any other judge, also of the normalised keyword judge, is its own
    clashes = clashes_of(survey, stored) if first in (KEYWORD, REFUSAL) else ()
    limits = _Limits(safe_below, max_unscored, shared)
    seen = _seen_by(first, survey, stored, plan, limits).model_copy(update={"clashes": clashes})
    if not clashes or first != KEYWORD or by is not None:
        return seen
    other = _seen_by(REFUSAL, survey, stored, plan, limits).model_copy(update={"clashes": clashes})
    return seen.model_copy(update={"by_refusal": other})


def _seen_by(judge: str, survey: Survey, stored: Stored, plan: Plan, limits: _Limits) -> Landscape:
    """Compute every figure with `judge` as the first judge."""
    survey = survey.model_copy(update={"judges": tuple(dict.fromkeys((judge, *survey.judges)))})
    places = [(probe, point) for point in plan.points for probe in survey.asked_at(point)]
    here = [(probe, stored[probe.name, point]) for probe, point in places if (probe.name, point) in stored]
    later = {judge for entry in stored.values() for judge in entry.outcomes} - set(survey.judges)
    judges = (*survey.judges, *sorted(later))
    first, *others = judges

    def seen(probe: PromptProbe, judge: str, shared: float | None = None) -> _Seen:
        threshold = threshold_of(survey, stored, probe, judge, limits.safe_below, plan.on_lines, shared=shared)
        there = JudgedSubspace(survey, stored, probe, judge, threshold.value, plan.on_lines)
        return _Seen(there, threshold, _metrics(there, stored, survey, probe, judge))

    further = [probe for probe in survey.probes[1:] if isinstance(probe, PromptProbe) and probe.harmful]
    main = seen(survey.prompts, first, limits.shared)
    by_judge = {judge: seen(survey.prompts, judge) for judge in others}
    by_probe = {probe.name: seen(probe, first) for probe in further}
    judged = judged_by(first, stored)
    read = [entry for _, entry in here if not entry.scores]
    waiting = tuple(judge for judge in survey.judges if not all(judge in entry.outcomes for entry in read))
    document = survey.model_dump(mode="json", exclude={"subspace", "probes", "calibration"})
    document["probes"] = [_described(probe) for probe in survey.probes]
    return Landscape(
        survey=SurveySummary.model_validate(document),
        subspace=survey.subspace.kind,
        axes=survey.subspace.axes,
        complete=not plan.open and len(here) == len(places) and first not in waiting,
        waiting=waiting,
        safe_below=limits.safe_below,
        threshold=main.threshold,
        further_thresholds={
            name: there.threshold
            for name, there in {**by_judge, **by_probe}.items()
            if there.threshold != Threshold(value=limits.safe_below)
        },
        max_unscored=limits.max_unscored,
        points=tuple(
            _point_figures(probe, entry, judges)
            for probe, entry in here
            if isinstance(probe, PromptProbe) and entry.outcomes
        ),
        measures=tuple(measure for probe, entry in here for measure in _measures(probe, entry, first)),
        metrics=main.metrics,
        edges=main.judged.edges(),
        by_judge={judge: there.metrics for judge, there in by_judge.items()},
        agreement=tuple(
            agreement
            for harmful in (survey.prompts, *further)
            for agreement in agreements_of(
                harmful.name,
                [_read_by_judges(harmful, entry) for probe, entry in here if probe is harmful and entry.outcomes],
                judges,
            )
        ),
        by_probe={name: there.metrics for name, there in by_probe.items()},
        differences={
            probe.name: _differences(by_probe[probe.name], main)
            for probe in further
            if probe.pairs_with(survey.prompts)
        },
        defence={
            probe.name: found
            for probe in further
            if (found := defence_of(survey, judged, probe, max_loss=MAX_LOSS, max_unscored=limits.max_unscored))
            is not None
        },
        changes=changes_of(survey, judged),
    )


def _read_by_judges(probe: PromptProbe, entry: MeasuredPoint) -> MeasuredPoint:
    """Return an entry without the attacks that found no prompt: no judge has read an answer there."""
    failed = set(probe.failed)
    outcomes = {
        judge: [outcome for number, outcome in enumerate(found) if number not in failed]
        for judge, found in entry.outcomes.items()
    }
    return entry._replace(outcomes=outcomes)


class _Seen(NamedTuple):
    """One probe as one judge sees it."""

    judged: JudgedSubspace
    threshold: Threshold
    metrics: dict[str, Metric]


def _metrics(
    there: JudgedSubspace, stored: Stored, survey: Survey, probe: PromptProbe, judge: str
) -> dict[str, Metric]:
    """Return a probe's metrics by a judge, with the number of unscored answers at the origin."""
    metrics, origin = there.metrics(), stored.get((probe.name, next(survey.subspace.points())))
    if origin is None or judge not in origin.outcomes:
        return metrics
    unscored = sum(outcome is Outcome.UNSCORED for outcome in origin.outcomes[judge])
    return {**metrics, "origin_asr": metrics["origin_asr"].model_copy(update={"unscored": unscored})}


def _differences(one: _Seen, other: _Seen) -> dict[str, Metric]:
    """Return the paired differences of two probes; those of the basin only if both are held against one threshold."""
    found = differences(one.judged.figures(), other.judged.figures())
    alike = one.threshold.value == other.threshold.value
    return found if alike else {name: metric for name, metric in found.items() if name not in OF_A_BASIN}


def _described(probe: Probe) -> dict[str, object]:
    """Return a probe as JSON, with the number of its items in place of items and chats, which survey.json has."""
    items = next((field for field in ("prompts", "questions", "texts") if hasattr(probe, field)), None)
    if items is None:
        return probe.model_dump(mode="json")
    described = {**probe.model_dump(mode="json", exclude={items, "chats", "goals"}), items: len(getattr(probe, items))}
    return {**described, "failed": len(described["failed"])} if described.get("failed") else described


def _point_figures(probe: PromptProbe, entry: MeasuredPoint, judges: Sequence[str]) -> PointFigures:
    # a judge that tells noise from compliance, if one has read the answers there
    judge = min((name for name in judges if name in entry.outcomes), key=lambda name: not tells_noise(name))
    outcomes = entry.outcomes[judge]
    count = {outcome: sum(o is outcome for o in outcomes) for outcome in Outcome}
    keyword = Metric()
    if probe.harmful and KEYWORD in entry.outcomes:
        keyword = reading_of(probe, entry.outcomes[KEYWORD], ()).metric()
    return PointFigures(
        **entry.point._asdict(),
        effective=entry.position.effective,
        off=entry.position.off,
        probe=entry.probe,
        n=len(outcomes),
        count=sum(o is counted_of(probe) for o in entry.outcomes[judges[0]]) if judges[0] in entry.outcomes else None,
        judge=judge,
        refused=count[Outcome.REFUSED],
        complied=count[Outcome.COMPLIED],
        incoherent=count[Outcome.INCOHERENT] if tells_noise(judge) else None,
        unscored=count[Outcome.UNSCORED],
        count_unscored=_unscored_by(judges[0], judge, entry),
        keyword_asr=keyword.value,
        keyword_asr_low=keyword.low,
        keyword_asr_high=keyword.high,
        strict_asr=100.0 * count[Outcome.COMPLIED] / len(outcomes) if probe.harmful and tells_noise(judge) else None,
        thoughts=None if entry.thoughts is None else _thought_figures(entry.thoughts),
    )


def _unscored_by(first: str, finest: str, entry: MeasuredPoint) -> int | None:
    """Return `PointFigures.count_unscored`."""
    if first == finest or first not in entry.outcomes:
        return None
    unscored = sum(outcome is Outcome.UNSCORED for outcome in entry.outcomes[first])
    unanswered = entry.thoughts.unanswered if entry.thoughts is not None else 0
    return None if unscored == unanswered else unscored


def _thought_figures(counts: ThoughtCounts) -> ThoughtFigures:
    mean = counts.tokens / counts.thoughts if counts.thoughts else None
    return ThoughtFigures(n=counts.thoughts, mean_tokens=mean, cut=counts.cut, unanswered=counts.unanswered)


def _measures(probe: Probe, entry: MeasuredPoint, judge: str) -> Iterator[Measure]:
    """Yield the figure of an entry that is no ASR: over-refusal of harmless prompts, or a capability."""
    if not entry.scores and judge not in entry.outcomes:
        return
    reading = reading_of(probe, entry.outcomes.get(judge, ()), entry.scores)
    if reading.kind == "asr":
        return
    yield Measure(**entry.point._asdict(), effective=entry.position.effective, **reading._asdict())
