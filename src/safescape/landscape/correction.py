"""Attack success rates corrected for the judge's error, beside the raw ones.

A judge calls compliance what is none, and misses some. From its sensitivity and specificity follows the rate that is
expected where it says p: (p + specificity - 1) / (sensitivity + specificity - 1) (Rogan and Gladen 1978, Estimating
prevalence from the results of a screening test, American Journal of Epidemiology 107:71-76), clipped to 0 to 100 %.
The interval carries the uncertainty of all three: p is drawn from Jeffreys' posterior, sensitivity and specificity from
theirs (`judge_error`), and the ends are the 2.5 % and 97.5 % quantiles of the corrected draws (the parametric method
that Flor et al. 2020, BMC Public Health 20:1135, find to cover best; `python benchmarks/judge_error.py` measures it).

A rate is that of the answers that the judge scored. Of the unscored ones nothing is known, so the lower end of an
interval counts them as failures of the attack and the upper end as successes.

A correction assumes that the judge errs on the answers of a point as it does on the labelled ones. It says nothing of
the order of the points along a line, so VISAGE, the radius and the edge are not corrected. The safety AUC is linear in
the rates, and so is the change between two models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from safescape.landscape.intervals import Z95
from safescape.landscape.judge_error import DRAWS, ErrorDraws, JudgeError, StratumTable, draws_of
from safescape.landscape.measures import Array
from safescape.landscape.schema import CorrectedAt, CorrectedChange, Corrections, Landscape, Metric
from safescape.survey import MeasuredPoint, Outcome, Outcomes, Plane, Point, PromptProbe, Survey

LEFT_OUT = ("visage", "visage_reference", "basin_radius", "edge")
"""The metrics that are not corrected."""
_KEPT = 2**12
"""Number of rates that are kept: a run of 80 prompts has at most 81 without unscored answers."""


class ScoredCounts(NamedTuple):
    """A judge's outcomes on the answers to one probe at one point."""

    complied: int
    scored: int
    unscored: int


class _Error(NamedTuple):
    """What a correction takes from a judge's error."""

    sensitivity: float
    """As a fraction."""
    specificity: float
    """As a fraction."""
    strata: tuple[StratumTable, ...]
    """The labels, whose posterior is drawn from."""

    @classmethod
    def of(cls, error: JudgeError) -> _Error:
        sensitivity, specificity = ((rate.value or 0.0) / 100 for rate in (error.sensitivity, error.specificity))
        return cls(sensitivity, specificity, error.strata)

    @property
    def drawn(self) -> ErrorDraws:
        return draws_of(self.strata)


def corrected_rate(counts: ScoredCounts, error: JudgeError) -> Metric:
    """Return a rate corrected for a judge's error, in percent; empty if no answer is scored.

    Args:
        counts: The judge's outcomes.
        error: Its agreement with people, which must correct; see `JudgeError.corrects`.

    """
    return _corrected_rate(counts, _Error.of(error))


@lru_cache(_KEPT)
def _corrected_rate(counts: ScoredCounts, error: _Error) -> Metric:
    if not counts.scored:
        return Metric()
    # seeded by the counts alone: equal counts have equal intervals
    draw = np.random.default_rng([21, counts.complied, counts.scored])
    raw = draw.beta(counts.complied + 0.5, counts.scored - counts.complied + 0.5, size=DRAWS)
    found = _corrected(counts.complied / counts.scored, raw, error)
    return _with_unscored(found, counts.scored / (counts.scored + counts.unscored))


def with_corrections(
    landscape: Landscape, measured: Iterable[MeasuredPoint], survey: Survey, errors: Mapping[str, JudgeError]
) -> Landscape:
    """Return a landscape with the corrections of the judges whose error was measured.

    Args:
        landscape: The landscape of a run.
        measured: The stored entries that it was computed from.
        survey: The survey of the run.
        errors: By judge; those of judges that have not read the run's answers are not used.

    """
    entries = list(measured)
    read = {judge for entry in entries for judge in entry.outcomes}
    used = {judge: error for judge, error in errors.items() if judge in read}
    if not used:
        return landscape
    probes = {probe.name: probe for probe in survey.probes if isinstance(probe, PromptProbe) and probe.harmful}
    shown = {(point.probe, point.line, point.coords, point.waypoint) for point in landscape.points}
    here = [entry for entry in entries if entry.probe in probes and (entry.probe, *entry.point) in shown]

    def seen(view: Landscape) -> Landscape:
        found = {judge: _corrections(view, here, survey, judge, error) for judge, error in used.items()}
        return view.model_copy(update={"corrected": found})

    other = landscape.by_refusal
    return seen(landscape).model_copy(update={"by_refusal": None if other is None else seen(other)})


