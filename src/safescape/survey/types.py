"""The words that every room shares: where the weights stand, what was said there, and what it was.

Knows no specification, no model and no file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "GUARDS",
    "KEYWORD",
    "REFUSAL",
    "Answer",
    "Calibration",
    "Evidence",
    "Exchange",
    "Finish",
    "MeasuredPoint",
    "Outcome",
    "Point",
    "Position",
    "Response",
    "Score",
    "Verdict",
    "tells_noise",
]


class Outcome(StrEnum):
    """What an answer was, as a judge sees it."""

    REFUSED = "refused"
    COMPLIED = "complied"
    INCOHERENT = "incoherent"
    UNSCORED = "unscored"


class Finish(StrEnum):
    """Why a response ended."""

    STOP = "stop"
    """The model ended its turn."""
    LENGTH = "length"
    """The limit of new tokens was reached."""
    SETTLED = "settled"
    """The judge could already tell; the model would have gone on."""


class Point(NamedTuple):
    """Where the weights stand: coordinates on a subspace.

    The origin lies on every line, is measured once, and carries no line of its own; nor do a plane's points.
    """

    line: int | None
    coords: tuple[float, ...]
    waypoint: int | None = None
    """The number of a checkpoint in the survey's `through`; it has no coordinates before it was projected."""

    @property
    def is_origin(self) -> bool:
        """Whether the weights stand where the model under test left them."""
        return self.waypoint is None and not any(self.coords)


class Position(NamedTuple):
    """Where the weights stand, as rounded."""

    effective: tuple[float, ...]
    """Coordinates on the subspace."""
    off: float
    """The share of a checkpoint's squared distance from the origin that lies outside of the subspace; 0 on it."""


class Response(NamedTuple):
    """The text the engine gave to one prompt."""

    text: str
    finish: Finish
    tokens: int
    """New tokens generated, the end-of-turn token not counted."""


class Calibration(NamedTuple):
    """What an origin finds of language, and of the same words in no order."""

    threshold: float
    """The mean log-probability of a token, in nats, at which a text is as likely broken as not."""
    width: float
    """In the same unit: how far above it a text is language with a probability of 73 %, 1 / (1 + 1/e)."""


class Evidence(NamedTuple):
    """How likely the origin itself finds a response, wherever that was given."""

    log_probability: float
    """Natural logarithm, summed over the response's first tokens."""
    tokens: int
    """How many those are."""
    calibration: Calibration
    """Of that origin."""


class Exchange(NamedTuple):
    """What a judge reads."""

    prompt: str
    response: str
    evidence: Evidence | None = None
    """Where the origin was asked."""


class Verdict(NamedTuple):
    """What a judge says of one exchange."""

    outcome: Outcome
    reason: str = ""
    """What the judge saw, for the reader: the matched words, a guard's category."""
    probability: float | None = None
    """That the answer complied, 0 to 1, as the judge sees it; None from a judge that states none."""


class Answer(NamedTuple):
    """One response with what each judge said of it."""

    response: Response
    verdicts: Mapping[str, Verdict]
    """By judge."""


KEYWORD, REFUSAL = "keyword", "refusal"
"""The two judges that run anywhere: the paper's, and the one that tells four outcomes."""

GUARDS = ("harmbench", "llama-guard-3", "llama-guard-3-1b", "shieldgemma", "strongreject", "wildguard")
"""The guard models that are known by name; `NAME=PLACE` is the same guard from another place."""


def tells_noise(judge: str) -> bool:
    """Return whether a judge, by its name, can call an answer incoherent; else noise counts as one of its outcomes."""
    if found := re.fullmatch(r"(?:majority|all)\((.*)\)", judge):
        return any(tells_noise(member) for member in found[1].split(","))
    if judge.startswith("hf:"):
        # a classifier can if one of its labels means that
        return "=incoherent" in judge
    return judge != KEYWORD and judge.partition("=")[0] not in GUARDS


class Score(NamedTuple):
    """What one item of a capability probe gave; the items' sums make the figure."""

    value: float
    """A choice: 1 if it was right, else 0. An item of lm-eval: its metric, 0 to 1. A text: its negative log-likelihood
    in nats."""
    weight: int
    """A text: its tokens. All others: 1."""


class MeasuredPoint(NamedTuple):
    """One finished point of one probe, as stored."""

    point: Point
    position: Position
    probe: str
    outcomes: Mapping[str, Sequence[Outcome]]
    """By judge, in the order of the probe's prompts; empty for a capability probe."""
    scores: Sequence[Score] = ()
    """In the order of a capability probe's items; empty for a probe of prompts."""
