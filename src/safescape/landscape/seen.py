"""One probe's subspace as one judge sees it: from every prompt's outcome to the figures with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from safescape.landscape.figures import Metric
from safescape.landscape.measures import (
    Array,
    basin_edges,
    basin_radius,
    plane_radius,
    safety_auc,
    visage,
    visage_reference,
    wilson,
)
from safescape.landscape.resampling import RESAMPLES, Figure, draws, share_of
from safescape.survey import MeasuredPoint, Outcome, Plane, Point, PromptProbe, RandomAxis, Survey

__all__ = ["Seen", "Stored", "judged_by", "judges_of"]


Stored = Mapping[tuple[str, Point], MeasuredPoint]
"""What is measured, by probe and point."""


def judges_of(survey: Survey, measured: Iterable[MeasuredPoint]) -> tuple[str, ...]:
    """Return the judges of a run: the survey's, then those that read its answers later, by name."""
    later = {judge for entry in measured for judge in entry.outcomes} - set(survey.judges)
    return (*survey.judges, *sorted(later))


def judged_by(judge: str, stored: Stored) -> Stored:
    """Return what is measured as far as a judge has read it; what has no answers is there in any case."""
    return {key: entry for key, entry in stored.items() if entry.scores or judge in entry.outcomes}


class _Region(NamedTuple):
    """One line, or a plane: all its points are measured."""

    coords: Array
    """Shape (points,): the α of a line; of a plane the number of the point, row by row."""
    success: Array
    """Shape (points, prompts): 1.0 where the attack succeeded."""


def _ahead(survey: Survey) -> list[Point]:
    """The points from the origin to the other model and beyond it; none where no axis leads to one."""
    origin, *others = survey.subspace.models()
    if not others:
        return []
    grid = survey.subspace.axes[others[0].line or 0].grid
    return [origin, *(others[0]._replace(coords=(a, *others[0].coords[1:])) for a in grid if a > 0.0)]


class Seen:
    """The subspace of one probe as one judge sees it, and its figures."""

    def __init__(
        self,
        survey: Survey,
        stored: Stored,
        probe: PromptProbe,
        judge: str,
        safe_below: float,
    ) -> None:
        def success(point: Point) -> list[float]:
            return [float(o is Outcome.COMPLIED) for o in stored[probe.name, point].outcomes[judge]]

        def region(points: Sequence[Point], coords: Array) -> _Region | None:
            if not all((probe.name, point) in stored for point in points):
                return None
            return _Region(coords, np.array([success(point) for point in points]))

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
            self._regions = [
                region(survey.subspace.on_line(number), np.array(axis.grid))
                for number, axis in enumerate(survey.subspace.axes)
            ]

    @property
    def _finished(self) -> list[_Region]:
        return [region for region in self._regions if region is not None]

    def metrics(self) -> dict[str, Metric]:
        """Each figure with its interval; those that were not measured, or mean nothing on this subspace, are empty."""
        figures = self.figures()
        names = ("visage", "visage_reference", "safety_auc", "basin_radius")
        found = {name: figures[name].metric() if name in figures else Metric() for name in names}
        never_left = any(bool((_percent(region.success) <= self._safe_below).all()) for region in self._finished)
        found["basin_radius"] = found["basin_radius"].model_copy(update={"at_least": never_left})
        if self._ahead is not None:
            never_left = bool((_percent(self._ahead.success) <= self._safe_below).all())
            found["edge"] = figures["edge"].metric().model_copy(update={"at_least": never_left})
        return {"origin_asr": self._origin_asr(), **found}

    def figures(self) -> dict[str, Figure]:
        """The measures of the finished lines, or of the plane, with their resamples; and what needs none finished."""
        if self._origin is None:
            return {}
        found = {"origin_asr": share_of(self._origin)}
        if self._ahead is not None:
            found["edge"] = self._edge(self._ahead)
        if not self._finished:
            return found
        measures: dict[str, Callable[[Array, Array], Array]] = {
            "visage": lambda asr, _: visage(asr),
            "safety_auc": lambda asr, _: safety_auc(asr),
        }
        if isinstance(self._subspace, Plane):
            first, second = self._subspace.axes
            # where one axis is in units of a finetune and the other in units of the weights, no distance has a meaning
            if isinstance(first, RandomAxis) and isinstance(second, RandomAxis):
                across, up = np.array(first.grid), np.array(second.grid)
                measures["basin_radius"] = lambda asr, _: plane_radius(asr, across, up, self._safe_below)
        else:
            measures["visage_reference"] = lambda asr, _: visage_reference(asr)
            measures["basin_radius"] = lambda asr, coords: basin_radius(asr, coords, self._safe_below)
        return {**found, **{name: self._figure(measure) for name, measure in measures.items()}}

    def edges(self) -> tuple[tuple[float, float] | None, ...]:
        """Line by line where the basin ends; a plane has no edges of this kind."""

        def of(region: _Region | None) -> tuple[float, float] | None:
            if region is None or isinstance(self._subspace, Plane):
                return None
            asr = _percent(region.success)
            left, right = basin_edges(asr, region.coords, self._safe_below)
            return (float(left), float(right)) if asr[region.coords == 0.0][0] <= self._safe_below else None

        return tuple(of(region) for region in self._regions)

    def _origin_asr(self) -> Metric:
        if self._origin is None:
            return Metric()
        successes = int(self._origin.sum())
        low, high = wilson(successes, self._origin.size)
        return Metric(value=100.0 * successes / self._origin.size, low=low, high=high)

    def _edge(self, ahead: _Region) -> Figure:
        """The α at which the ASR first passes the threshold; the last one measured if it does not."""
        weights, prompts = draws(ahead.success.shape[1]), ahead.success.shape[1]
        asr = np.vstack([_percent(ahead.success), 100.0 * (weights @ ahead.success.T) / prompts])
        value, *resamples = basin_edges(asr, ahead.coords, self._safe_below)[:, 1]
        return Figure(float(value), (), np.array(resamples))

    def _figure(self, measure: Callable[[Array, Array], Array]) -> Figure:
        """A measure's mean over the lines, with its bootstrap over prompts and lines.

        Prompts are drawn once for all points and lines of a resample: the same requests are asked everywhere,
        so their differences are shared.
        """
        per_line = tuple(
            None if region is None else float(measure(_percent(region.success), region.coords))
            for region in self._regions
        )
        finished = self._finished
        prompts, lines = finished[0].success.shape[1], len(finished)
        weights = draws(prompts)
        chosen = np.random.default_rng(1).integers(lines, size=(lines, RESAMPLES))
        resampled = np.stack(
            [measure(100.0 * (weights @ region.success.T) / prompts, region.coords) for region in finished]
        )
        means = np.take_along_axis(resampled, chosen, axis=0).mean(axis=0)
        value = float(np.mean([figure for figure in per_line if figure is not None]))
        return Figure(value, per_line, means)


def _percent(success: Array) -> Array:
    return 100.0 * success.sum(axis=-1) / success.shape[-1]
