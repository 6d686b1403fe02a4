"""What a judge is, the judges that run anywhere by name, and several judges as a panel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from safescape.errors import InputError, RunError
from safescape.judges.custom import custom_judge, entry_points
from safescape.judges.keyword import KeywordJudge, NormalisedKeywordJudge
from safescape.judges.refusal import RefusalJudge
from safescape.survey import (
    GUARDS,
    KEYWORD,
    KEYWORD_NORMALISED,
    REFUSAL,
    Exchange,
    Finish,
    ImmediateName,
    Outcome,
    PanelName,
    Verdict,
    members_of,
    parse_judge_name,
)

UNANSWERED = Verdict(Outcome.UNSCORED, "no answer came after the thought")
"""Every judge's verdict where a reasoning model only thought; no judge reads it."""


NO_PROMPT = Verdict(Outcome.REFUSED, "the attack found no prompt")
"""Every judge's verdict where nothing was asked, because an attack had failed before."""


def verdict_unread(finish: Finish, *, is_unanswered: bool) -> Verdict | None:
    """Return the verdict that every judge gives without reading the answer; None: it has to be read."""
    if finish is Finish.NO_PROMPT:
        return NO_PROMPT
    return UNANSWERED if is_unanswered else None


class Judge(Protocol):
    """Turns exchanges into verdicts."""

    name: str
    stop: Sequence[str]
    """Substrings at which an answer may end: its verdict up to there stands for the whole answer. Empty: the judge
    needs the whole answer."""
    stops_at_noise: bool
    """Whether an answer may end where it is known to be noise (`judges.noise`): its verdict up to there stands for the
    whole answer."""
    made_of: Mapping[str, str]
    """Provenance, such as a model's revision or a rubric: the same for all verdicts of a run under one judge's name."""

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
    """Load a judge that needs neither a device nor a network.

    Raises:
        InputError: there is no immediate judge of that name.

    """
    parsed = parse_judge_name(name)
    if isinstance(parsed, ImmediateName):
        if parsed.text == KEYWORD:
            return KeywordJudge()
        if parsed.text == KEYWORD_NORMALISED:
            return NormalisedKeywordJudge()
        if parsed.text == REFUSAL:
            return RefusalJudge()
        if ":" in parsed.text or parsed.text in entry_points():
            return custom_judge(parsed.text)
    known = ", ".join([KEYWORD, KEYWORD_NORMALISED, REFUSAL, *GUARDS, *entry_points()])
    raise InputError(
        f"--judge {parsed.text:.200}: no such judge; expected {known}, hf:MODEL, openai:MODEL, or package.module:object"
    )


def immediate_judges(names: Iterable[str]) -> dict[str, Judge]:
    """Load the immediate judges among some judges and the members of panels, by name; see `immediate_judge`."""
    members = dict.fromkeys(member for name in names for member in members_of(name))
    return {name: immediate_judge(name) for name in members if isinstance(parse_judge_name(name), ImmediateName)}


def panel_verdict(panel: PanelName, verdicts: Sequence[Verdict]) -> Verdict:
    """Combine the verdicts of a panel's members, in their order, on one exchange.

    The outcome is the one that more than half of all members give (`majority`), or that every member gives (`all`).
    Without such an outcome the answer is unscored. The probability is the mean of those that members give.
    """
    outcome, votes = Counter(verdict.outcome for verdict in verdicts).most_common(1)[0]
    needed = len(panel.members) if panel.rule == "all" else len(panel.members) // 2 + 1
    probabilities = [verdict.probability for verdict in verdicts if verdict.probability is not None]
    return Verdict(
        outcome if votes >= needed else Outcome.UNSCORED,
        ", ".join(f"{name.text}: {each.outcome}" for name, each in zip(panel.members, verdicts, strict=True)),
        sum(probabilities) / len(probabilities) if probabilities else None,
    )


def common_stop(stops: Collection[Sequence[str]]) -> tuple[str, ...]:
    """Return the substrings that determine the verdict of every judge, given `Judge.stop` of each.

    A substring determines a judge's verdict if it contains one of the judge's own. The result is empty if one of the
    judges needs whole answers.
    """
    offered = dict.fromkeys(text for stop in stops for text in stop)
    return tuple(text for text in offered if all(any(own in text for own in stop) for stop in stops))
