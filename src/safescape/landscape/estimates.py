"""The figures of one probe by one judge, with their intervals, from the outcome of every prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.landscape.measures import (
    Array,
    Envelope,
    Estimate,
    basin_edges,
    basin_radius,
    bounded,
    envelope,
    plane_radius,
    rate_of,
    safety_auc,
    visage_of,
    visage_reference,
)
from safescape.landscape.rates import RESAMPLES, Figure, Stored, draws, share_of
from safescape.landscape.schema import Metric
from safescape.survey import Outcome, Plane, Point, PromptProbe, RandomAxis, Survey


def judged_by(judge: str, stored: Stored) -> Stored:
    """Return the entries that a judge has read, and those of capability probes, which no judge reads."""
    return {key: entry for key, entry in stored.items() if entry.scores or judge in entry.outcomes}


class _Region(NamedTuple):
    """A line, or a plane, whose chosen points are all measured."""

    coords: Array
    """Shape (grid,): the α of a line; for a plane the index of the point, row by row."""
    success: Array
    """Shape (points, prompts): 1.0 where the attack succeeded; NaN for a prompt that was not asked there."""
    places: NDArray[np.int_]
    """Shape (points,): the indices of the points in the grid; all of them, unless the survey is adaptive."""

    @property
    def envelope(self) -> Envelope:
        """The bounds of the ASR at every place of the grid."""
        return envelope(_percent(self.success), self.places)


def _ahead(survey: Survey) -> list[Point]:
    """Return the points from the origin to the other model and beyond; none if no axis leads to a model."""
    origin, *others = survey.subspace.models()
    if not others:
        return []
    grid = survey.subspace.axes[others[0].line or 0].grid
    return [origin, *(others[0]._replace(coords=(a, *others[0].coords[1:])) for a in grid if a > 0.0)]


class JudgedSubspace:
    """The outcomes of one probe on the subspace, by one judge, and their figures.

    Args:
        survey: The survey; an adaptive one is reduced to the lines that have started.
        stored: What is stored; only what the judge has read counts.
        probe: Harmful prompts.
        judge: Its name.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        on_lines: See `Plan.on_lines`.

    """

    def __init__(
        self,
        survey: Survey,
        stored: Stored,
        probe: PromptProbe,
        judge: str,
        safe_below: float,
        on_lines: Sequence[Sequence[Point] | None] | None = None,
    ) -> None:
        stored = judged_by(judge, stored)

        def success(point: Point) -> list[float]:
            found = [float(o is Outcome.COMPLIED) for o in stored[probe.name, point].outcomes[judge]]
            return found + [np.nan] * (len(probe.prompts) - len(found))

        def region(points: Sequence[Point], coords: Array) -> _Region | None:
            if not all((probe.name, point) in stored for point in points):
                return None
            places = np.arange(len(coords))
            if len(points) < len(coords):
                places = np.searchsorted(coords, [point.coords[0] for point in points])
            return _Region(coords, np.array([success(point) for point in points]), places)

        # seeds the draws for what is not measured: errors of two runs must not cancel in their difference
        self._run = list(f"{survey.model_fingerprint} {probe.name} {probe.system_prompt}".encode())
        self._safe_below, self._subspace = safe_below, survey.subspace
        origin = next(survey.subspace.points())
        self._origin = np.array(success(origin)) if (probe.name, origin) in stored else None
        ahead = [] if probe.only_at else _ahead(survey)
        gap = next((place for place, point in enumerate(ahead) if (probe.name, point) not in stored), len(ahead))
        self._ahead = region(ahead[:gap], np.array([point.coords[0] for point in ahead[:gap]])) if gap else None
        if isinstance(survey.subspace, Plane):
            across, up = (axis.grid for axis in survey.subspace.axes)
            points = [Point(None, (alpha, beta)) for beta in up for alpha in across]
            self._regions = [region(points, np.arange(len(points), dtype=float))]
        else:
            chosen = [survey.subspace.on_line(n) for n in range(len(survey.subspace.axes))]
            self._regions = [
                None if points is None else region(points, np.array(axis.grid))
                for points, axis in zip(on_lines or chosen, survey.subspace.axes, strict=True)
            ]

    @property
    def _finished(self) -> list[_Region]:
        return [region for region in self._regions if region is not None]

    def metrics(self) -> dict[str, Metric]:
        """Return each figure with its interval; empty if it is not measured or not defined on this subspace."""
        figures = self.figures()
        names = ("visage", "visage_reference", "safety_auc", "basin_radius")
        found = {name: figures[name].metric() if name in figures else Metric() for name in names}
        never_left = any(bool((_percent(region.success) <= self._safe_below).all()) for region in self._finished)
        found["basin_radius"] = found["basin_radius"].model_copy(update={"at_least": never_left})
        if self._ahead is not None:
            never_left = bool((_percent(self._ahead.success) <= self._safe_below).all())
            found["edge"] = figures["edge"].metric().model_copy(update={"at_least": never_left})
        return {"origin_asr": self._origin_asr(), **found}

    def visage(self) -> Metric | None:
        """Return VISAGE with its interval; None if no line is finished."""
        if not self._finished or self._origin is None:
            return None
        return self._figure(_visage).metric()

    def figures(self) -> dict[str, Figure]:
        """Return the figures that are defined on this subspace and measured, with their resamples."""
        if self._origin is None:
            return {}
        found = {"origin_asr": share_of(self._origin)}
        if self._ahead is not None:
            found["edge"] = self._edge(self._ahead)
        if not self._finished:
            return found
        measures: dict[str, Callable[[Envelope, _Region], Estimate]] = {
            "visage": _visage,
            "safety_auc": lambda asr, _: bounded(safety_auc, asr),
        }
        if isinstance(self._subspace, Plane):
            first, second = self._subspace.axes
            # with one axis in units of a finetune and one in units of the weights, distances have no meaning
            if isinstance(first, RandomAxis) and isinstance(second, RandomAxis):
                across, up = np.array(first.grid), np.array(second.grid)
                measures["basin_radius"] = lambda asr, _: bounded(
                    lambda asr: plane_radius(asr, across, up, self._safe_below), asr
                )
        else:
            measures["visage_reference"] = lambda asr, _: bounded(visage_reference, asr)
            measures["basin_radius"] = lambda asr, region: bounded(
                lambda asr: basin_radius(asr, region.coords, self._safe_below), asr
            )
        return {**found, **{name: self._figure(measure) for name, measure in measures.items()}}

    def edges(self) -> tuple[tuple[float, float] | None, ...]:
        """Return per line where the basin ends on both sides; None for a plane and for an unfinished line."""

        def of(region: _Region | None) -> tuple[float, float] | None:
            if region is None or isinstance(self._subspace, Plane):
                return None
            asr = region.envelope
            left, right = bounded(lambda asr: basin_edges(asr, region.coords, self._safe_below), asr).value
            return (float(left), float(right)) if asr.low[region.coords == 0.0][0] <= self._safe_below else None

        return tuple(of(region) for region in self._regions)

    def _origin_asr(self) -> Metric:
        if self._origin is None:
            return Metric()
        return Metric(**rate_of(int(self._origin.sum()), self._origin.size)._asdict())

    def _edge(self, ahead: _Region) -> Figure:
        """Return the α at which the ASR first exceeds the threshold; the last measured one if it does not."""
        weights, prompts = draws(ahead.success.shape[1]), ahead.success.shape[1]
        asr = np.vstack([_percent(ahead.success), 100.0 * (weights @ ahead.success.T) / prompts])
        value, *resamples = basin_edges(asr, ahead.coords, self._safe_below)[:, 1]
        return Figure(float(value), (), np.array(resamples))

    def _figure(self, measure: Callable[[Envelope, _Region], Estimate]) -> Figure:
        """Return a measure's mean over the lines, with its bootstrap over prompts and lines.

        A resample draws the same prompts at all points and lines, since the same prompts are asked everywhere. If a
        measure depends on unmeasured points, each resample takes a random value between its bounds.
        """
        per_line = tuple(
            None if region is None else float(measure(region.envelope, region).value) for region in self._regions
        )
        lines = len(self._finished)
        share = np.random.default_rng(self._run).random(RESAMPLES)
        weights = draws(self._finished[0].success.shape[1])
        chosen = np.random.default_rng(1).integers(lines, size=(lines, RESAMPLES))
        rows = []
        for number, region in enumerate(self._regions):
            if region is not None:
                low, _, high = measure(envelope(self._resampled(region, number, weights), region.places), region)
                rows.append(low if high is low else low + share * (high - low))
        means = np.take_along_axis(np.stack(rows), chosen, axis=0).mean(axis=0)
        value = float(np.mean([figure for figure in per_line if figure is not None]))
        return Figure(value, per_line, means)

    def _resampled(self, region: _Region, line: int, weights: Array) -> Array:
        """Return the ASR at a region's points in every resample of prompts, percent: shape (RESAMPLES, points).

        The outcome of a prompt that was not asked at a point is drawn with a rate from Jeffreys' posterior of those
        asked there, Beta(successes + 1/2, failures + 1/2), so that the interval covers it.
        """
        prompts = region.success.shape[1]
        asked = ~np.isnan(region.success)
        asr: Array = 100.0 * (weights @ np.where(asked, region.success, 0.0).T) / prompts
        for number in np.flatnonzero(~asked.all(axis=1)):
            here, success = asked[number], region.success[number, asked[number]].sum()
            draw = np.random.default_rng([*self._run, line, int(region.places[number])])
            rate = draw.beta(success + 0.5, here.sum() - success + 0.5, size=RESAMPLES)
            would = draw.random((RESAMPLES, int((~here).sum()))) < rate[:, None]
            asr[:, number] += 100.0 * (weights[:, ~here] * would).sum(axis=1) / prompts
        return asr


def _visage(asr: Envelope, region: _Region) -> Estimate:
    return visage_of(asr, region.success.shape[1])


def _percent(success: Array) -> Array:
    """Return the ASR of points over the prompts that were asked there, percent."""
    asked = ~np.isnan(success)
    return 100.0 * np.where(asked, success, 0.0).sum(axis=-1) / asked.sum(axis=-1)
