"""The workers that measure a survey's points, in this process or on a Ray cluster.

Where a survey is measured does not change its results: a run that was begun in one process may be finished on a Ray
cluster, and the other way round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch

from safescape.errors import RunError, first_line
from safescape.measure.dispatch import Failed
from safescape.measure.evidence import Origin
from safescape.measure.session import Measurement, MeasuringSession, groups_of
from safescape.placement import Placement, is_out_of_memory
from safescape.survey import Answer, Point, Survey
from safescape.weights import Model


class Workers(Protocol):
    """Measure points of one survey, with one engine or several."""

    fingerprint_at_start: str
    """Of the origin, as all engines hold it."""
    environment: Mapping[str, str]
    """Recorded beside the versions of packages: threads, and how many workers there are."""

    def stop_at(self, safe_below: float | None) -> None:
        """Set the ASR, in percent, at which points of an adaptive survey are stopped early, for the next round."""

    def measured(self) -> Iterator[Measurement | Failed]:
        """Yield every point as it is measured or has failed."""

    def add(self, points: Sequence[Point]) -> None:
        """Add points when all earlier ones are measured: the next round of an adaptive survey."""

    def at_origin(self) -> Origin:
        """Move one engine to the origin, to collect evidence there."""

    def ask_whole(self, point: Point, name: str, numbers: Sequence[int]) -> list[Answer]:
        """Move one engine to a point, and ask prompts of a probe there again; no answer ends as noise."""

    def close(self) -> str:
        """Move every engine back to its origin and return the fingerprint; raise RunError if it differs."""


@contextlib.contextmanager
def open_workers(
    survey: Survey,
    model: Model,
    run: Path,
    placement: Placement,
    points: Sequence[Point],
    on_wait: Callable[[str], None],
) -> Iterator[Workers]:
    """Open the workers of a placement; they end with the context.

    `run` is the run directory. `points` are to be measured, of an adaptive survey in the first round. `on_wait` is told
    what a busy cluster lacks.

    Raises:
        InputError: the model cannot be used there, or the cluster is too small.
        RunError: no worker could be started, or the cluster is busy.

    """
    if placement.is_local:
        yield LocalWorker(survey, model, run, points)
        return
    from safescape.measure.ray_workers import ray_workers  # needs the extra `ray`

    with ray_workers(survey, model, run, placement, points, on_wait) as workers:
        yield workers


class LocalWorker:
    """One engine, in this process; see `Workers`."""

    def __init__(self, survey: Survey, model: Model, run: Path, points: Sequence[Point]) -> None:
        with _one_line_without_memory(survey):
            self._session = MeasuringSession(survey, model, run)
        self._survey, self._points = survey, points
        self.fingerprint_at_start = self._session.fingerprint_at_start
        self.environment: Mapping[str, str] = {"threads": str(torch.get_num_threads())}

    def stop_at(self, safe_below: float | None) -> None:
        """Set the ASR at which points are stopped early."""
        self._session.safe_below = safe_below

    def measured(self) -> Iterator[Measurement | Failed]:
        """Measure the points, group by group."""
        wanted = set(self._points)
        for group in groups_of(self._survey, self._points):
            with _one_line_without_memory(self._survey):
                measured = self._session.measure_together(group)
            yield from (found for found in measured if found.point in wanted)

    def add(self, points: Sequence[Point]) -> None:
        """Set the points of the next round."""
        self._points = points

    def at_origin(self) -> Origin:
        """Move the engine to the origin."""
        return self._session.at_origin()

    def ask_whole(self, point: Point, name: str, numbers: Sequence[int]) -> list[Answer]:
        """Ask prompts of a probe again."""
        return self._session.ask_whole(point, name, numbers)

    def close(self) -> str:
        """Close the engine and return the fingerprint of its weights."""
        return self._session.close()


@contextlib.contextmanager
def _one_line_without_memory(survey: Survey) -> Iterator[None]:
    """Raise a RunError if memory runs out in the block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less = "--dtype bfloat16 or " if survey.dtype == "float32" else ""
        raise RunError(
            f"memory ran out on {survey.device} ({first_line(error, 120)}); free some and the same "
            f"command resumes, or begin anew with {less}a lower --batch-size than {survey.batch_size}"
        ) from error