def without_points(found: Corrections | None) -> Corrections | None:
    """Return corrections without those of single points."""
    return None if found is None else found.model_copy(update={"points": ()})


def _corrections(
    landscape: Landscape, entries: Sequence[MeasuredPoint], survey: Survey, judge: str, error: JudgeError
) -> Corrections:
    about = {
        "origin": error.origin.value,
        "about": error.about,
        "n": error.n,
        "sensitivity": error.sensitivity,
        "specificity": error.specificity,
        "kappa": error.kappa,
        "corrects": error.corrects,
    }
    if not error.corrects:
        return Corrections.model_validate(about)
    known = _Error.of(error)
    counts = {
        (entry.probe, entry.point): _counts(entry.outcomes[judge]) for entry in entries if judge in entry.outcomes
    }
    rates = {each: _corrected_rate(each, known) for each in set(counts.values())}
    points = tuple(
        CorrectedAt(
            **entry.point._asdict(),
            probe=entry.probe,
            scored=found.scored,
            unscored=found.unscored,
            asr=rates[found],
        )
        for entry in entries
        if (found := counts.get((entry.probe, entry.point))) is not None
    )
    metrics = landscape.metrics if judge == landscape.survey.judges[0] else landscape.by_judge.get(judge, {})
    first, origin = survey.prompts.name, next(survey.subspace.points())
    at_origin = next((p.asr for p in points if p.probe == first and _point(p) == origin), Metric())
    corrected = {"origin_asr": at_origin}
    auc = _corrected_auc(metrics.get("safety_auc", Metric()), survey, counts, known)
    left_out = [name for name in LEFT_OUT if name in metrics]
    if auc is not None:
        corrected["safety_auc"] = auc
    elif "safety_auc" in metrics:
        left_out.append("safety_auc")
    return Corrections.model_validate(
        {
            **about,
            "points": points,
            "metrics": corrected,
            "changes": _changes(landscape, survey, judge, counts, known),
            "left_out": tuple(left_out),
        }
    )


def _counts(outcomes: Sequence[Outcome]) -> ScoredCounts:
    read = Outcomes.of(outcomes)
    unscored = read.number_of(Outcome.UNSCORED)
    return ScoredCounts(read.number_of(Outcome.COMPLIED), len(read) - unscored, unscored)


def _corrected(value: float, raw: Array, error: _Error) -> Metric:
    """Return a corrected rate, in percent.

    Args:
        value: The raw rate, as a fraction.
        raw: Draws of it, as fractions.
        error: The judge's.

    """
    sensitivity, specificity, drawn = error.sensitivity, error.specificity, error.drawn
    excess = drawn.sensitivity + drawn.specificity - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.clip((raw + drawn.specificity - 1) / excess, 0.0, 1.0)
    # in the few draws in which the judge tells nothing, the rate may be anything
    low, high = (
        np.quantile(np.where(excess > 0, rates, 0.0), 0.025),
        np.quantile(np.where(excess > 0, rates, 1.0), 0.975),
    )
    corrected = min(1.0, max(0.0, (value + specificity - 1) / (sensitivity + specificity - 1)))
    return Metric(
        value=100.0 * corrected, low=100.0 * min(float(low), corrected), high=100.0 * max(float(high), corrected)
    )


def _with_unscored(rate: Metric, scored: float) -> Metric:
    """Return a rate whose interval holds whatever the unscored answers are; `scored` is the share of the others."""
    return rate.model_copy(
        update={
            "low": (rate.low or 0.0) * scored,
            "high": (rate.high or 0.0) * scored + 100.0 * (1 - scored),
        }
    )


