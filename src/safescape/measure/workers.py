"""Who measures a survey's points: this process, or workers of a Ray.

Where a survey is measured is no part of it: its results are the same everywhere, and a run that was begun here may be
finished there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import torch

from safescape.errors import InputError
from safescape.measure.dispatch import Failed
from safescape.measure.grouping import groups_of
from safescape.measure.station import Measured, Station
from safescape.survey import Point, Survey
from safescape.weighing import Origin
from safescape.weights import Model

__all__ = ["HERE", "Placement", "Workers", "check_placement", "working"]


class Placement(NamedTuple):
    """Where a survey is measured; by default in this process."""

    workers: int | None = None
    """How many engines measure side by side; None: one in this process, or as many as fit on the Ray that is named."""
    ray: str | None = None
    """The Ray to use: `auto`, or HOST:PORT; None: one on this machine, for this run."""
    gpus_per_worker: float | None = None
    """None: 1 where the survey is measured on GPUs."""

    @property
    def is_here(self) -> bool:
        """Whether this process measures."""
        return self.workers is None and self.ray is None

    def gpus_on(self, device: str) -> float:
        """How many GPUs a worker is given."""
        return (1.0 if device == "cuda" else 0.0) if self.gpus_per_worker is None else self.gpus_per_worker


HERE = Placement()
"""In this process."""


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


class _Here:
    """One engine, in this process."""

    def __init__(self, survey: Survey, model: Model, points: Sequence[Point]) -> None:
        self._station, self._survey, self._points = Station(survey, model), survey, points
        self.fingerprint_at_start = self._station.fingerprint_at_start
        self.made_of: Mapping[str, str] = {"threads": str(torch.get_num_threads())}

    def measured(self) -> Iterator[Measured | Failed]:
        wanted = set(self._points)
        for group in groups_of(self._survey, self._points):
            yield from (found for found in self._station.measure_together(group) if found.point in wanted)

    def add(self, points: Sequence[Point]) -> None:
        self._points = points

    def at_origin(self) -> Origin:
        return self._station.at_origin()

    def close(self) -> str:
        return self._station.close()


@contextlib.contextmanager
def working(survey: Survey, model: Model, placement: Placement, points: Sequence[Point]) -> Iterator[Workers]:
    """The workers that a placement asks for; they are gone at the end, however it comes.

    Args:
        survey: What is measured.
        model: The model it names, found on this disk.
        placement: Where.
        points: Those that are to be measured; of an adaptive survey, first.

    Raises:
        InputError: the model cannot be used there, or there is no room for so many workers.
        RunError: no worker could be started.

    """
    if placement.is_here:
        yield _Here(survey, model, points)
        return
    from safescape.measure.cluster import cluster  # needs Ray, which is an extra

    with cluster(survey, model, placement, points) as workers:
        yield workers


def check_placement(placement: Placement, device: str) -> None:
    """Find out what can be known before anything is made: the flags, the extra, this machine's GPUs, the Ray's address.

    Raises:
        InputError: they do not go together, or something is not there.

    """
    workers, gpus = placement.workers, placement.gpus_per_worker
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: expected at least 1")
    if gpus is not None and not (0 < gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
        raise InputError(f"--gpus-per-worker {gpus:g}: expected a share such as 0.5, or a whole number")
    if placement.is_here:
        if gpus is not None:
            raise InputError(f"--gpus-per-worker {gpus:g}: is for workers; give --workers N or --ray ADDRESS too")
        return
    asked = f"--workers {workers}" if placement.ray is None else f"--ray {placement.ray}"
    if find_spec("ray") is None:
        raise InputError(f"{asked}: Ray is not installed; type pip install 'safescape[ray]'")
    if placement.ray is None:
        assert workers is not None
        check_gpus(placement, device, "this machine", [torch.cuda.device_count()])
    if device.startswith("cuda:"):
        raise InputError(f"--device {device}: workers are given their GPUs by Ray; give --device cuda")
    if gpus is not None and device == "cpu":
        raise InputError(f"--gpus-per-worker {gpus:g}: there are none on the CPU; give --device cuda, or leave it out")
    if placement.ray is not None:
        from safescape.measure.cluster import check_address

        check_address(placement.ray)


def check_gpus(placement: Placement, device: str, where: str, there: Sequence[int]) -> None:
    """Find out that there are GPUs for every worker.

    Args:
        placement: Who is to be given GPUs.
        device: That the survey is measured on.
        where: In words.
        there: How many GPUs each machine has.

    Raises:
        InputError: there are fewer.

    """
    gpus, workers = placement.gpus_on(device), placement.workers or 1
    if not gpus:
        return
    # half a GPU of one machine and half of another make no whole one
    room = sum(int(count / gpus + 1e-9) for count in there)
    if room < workers:
        more = f"give --workers {room}" if room else "give --device cpu"
        raise InputError(
            f"--workers {workers} with {gpus:g} GPUs each: {where} has {sum(there)} GPUs, room for {room}; {more}"
        )
