"""Records that every room shares, and `Frozen`, the base class of specifications.

This module knows no specification, no model and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict


class Outcome(StrEnum):
    """A judge's classification of an answer."""

    REFUSED = "refused"
    COMPLIED = "complied"
    INCOHERENT = "incoherent"
    UNSCORED = "unscored"


_CODES = {outcome: code for code, outcome in enumerate(Outcome)}
_SUCCESS = bytes(code == _CODES[Outcome.COMPLIED] for code in range(256))


class Outcomes(tuple[Outcome, ...]):
    """A judge's outcomes of the answers to one probe at one point, in the order of the prompts.

    Figures count them again for every point that a run grows by, so a tuple of outcomes keeps them as bytes, too.
    """

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Self:
        """Return outcomes as such a tuple; one that is given is returned itself."""
        return outcomes if isinstance(outcomes, cls) else cls(outcomes)

    @cached_property
    def codes(self) -> bytes:
        """One byte per answer: the index of its outcome in `Outcome`."""
        return bytes(map(_CODES.__getitem__, self))

    @cached_property
    def successes(self) -> bytes:
        """One byte per answer: 1 if it complied, 0 for every other outcome."""
        return self.codes.translate(_SUCCESS)

    def number_of(self, outcome: Outcome) -> int:
        """Return how many of the answers have an outcome."""
        return self.codes.count(_CODES[outcome])


class Finish(StrEnum):
    """Why a response ended."""

    STOP = "stop"
    """The model ended its turn."""
    LENGTH = "length"
    """The limit of new tokens was reached."""
    SETTLED = "settled"
    """Generation was stopped early, because the text so far determines the verdict of every judge."""
    NOISE = "noise"
    """Generation was stopped early, because the text so far is noise; see `Survey.noise`."""
    NO_PROMPT = "no prompt"
    """Nothing was asked, because the attack had found no prompt; the answer is empty, and counts as a refusal."""


class Point(NamedTuple):
    """A position of the weights, as coordinates on a subspace."""

    line: int | None
    """Number of the line. None for the origin, which lies on every line and is measured once, and on a plane."""
    coords: tuple[float, ...]
    waypoint: int | None = None
    """Index of a checkpoint in the survey's `through`, whose `coords` are empty; None for a point of the subspace."""

    @property
    def is_origin(self) -> bool:
        """Whether the weights at this point are those of the model under test."""
        return self.waypoint is None and not any(self.coords)


class Position(NamedTuple):
    """The measured position of the weights, after rounding to their dtype."""

    effective: tuple[float, ...]
    """Coordinates of the rounded weights, projected on the subspace."""
    off: float
    """Share of a checkpoint's squared distance from the origin that is orthogonal to the subspace; 0 on the subspace.
    """


class Thought(NamedTuple):
    """What a reasoning model wrote before its answer."""

    text: str
    tokens: int
    """Number of its tokens, with its markers."""
    is_ended: bool
    """Whether the model ended it. If not, it was cut at the limit of tokens, or the model ended its turn in it."""


class Response(NamedTuple):
    """The text that the engine generated for one prompt."""

    text: str
    """The answer, without the thought before it."""
    finish: Finish
    tokens: int
    """Number of generated tokens, without the end-of-turn token; those of the thought are counted."""
    thought: Thought | None = None
    """None: the model did not think, or has no markers by which a thought could be told from an answer."""

    @property
    def is_unanswered(self) -> bool:
        """Whether no answer came after a thought; no judge reads it, and it is unscored."""
        return self.thought is not None and not self.text


class Calibration(NamedTuple):
    """Logistic curve from the origin's mean log-probability of a text to the probability that the text is language.

    See `judges.coherence.calibrate`.
    """

    threshold: float
    """Mean log-probability of a token, in nats, at which the probability is one half."""
    width: float
    """Distance above the threshold, in nats, at which the probability is 1 / (1 + 1/e), about 73 %."""


class Evidence(NamedTuple):
    """The origin's likelihood of a response, whichever point generated it."""

    log_probability: float
    """Log-probability in nats, summed over the first tokens of the response."""
    tokens: int
    """Number of those tokens."""
    calibration: Calibration
    """Calibration of the same origin."""


class Exchange(NamedTuple):
    """A prompt and its response, as a judge reads them."""

    prompt: str
    response: str
    evidence: Evidence | None = None
    """The origin's likelihood of the response; None where it was not computed."""


class Verdict(NamedTuple):
    """A judge's verdict on one exchange."""

    outcome: Outcome
    reason: str = ""
    """An explanation for the reader: the matched words, or the category that a guard names."""
    probability: float | None = None
    """Probability that the answer complied, 0 to 1; None from a judge that gives no probability."""


class Answer(NamedTuple):
    """One response with the verdict of each judge."""

    response: Response
    verdicts: Mapping[str, Verdict]
    """By judge."""


class ThoughtCounts(NamedTuple):
    """The thoughts before the answers to one probe at one point."""

    thoughts: int
    """Number of answers with a thought."""
    tokens: int
    """Number of tokens of all thoughts."""
    cut: int
    """Number of thoughts that the model did not end."""
    unanswered: int
    """Number of thoughts after which no answer came; they are unscored."""


class Score(NamedTuple):
    """Score of one item of a capability probe. A figure is the sum of the values over the sum of the weights."""

    value: float
    """Multiple choice: 1 if the answer is right, else 0. lm-eval: the item's metric, 0 to 1. Perplexity: the negative
    log-likelihood of the text, in nats."""
    weight: int
    """Perplexity: the number of tokens of the text. All others: 1."""


class MeasuredPoint(NamedTuple):
    """The stored results of one probe at one finished point."""

    point: Point
    position: Position
    probe: str
    outcomes: Mapping[str, Sequence[Outcome]]
    """By judge, one outcome for each prompt of the probe, in order; empty for a capability probe."""
    scores: Sequence[Score] = ()
    """One score for each item of a capability probe, in order; empty for a probe of prompts."""
    thoughts: ThoughtCounts | None = None
    """None for a model without markers of thoughts, and for a capability probe."""


class Frozen(BaseModel):
    """An immutable specification; unknown fields are refused when it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def differences(self, other: Self) -> list[str]:
        """Return one text for each field that differs, with both values truncated, for an error message."""
        return list(_differences("", self.model_dump(mode="json"), other.model_dump(mode="json")))


def _differences(name: str, mine: object, theirs: object) -> Iterator[str]:
    if mine == theirs:
        return
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in {**mine, **theirs}:
            yield from _differences(f"{name}.{key}".lstrip("."), mine.get(key), theirs.get(key))
    elif isinstance(mine, list) and isinstance(theirs, list):
        if len(mine) != len(theirs):
            yield f"{name}: {len(mine)} here, {len(theirs)} there"
            return
        changed = [place for place, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
        yield from _differences(f"{name}[{changed[0]}]", mine[changed[0]], theirs[changed[0]])
    else:
        yield f"{name}: {_short(mine)} here, {_short(theirs)} there"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
