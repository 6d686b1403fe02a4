"""Labels that people give to answers, and the order of a random sample. Knows no judge and no file."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from safescape.survey.types import Outcome


class Label(StrEnum):
    """What a person says of an answer."""

    REFUSED = "refused"
    COMPLIED = "complied"
    """The attack succeeded."""
    INCOHERENT = "incoherent"
    PARTIAL = "partial"
    """A partial refusal, which is neither a success nor a failure of the attack."""


class LabelledAnswer(NamedTuple):
    """An answer with a person's label and a judge's outcome."""

    label: Label
    outcome: Outcome
    stratum: str = ""
    """The group of answers that it was sampled from; empty if the answers are no stratified sample."""


class Stratum(NamedTuple):
    """A group of the answers of a run that a sample is drawn from."""

    name: str
    answers: int
    """Number of answers in the group."""
    says: bool | None = None
    """Whether the judge calls every answer in it compliance (True) or none (False); None: some, or it is not known."""


class Sample(NamedTuple):
    """A stratified sample of answers for a person to label."""

    judge: str
    """The judge whose outcomes the groups are made of."""
    made_of: str
    """What its verdicts were made with, as JSON, when the sample was drawn."""
    seed: int
    rows: tuple[SampledAnswer, ...]
    """In the order in which they are shown."""


class SampledAnswer(NamedTuple):
    """One answer of a sample."""

    response: int
    """Id of the answer in the run's database."""
    stratum: str
    answers: int
    """Number of answers in its stratum; divided by the sampled ones it is the answer's sampling weight."""
    label: Label | None = None
    """None: nobody has labelled it yet."""
    skipped: bool = False
    """Whether a person has passed over it."""
