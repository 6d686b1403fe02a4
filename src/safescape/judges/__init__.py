"""What an answer was. Knows no weights and no prompts beyond the exchange it reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from safescape.errors import InputError
from safescape.judges.classifiers import ClassifierJudge, classifier_named, labelled
from safescape.judges.coherence import calibrate, scored_part, shuffled
from safescape.judges.custom import custom_judge, entry_points
from safescape.judges.guards import GuardJudge, guard_named
from safescape.judges.keyword import KeywordJudge
from safescape.judges.outcomes import RefusalJudge
from safescape.judges.panel import Panel, panel_named
from safescape.judges.unfinished import UnfinishedError
from safescape.survey import GUARDS, Exchange, Verdict

__all__ = [
    "ClassifierJudge",
    "GuardJudge",
    "Judge",
    "KeywordJudge",
    "Panel",
    "RefusalJudge",
    "UnfinishedError",
    "Weigher",
    "calibrate",
    "classifier_named",
    "common_stop",
    "guard_named",
    "is_immediate",
    "judge_named",
    "labelled",
    "members_of",
    "panel_named",
    "scored_part",
    "shuffled",
]


class Judge(Protocol):
    """Turns exchanges into verdicts."""

    name: str
    stop: Sequence[str]
    """Substrings that settle the verdict as soon as they appear; empty: it needs the whole answer."""
    made_of: Mapping[str, str]
    """What its verdicts come from, for the record: a model's revision, a rubric. A run keeps to one."""

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict an exchange, in order; raise `UnfinishedError` with those it has if it cannot go on."""
        ...


@runtime_checkable
class Weigher(Judge, Protocol):
    """A judge that wants to know how likely the origin finds some answers, and judges those again when it does."""

    def wants_evidence(self, exchanges: Sequence[Exchange]) -> list[bool]:
        """Return of which ones, in order."""
        ...


def is_immediate(name: str) -> bool:
    """Return whether a judge needs neither a device nor a network, so that it can judge between two points."""
    is_guard = name.partition("=")[0] in GUARDS
    return not is_guard and not name.startswith(("hf:", "openai:")) and panel_named(name) is None


def judge_named(name: str) -> Judge:
    """Return an immediate judge by its name; see `is_immediate`.

    Raises:
        InputError: there is none of that name.

    """
    if name == KeywordJudge.name:
        return KeywordJudge()
    if name == RefusalJudge.name:
        return RefusalJudge()
    if ":" in name or name in entry_points():
        return custom_judge(name)
    known = [KeywordJudge.name, RefusalJudge.name, *GUARDS, *entry_points()]
    raise InputError(
        f"--judge {name}: no such judge; expected {', '.join(known)}, hf:MODEL, openai:MODEL, or package.module:object"
    )


def members_of(name: str) -> tuple[str, ...]:
    """Return the judges that read answers for this name: a panel's members, else itself."""
    panel = panel_named(name)
    return (name,) if panel is None else panel.members


def common_stop(stops: Collection[Sequence[str]]) -> tuple[str, ...]:
    """Return the substrings that settle an answer for all of several judges; none if one reads whole answers.

    A substring settles an answer for a judge if it holds one of the judge's own.

    Args:
        stops: Of each judge.

    """
    offered = dict.fromkeys(text for stop in stops for text in stop)
    return tuple(text for text in offered if all(any(own in text for own in stop) for stop in stops))