def _spread(value: float, low: float, high: float) -> Array:
    """Return draws around a value whose 2.5 % and 97.5 % quantiles are the ends of its interval."""
    z = _normal()
    return value + np.where(z > 0, z * (high - value), z * (value - low)) / Z95


@lru_cache(maxsize=1)
def _normal() -> Array:
    return np.random.default_rng(22).standard_normal(DRAWS)


def _corrected_auc(
    auc: Metric,
    survey: Survey,
    counts: Mapping[tuple[str, Point], ScoredCounts],
    error: _Error,
) -> Metric | None:
    """Return the corrected safety AUC; None where it is not measured, or where it cannot be told what is unscored.

    The mean of corrected rates is the corrected mean, since the correction is linear before it is clipped.
    """
    if auc.value is None or auc.low is None or auc.high is None:
        return None
    subspace, name = survey.subspace, survey.prompts.name
    if isinstance(subspace, Plane):
        regions = [[point for point in subspace.points() if point.waypoint is None]]
    else:
        finished = [line for line, value in enumerate(auc.per_line) if value is not None]
        regions = [list(subspace.on_line(line)) for line in finished]
    here = [[counts[name, point] for point in region if (name, point) in counts] for region in regions]
    if not here or not all(here):
        return None
    left = [[count.unscored / (count.scored + count.unscored) for count in region] for region in here]
    unscored = float(np.mean([np.mean(region) for region in left]))
    if unscored and survey.adaptive is not None:
        return None  # the points that were not measured have rates of their own, and no unscored answers
    if unscored == 1.0:
        return None
    rate, low, high = ((100.0 - end) / 100.0 / (1 - unscored) for end in (auc.value, auc.high, auc.low))
    found = _with_unscored(_corrected(rate, _spread(rate, low, high), error), 1 - unscored)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return Metric(value=100.0 - found.value, low=100.0 - found.high, high=100.0 - found.low)


def _changes(
    landscape: Landscape,
    survey: Survey,
    judge: str,
    counts: Mapping[tuple[str, Point], ScoredCounts],
    error: _Error,
) -> dict[str, CorrectedChange]:
    """Return the corrected rates of both models and the change between them, by probe; of the first judge alone."""
    origin, *others = survey.subspace.models()
    found = {}
    for probe, change in landscape.changes.items() if others and judge == landscape.survey.judges[0] else ():
        at = [counts.get((probe, point)) for point in (origin, others[0])]
        if change.kind != "asr" or None in at or not all(count and count.scored for count in at):
            continue
        first, second = (count for count in at if count is not None)
        rates = [_corrected_rate(count, error) for count in (first, second)]
        found[probe] = CorrectedChange(
            origin=rates[0], other=rates[1], change=_corrected_change(first, second, rates, error.drawn)
        )
    return found


def _corrected_change(first: ScoredCounts, second: ScoredCounts, rates: Sequence[Metric], drawn: ErrorDraws) -> Metric:
    """Return the difference of two corrected rates, in percentage points.

    Both share the draws of the judge's error; that they are of the same prompts is not used, so the interval is rather
    too wide than too narrow.
    """
    value = (rates[1].value or 0.0) - (rates[0].value or 0.0)
    unscored = sum(count.unscored / (count.scored + count.unscored) for count in (first, second))
    excess = drawn.sensitivity + drawn.specificity - 1
    clipped = []
    for number, count in enumerate((first, second)):
        draw = np.random.default_rng([23, number])
        raw = draw.beta(count.complied + 0.5, count.scored - count.complied + 0.5, size=DRAWS)
        with np.errstate(divide="ignore", invalid="ignore"):
            clipped.append(np.clip((raw + drawn.specificity - 1) / excess, 0.0, 1.0))
    differences = clipped[1] - clipped[0]
    low = 100.0 * (float(np.quantile(np.where(excess > 0, differences, -1.0), 0.025)) - unscored)
    high = 100.0 * (float(np.quantile(np.where(excess > 0, differences, 1.0), 0.975)) + unscored)
    return Metric(value=value, low=max(-100.0, min(low, value)), high=min(100.0, max(high, value)))


def _point(found: CorrectedAt) -> Point:
    return Point(found.line, found.coords, found.waypoint)
