"""What an engine returns at a sequence of points, in a form that can be sent between processes and compared."""

from __future__ import annotations

from typing import NamedTuple

from safescape.engines import Likelihood
from safescape.survey import Position, Response


class EngineOutputs(NamedTuple):
    """What an engine returned at each point, and its fingerprints at the start and at the end."""

    start: str
    end: str
    positions: list[Position]
    responses: list[list[Response]]
    likelihoods: list[list[Likelihood]]
