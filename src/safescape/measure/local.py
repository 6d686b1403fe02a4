"""Who measures a survey's points: this process, or workers of a Ray.

Where a survey is measured is no part of it: its results are the same everywhere, and a run that was begun here may be
finished there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch

from safescape.errors import RunError
from safescape.measure.dispatch import Failed
from safescape.measure.evidence import Origin
from safescape.measure.session import Measured, Station, groups_of
from safescape.placement import is_out_of_memory
from safescape.survey import Point, Survey
from safescape.weights import Model

__all__ = ["Local", "Workers"]


class Workers(Protocol):
    """Measure some points of one survey."""

    fingerprint_at_start: str
    """Of the origin, as all engines hold it."""
    made_of: Mapping[str, str]
    """What is worth recording of them beside versions, by name."""

    def measured(self) -> Iterator[Measured | Failed]:
        """Every one of their points, as it is measured or has failed."""
        ...

    def add(self, points: Sequence[Point]) -> None:
        """Give them further points, when they have measured those that they had; an adaptive survey's next round."""
        ...

    def at_origin(self) -> Origin:
        """Let one engine stand at the origin, to be asked there what it finds of answers given elsewhere."""
        ...

    def close(self) -> str:
        """Let every engine go back to its origin and return its fingerprint; raise RunError if one did not."""
        ...


class Local:
    """One engine, in this process."""

    def __init__(self, survey: Survey, model: Model, points: Sequence[Point]) -> None:
        with _memory(survey):
            self._station = Station(survey, model)
        self._survey, self._points = survey, points
        self.fingerprint_at_start = self._station.fingerprint_at_start
        self.made_of: Mapping[str, str] = {"threads": str(torch.get_num_threads())}

    def measured(self) -> Iterator[Measured | Failed]:
        """Measure the points that were given, group by group."""
        wanted = set(self._points)
        for group in groups_of(self._survey, self._points):
            with _memory(self._survey):
                measured = self._station.measure_together(group)
            yield from (found for found in measured if found.point in wanted)

    def add(self, points: Sequence[Point]) -> None:
        """Take the next round of points."""
        self._points = points

    def at_origin(self) -> Origin:
        """Move the engine to the origin and return what answers there."""
        return self._station.at_origin()

    def close(self) -> str:
        """Close the engine and return the fingerprint of its weights."""
        return self._station.close()


@contextlib.contextmanager
def _memory(survey: Survey) -> Iterator[None]:
    """Say it in one line when memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less = "--dtype bfloat16 or " if survey.dtype == "float32" else ""
        raise RunError(
            f"memory ran out on {survey.device} ({str(error).strip().splitlines()[0]:.120}); free some and the same "
            f"command resumes, or begin anew with {less}a lower --batch-size than {survey.batch_size}"
        ) from error
