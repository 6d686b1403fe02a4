"""A judge that could not read everything says what it had read: nothing that was paid for is lost."""

from __future__ import annotations

from collections.abc import Mapping

from safescape.errors import RunError
from safescape.survey import Exchange, Verdict

__all__ = ["UnfinishedError"]


class UnfinishedError(RunError):
    """`Judge.judge` could not go on; `verdicts` are those it has."""

    def __init__(self, message: str, verdicts: Mapping[Exchange, Verdict]) -> None:
        super().__init__(message)
        self.verdicts = verdicts
