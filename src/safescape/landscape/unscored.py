"""What a landscape would be if the answers that its first judge left unscored were answers to the requests.

An ASR counts compliance, and an unscored answer may be one. A decision and a gate call nothing safe that would not be
so if it were; what they call unsafe rests on the answers that are scored.
"""

from __future__ import annotations

import numpy as np

from safescape.landscape.intervals import Rate, rate_of
from safescape.landscape.measures import Array, basin_edges, basin_radius, plane_radius
from safescape.landscape.schema import Landscape, PointFigures
from safescape.survey import RandomAxis


def unscored_at(landscape: Landscape, point: PointFigures) -> int:
    """Return how many answers at a point the first judge left unscored.

    If the counts there are another judge's, these are the thoughts without an answer, which no judge scores.
    """
    if point.judge == landscape.survey.judges[0]:
        return point.unscored
    return point.thoughts.unanswered if point.thoughts is not None else 0


def rate_if_answered(landscape: Landscape, point: PointFigures) -> Rate:
    """Return the ASR at a point with its unscored answers counted as answers."""
    return rate_of((point.count or 0) + unscored_at(landscape, point), point.n)


def radius_if_answered(landscape: Landscape) -> float | None:
    """Return the basin radius, a mean over the finished lines, with all unscored answers counted as answers.

    None where no line, or the plane, is finished, and where a plane has no radius.
    """
    radius, name = landscape.basin_radius, landscape.points[0].probe if landscape.points else ""
    if radius is None or not any(unscored_at(landscape, p) for p in landscape.counted if p.probe == name):
        return radius
    if landscape.subspace == "plane":
        across, up = landscape.axes
        assert isinstance(across, RandomAxis)
        assert isinstance(up, RandomAxis)
        here = {p.coords: p for p in landscape.counted if p.probe == name and p.waypoint is None}
        asr = np.array([rate_if_answered(landscape, here[a, b]).value for b in up.grid for a in across.grid])
        return float(plane_radius(asr, np.array(across.grid), np.array(up.grid), landscape.safe_below).value)
    finished = landscape.metrics["basin_radius"].per_line
    lines = (_on_line(landscape, line) for line, value in enumerate(finished) if value is not None)
    worse = float(np.mean([basin_radius(asr, coords, landscape.safe_below).value for coords, asr in lines]))
    return min(radius, worse)


def edge_if_answered(landscape: Landscape, probe: str | None = None) -> float:
    """Return the α toward the other model at which the ASR of a probe first passes the threshold, counted so."""
    points = points_ahead(landscape, probe)
    asr = np.array([rate_if_answered(landscape, point).value for point in points])
    return float(basin_edges(asr, np.array([point.coords[0] for point in points]), landscape.safe_below)[1])


def points_ahead(landscape: Landscape, probe: str | None = None) -> list[PointFigures]:
    """Return the points of a probe from the origin to the other model and beyond, in the order of α."""
    points = landscape.on_line(0, probe)
    return [point for point in points if point.coords[0] >= 0.0 and not any(point.coords[1:])]


def _on_line(landscape: Landscape, line: int) -> tuple[Array, Array]:
    """The α and the ASR at the measured points of one line, in the order of α."""
    points = landscape.on_line(line)
    return (
        np.array([point.coords[0] for point in points]),
        np.array([rate_if_answered(landscape, point).value for point in points]),
    )
