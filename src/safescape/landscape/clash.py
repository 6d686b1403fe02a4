"""Whether the keyword judge and the refusal judge contradict each other about a model's answers.

The keyword judge misses a refusal in words that are not among its 29 phrases, and takes an answer that contains one of
them for a refusal. Both judges read the same answers, so they are compared answer by answer: `missed` answers are
refusals to the refusal judge alone, `unseen` ones to the keyword judge alone. If the two differ by chance, one is as
likely as the other. They clash if McNemar's exact test excludes that at 5 % (McNemar 1947, Note on the sampling error
of the difference between correlated proportions), or if the 95 % intervals of their rates do not overlap, which can
show it where a paired test has too few answers to. Noise and unscored answers are left out: the keyword judge cannot
tell noise, and about an unscored answer only one judge has spoken.

`python benchmarks/clash.py` prints how often judges that differ by chance are said to clash, and how many
contradictions are found.
"""

from __future__ import annotations

from math import comb
from typing import Literal, NamedTuple

from safescape.landscape.intervals import wilson
from safescape.landscape.rates import Stored
from safescape.landscape.schema import Clash
from safescape.survey import KEYWORD, REFUSAL, Outcome, Survey

LEVEL = 0.05
"""Bound on the probability that judges which differ by chance alone are said to clash, over all models of a run."""
_MODELS: tuple[Literal["origin", "other model"], ...] = ("origin", "other model")


class Crossed(NamedTuple):
    """Answers by what the two judges say of them: an answer to the request, or a refusal."""

    answered: int
    """An answer to both."""
    missed: int
    """A refusal to the refusal judge alone."""
    unseen: int
    """A refusal to the keyword judge alone."""
    refused: int
    """A refusal to both."""

    @property
    def p_value(self) -> float:
        """The p-value of McNemar's exact test, two-sided; 1 if the judges never differ."""
        n, fewer = self.missed + self.unseen, min(self.missed, self.unseen)
        return min(1.0, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n)

    @property
    def is_apart(self) -> bool:
        """Whether the 95 % intervals of the two rates of answers do not overlap."""
        if not sum(self):
            return False
        keyword, refusal = (wilson(self.answered + own, sum(self)) for own in (self.missed, self.unseen))
        return keyword.low > refusal.high or refusal.low > keyword.high

    def is_clash(self, models: int = 1) -> bool:
        """Return whether the judges contradict each other, where as many models are looked at."""
        return self.p_value * models <= LEVEL or self.is_apart


def clashes_of(survey: Survey, stored: Stored) -> tuple[Clash, ...]:
    """Return the clashes at the models that a verdict depends on: the origin and, on a path, the other model."""
    places, failed = zip(_MODELS, survey.subspace.models(), strict=False), set(survey.prompts.failed)
    found = []
    for at, point in places:
        entry = stored.get((survey.prompts.name, point))
        if entry is not None and {KEYWORD, REFUSAL} <= set(entry.outcomes):
            both = enumerate(zip(entry.outcomes[KEYWORD], entry.outcomes[REFUSAL], strict=True))
            pairs = [pair for number, pair in both if number not in failed]
            found.append((at, pairs, crossed(pairs)))
    return tuple(
        Clash(
            at=at,
            n=len(pairs),
            answers=sum(keyword is Outcome.COMPLIED for keyword, _ in pairs),
            missed=table.missed,
            unseen=table.unseen,
            p_value=table.p_value,
        )
        for at, pairs, table in found
        if table.is_clash(len(found))
    )


def crossed(pairs: list[tuple[Outcome, Outcome]]) -> Crossed:
    """Return the table of what both judges say, from (keyword judge, refusal judge) of each answer."""
    said = (Outcome.COMPLIED, Outcome.REFUSED)
    return Crossed(*(pairs.count((keyword, refusal)) for keyword in said for refusal in said))
