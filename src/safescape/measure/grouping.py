"""Which points are answered together: a function of the survey alone, so that a resumed run has the same batches."""

from __future__ import annotations

from collections.abc import Collection

from safescape.survey import Point, Survey

__all__ = ["groups_of"]


def groups_of(survey: Survey, points: Collection[Point]) -> list[tuple[Point, ...]]:
    """Return the groups that hold some points, in the order of measuring.

    Where weights are moved, a point is a group. Else the origin is one, as it has no adapter, and the other points of
    the line are cut into groups from its beginning. A group is whole also where some of its points are not asked for:
    what its points say may depend on the batch that they say it in.

    Args:
        survey: What is measured.
        points: Of it, those that are to be measured.

    """
    if survey.adapter == "merged":
        return [(point,) for point in points]
    wanted, every = set(points), list(survey.points())
    away, most = [point for point in every if not point.is_origin], survey.points_together
    groups = [tuple(point for point in every if point.is_origin)]
    groups += [tuple(away[first : first + most]) for first in range(0, len(away), most)]
    return [group for group in groups if not wanted.isdisjoint(group)]
