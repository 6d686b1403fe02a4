"""The measured points of a landscape, as the survey's first judge saw them."""

from __future__ import annotations

import math
from typing import NamedTuple

from safescape.landscape import Landscape, PointFigures, rate_of, unscored_at
from safescape.survey import InterpolationAxis


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


def extent_of(landscape: Landscape) -> Extent:
    """Count the measured points of the survey's first probe, and those to be measured."""
    first, adaptive = first_probe(landscape), landscape.survey.adaptive is not None
    here = [point for point in landscape.counted if point.probe == first]
    grids = [len(axis.grid) for axis in landscape.axes]
    total = math.prod(grids) if landscape.subspace == "plane" else 1 + sum(size - 1 for size in grids)
    total += len(landscape.survey.through)
    chosen = len(here) if landscape.complete else None
    return Extent(len(here), chosen if adaptive else total, here[0].n if here else 0)


def _at(landscape: Landscape, alpha: float) -> Sample | None:
    coords = (alpha, 0.0) if landscape.subspace == "plane" else (alpha,)
    here = (p for p in landscape.counted if p.coords == coords and p.line in (None, 0))
    return next((sample_of(landscape, p) for p in here if p.probe == first_probe(landscape)), None)
