"""What was said at a point: a block of its own, compressed, that the page reads when somebody looks there.

A run of a plane holds tens of megabytes of answers, of which a reader reads a few. So the page has of every answer what
its judges called it, and the words apart, point by point. A point is named by its number among the survey's points,
which stays the same while a run grows.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from safescape.landscape import Landscape
from safescape.store import Store
from safescape.survey import Finish, Point, PromptProbe, Survey
from safescape.views.pages.document import embedded

__all__ = ["blocks_of", "numbers_of", "said_at"]

_EFFORT = 9
"""A page is written once and read, mailed and stored often."""


def numbers_of(survey: Survey) -> dict[Point, int]:
    """Return the number of each of a survey's points."""
    return {point: number for number, point in enumerate(survey.points())}


def blocks_of(store: Store, landscape: Landscape) -> Iterator[tuple[int, bytes]]:
    """Yield for each point of a landscape its number and its block."""
    numbers = numbers_of(store.survey)
    for point in dict.fromkeys(Point(p.line, p.coords, p.waypoint) for p in landscape.points):
        yield numbers[point], said_at(store, point)


def said_at(store: Store, point: Point) -> bytes:
    """Return what was said at a point, as compressed JSON.

    Its `answers` have an entry a probe of prompts, with a row an answer: its text, how it ended, its tokens and, judge
    by judge, the reason. Texts and reasons stand once, since refusals repeat, and rows have their places.
    """
    texts, reasons, judges = _Table(), _Table(), list(store.verdicts.judges())
    finishes = list(Finish)
    rows = [
        [
            [
                texts.place(response.text),
                finishes.index(response.finish),
                response.tokens,
                *(reasons.place(verdicts[judge].reason) if judge in verdicts else -1 for judge in judges),
            ]
            for _, (response, verdicts) in store.points.answers(point, probe.name)
        ]
        for probe in store.survey.probes
        if isinstance(probe, PromptProbe)
    ]
    block = {
        "judges": judges,
        "finishes": finishes,
        "texts": texts.strings,
        "reasons": reasons.strings,
        "answers": rows,
    }
    return gzip.compress(embedded(block).encode(), _EFFORT, mtime=0)


class _Table:
    """Strings stored once."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self._place: dict[str, int] = {}

    def place(self, text: str) -> int:
        if text not in self._place:
            self._place[text] = len(self.strings)
            self.strings.append(text)
        return self._place[text]
