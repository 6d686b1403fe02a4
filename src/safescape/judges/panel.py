"""Several judges as one: the majority, or only what all agree on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from safescape.errors import InputError
from safescape.survey import Outcome, Verdict

__all__ = ["Panel", "panel_named"]


class Panel(NamedTuple):
    """A judge that has read nothing itself: it counts what its members said."""

    rule: Literal["majority", "all"]
    members: tuple[str, ...]

    @property
    def name(self) -> str:
        """As it is written: `majority(keyword,refusal)`."""
        return f"{self.rule}({','.join(self.members)})"

    def verdict(self, verdicts: Sequence[Verdict]) -> Verdict:
        """Return what follows from the members' verdicts on one exchange, in their order.

        `majority`: the outcome that more than half of all members give; `all`: the one that every member gives.
        Else, or if that is `unscored` itself, the answer stays unscored. The probability is the mean of those stated.

        """
        outcome, votes = Counter(verdict.outcome for verdict in verdicts).most_common(1)[0]
        needed = len(self.members) if self.rule == "all" else len(self.members) // 2 + 1
        stated = [verdict.probability for verdict in verdicts if verdict.probability is not None]
        said = ", ".join(f"{name}: {each.outcome}" for name, each in zip(self.members, verdicts, strict=True))
        return Verdict(
            outcome if votes >= needed else Outcome.UNSCORED, said, sum(stated) / len(stated) if stated else None
        )


def panel_named(name: str) -> Panel | None:
    """Return a panel by its name, `majority(A,B,…)` or `all(A,B,…)`; None if the name is another judge's.

    Raises:
        InputError: it has fewer than two members, one of them twice, or a panel among them.

    """
    found = re.fullmatch(r"(majority|all)\((.*)\)", name)
    if found is None:
        return None
    members = tuple(member.strip() for member in found[2].split(","))
    if len(set(members)) < max(2, len(members)) or any(not member or "(" in member for member in members):
        raise InputError(f"--judge {name}: expected two or more different judges, as in majority(keyword,refusal)")
    return Panel("majority" if found[1] == "majority" else "all", members)
