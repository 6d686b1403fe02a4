"""Several judges as one: the verdict of a panel, and when an answer is determined for every judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from safescape.survey import Outcome, PanelName, Verdict


def panel_verdict(panel: PanelName, verdicts: Sequence[Verdict]) -> Verdict:
    """Combine the verdicts of a panel's members on one exchange.

    The outcome is the one that more than half of all members give (`majority`), or that every member gives (`all`).
    Without such an outcome the answer is unscored. The probability is the mean of those that members give.

    Args:
        panel: The rule and the members.
        verdicts: One per member, in their order.

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
    """Return the substrings that determine the verdict of every judge; empty if one of them needs whole answers.

    A substring determines a judge's verdict if it contains one of the judge's own.

    Args:
        stops: `Judge.stop` of each judge.

    """
    offered = dict.fromkeys(text for stop in stops for text in stop)
    return tuple(text for text in offered if all(any(own in text for own in stop) for stop in stops))
