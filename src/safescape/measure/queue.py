"""The order in which workers take the points of a survey: row by row, the most expensive first."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable

from safescape.survey import ChoiceProbe, HarnessProbe, Point, Probe, PromptProbe, Survey

Cost = Callable[[Point], tuple[float, ...]]
"""A sort key of points by the time that measuring them is expected to take."""


def cost_of(survey: Survey) -> Cost:
    """Return the sort key of a survey's points: by the number of items asked there, then by the distance.

    Far from the origin a model no longer refuses in a few words, but writes to the limit of tokens. A checkpoint costs
    more than a point of the subspace, because its projection on the subspace is computed too.
    """

    def cost(point: Point) -> tuple[float, ...]:
        items = sum(_items(probe) for probe in survey.asked_at(point))
        return float(items), float(point.waypoint is not None), math.hypot(*point.coords)

    return cost


def _items(probe: Probe) -> int:
    if isinstance(probe, PromptProbe):
        return len(probe.prompts)
    if isinstance(probe, ChoiceProbe):
        return len(probe.questions)
    if isinstance(probe, HarnessProbe):
        return probe.limit or 1000  # a typical task; only lm-eval knows
    return len(probe.texts)


Row = tuple[int | None, tuple[float, ...]]


def row_of(point: Point) -> Row:
    """Return the line of a point, or its row of a plane: these points share a direction that an engine keeps."""
    return point.line, point.coords[1:]


class PointQueue:
    """Open points by row, in each row the most expensive first.

    A worker stays on its row as long as the row has points, since another row requires another direction. Then it takes
    the row with the most expensive point, and the longest of several such rows. The last points are therefore cheap,
    and no worker measures alone for long at the end.
    """

    def __init__(self, points: Iterable[Point], cost: Cost) -> None:
        self._rows: dict[Row, deque[Point]] = {}
        self._cost = {point: cost(point) for point in points}
        for point in sorted(self._cost, key=self._cost.__getitem__, reverse=True):
            self._rows.setdefault(row_of(point), deque()).append(point)
        self._length = len(self._cost)

    def take(self, row: Row | None) -> Point | None:
        """Remove and return the next point for a worker on `row`; None if none is left."""
        if not self._rows:
            return None
        if row not in self._rows:
            row = max(self._rows, key=lambda row: (self._cost[self._rows[row][0]], len(self._rows[row])))
        points = self._rows[row]
        point = points.popleft()
        if not points:
            del self._rows[row]
        self._length -= 1
        return point

    def __len__(self) -> int:
        return self._length
