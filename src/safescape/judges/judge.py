"""What a judge is, and the judges that run anywhere, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from safescape.errors import InputError, RunError
from safescape.judges.custom import custom_judge, entry_points
from safescape.judges.keyword import KeywordJudge
from safescape.judges.outcomes import RefusalJudge
from safescape.survey import GUARDS, KEYWORD, REFUSAL, Exchange, ImmediateName, Verdict, members_of, parse_judge_name


class Judge(Protocol):
    """Turns exchanges into verdicts."""

    name: str
    stop: Sequence[str]
    """Substrings; the verdict is determined as soon as the answer contains one of them. Empty: the judge needs the
    whole answer."""
    made_of: Mapping[str, str]
    """Provenance of the verdicts, such as a model's revision or a rubric. All verdicts of a run under one judge's name
    have the same provenance."""

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict per exchange, in order.

        Raises:
            UnfinishedError: the judge cannot go on; the error carries the verdicts so far.
            RunError: the judge cannot go on, and has none.

        """
        ...


@runtime_checkable
class EvidenceJudge(Judge, Protocol):
    """A judge that uses the origin's likelihood of some answers, and judges those again once it is computed."""

    def wants_evidence(self, exchanges: Sequence[Exchange]) -> list[bool]:
        """Return one boolean per exchange, in order: whether the likelihood is needed."""
        ...


class UnfinishedError(RunError):
    """A judge could not go on; `verdicts` are those it has, so that nothing that was paid for is lost."""

    def __init__(self, message: str, verdicts: Mapping[Exchange, Verdict]) -> None:
        super().__init__(message)
        self.verdicts = verdicts


def immediate_judge(name: str) -> Judge:
    """Load a judge that needs neither a device nor a network, by its name; see `survey.is_immediate`.

    Raises:
        InputError: there is no immediate judge of that name.

    """
    parsed = parse_judge_name(name)
    if isinstance(parsed, ImmediateName):
        if parsed.text == KEYWORD:
            return KeywordJudge()
        if parsed.text == REFUSAL:
            return RefusalJudge()
        if ":" in parsed.text or parsed.text in entry_points():
            return custom_judge(parsed.text)
    known = ", ".join([KEYWORD, REFUSAL, *GUARDS, *entry_points()])
    raise InputError(
        f"--judge {parsed.text:.200}: no such judge; expected {known}, hf:MODEL, openai:MODEL, or package.module:object"
    )


def immediate_judges(names: Iterable[str]) -> dict[str, Judge]:
    """Load the immediate judges among some judges and the members of panels, by name.

    Raises:
        InputError: a name is malformed, or there is no such judge.

    """
    members = dict.fromkeys(member for name in names for member in members_of(name))
    return {name: immediate_judge(name) for name in members if isinstance(parse_judge_name(name), ImmediateName)}
