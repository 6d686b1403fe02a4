"""What two engines say on the same way, to be compared; it travels between processes."""

from __future__ import annotations

from typing import NamedTuple

from safescape.engines import Likelihood
from safescape.survey import Position, Response


class Said(NamedTuple):
    """What an engine says at the points of a journey, and its fingerprints where it began and ended."""

    start: str
    end: str
    positions: list[Position]
    responses: list[list[Response]]
    likelihoods: list[list[Likelihood]]
