"""What an answer was. Knows no weights and no prompts beyond the exchange it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safescape.errors import InputError
from safescape.judges.keyword import KeywordJudge
from safescape.survey import Exchange, Verdict

__all__ = ["Judge", "KeywordJudge", "judge_named"]


class Judge(Protocol):
    """Turns exchanges into verdicts."""

    name: str
    stop: Sequence[str]
    """Substrings that settle the verdict as soon as they appear; empty: it needs the whole answer."""

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict an exchange, in order."""
        ...


def judge_named(name: str) -> Judge:
    """Return a judge by its name.

    Raises:
        InputError: there is none of that name.

    """
    if name == KeywordJudge.name:
        return KeywordJudge()
    raise InputError(f"--judge {name}: no such judge; expected {KeywordJudge.name}")
