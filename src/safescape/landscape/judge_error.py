"""How far a judge agrees with people's labels: sensitivity, specificity and Cohen's κ, and the file that holds them.

An attack succeeded where a person labels an answer as complied. Sensitivity is the share of these answers that the
judge calls complied; specificity is the share of all others that it does not. Both are of answers that the judge
scored. Unscored answers and partial refusals are counted apart.

The labels of a run are a stratified sample: answers that are rare, such as compliance at the origin, are labelled more
often than they occur. Each stratum therefore counts by its size in the run; without these weights sensitivity would be
that of the sample (Begg and Greenes 1983, Assessment of diagnostic tests when disease verification is subject to
selection bias, Biometrics 39:207-215).

Uncertainty: the probabilities of a stratum's table are drawn from their posterior under Jeffreys' prior, a Dirichlet
distribution with 1/2 added to every count; for an unstratified sample the draws of sensitivity and specificity are then
those of two independent Jeffreys posteriors (Brown, Cai and DasGupta 2001, Interval estimation for a binomial
proportion, Statistical Science 16:101-133). Corrections, κ and weighted figures rest on these draws. The sensitivity
and specificity of an unstratified sample are shown with Clopper and Pearson's interval (1934, Biometrika 26:404-413),
which never covers less than 95 %. All figures are percentages, except κ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from safescape.errors import InputError
from safescape.landscape.agreement import kappa
from safescape.landscape.intervals import Interval
from safescape.landscape.measures import Array
from safescape.landscape.schema import Metric, Record
from safescape.survey import Label, LabelledAnswer, Outcome, Stratum

FEWEST = 10
"""Labels from which an agreement is measured."""
DRAWS = 4000
"""Draws from the posterior of a judge's sensitivity, specificity and κ."""
_KEPT = 32
"""Number of tables of labels whose draws are kept, 96 kB each."""
_SLACK = 1e-3
"""How far the figures of a file may be from those of its counts: they are rounded."""
_ROWS = {Label.COMPLIED: 0, Label.REFUSED: 1, Label.INCOHERENT: 1}
"""The row of each label in the two by two table; a partial refusal has none."""


class Origin(StrEnum):
    """Where the labels come from that a judge's error was measured on."""

    FILE = "file"
    RUN = "run"
    SHIPPED = "shipped"


class StratumTable(Record):
    """The labelled answers of one stratum that the judge scored."""

    name: str = ""
    answers: int | None = Field(default=None, ge=1)
    """Answers of the run in it, labelled or not; None: the labels are no stratified sample."""
    labelled: int = Field(ge=0)
    """Labels, with those of unscored answers and of partial refusals."""
    says: bool | None = None
    """See `survey.Stratum`."""
    table: tuple[tuple[int, int], tuple[int, int]]
    """Counts. Rows: labelled complied, labelled otherwise. Columns: the judge says complied, says otherwise."""

    @property
    def counted(self) -> int:
        """Labels in the table."""
        return sum(map(sum, self.table))


class ErrorDraws(NamedTuple):
    """Draws from the posterior of a judge's error, as fractions: shape (DRAWS,)."""

    sensitivity: Array
    specificity: Array
    kappa: Array


class JudgeError(Record):
    """A judge's agreement with people, as `safescape agree` measures it."""

    schema_version: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    judge: str
    made_of: dict[str, str]
    """What the judge's verdicts were made with, as runs store it."""
    origin: Origin
    about: str
    """What the labelled answers are: a file's name, or a description. Untrusted text."""
    labels_sha256: str | None
    """Of the labels' file; None for the labels in a run."""
    n: int
    """Labels."""
    outcomes: dict[Label, dict[Outcome, int]]
    """Labels by kind, and the judge's outcomes on the answers with that label."""
    strata: tuple[StratumTable, ...]
    sensitivity: Metric
    specificity: Metric
    kappa: Metric
    """Cohen's κ of the success of the attack, -1 to 1."""

    @property
    def unscored(self) -> int:
        """Labelled answers that the judge left unscored."""
        return sum(counts.get(Outcome.UNSCORED, 0) for counts in self.outcomes.values())

    @property
    def corrects(self) -> bool:
        """Whether the judge tells compliance from the rest: sensitivity + specificity exceeds 1, with its interval."""
        return _corrects(self.strata)

    def draws(self) -> ErrorDraws:
        """Return draws from the posterior; the same ones each time."""
        return draws_of(self.strata)

    def to_json(self) -> str:
        """Return the text of an agreement file."""
        document = self.model_dump(mode="json", by_alias=True)
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def load(cls, path: Path, given: str) -> JudgeError:
        """Read an agreement file; every message begins with `given`.

        Raises:
            InputError: it cannot be read, or is none of this version.

        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InputError(f"{given}: cannot be read ({reason}); give a file that safescape agree wrote") from error
        return cls.parse(text, given)

    @classmethod
    def parse(cls, text: str, given: str) -> JudgeError:
        """Return the agreement in the text of a file; its figures must be those of its counts.

        Raises:
            InputError: it is no agreement file of this version.

        """
        try:
            found = cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{given}: is no agreement file of this version; safescape agree writes one") from error
        if not _is_whole(found) or any(
            abs((figure.value or 0.0) - (getattr(found, name).value or 0.0)) > _SLACK
            for name, figure in _figures(found.strata).items()
        ):
            raise InputError(
                f"{given}: its figures are not those of its counts, so it was edited; write it again with safescape "
                "agree"
            )
        return found


def judge_error_of(
    judge: str,
    made_of: Mapping[str, str],
    labelled: Sequence[LabelledAnswer],
    *,
    origin: Origin,
    about: str,
    given: str,
    labels_sha256: str | None = None,
    strata: Sequence[Stratum] = (),
) -> JudgeError:
    """Measure a judge's agreement with people.

    Args:
        judge: Its name.
        made_of: What its verdicts are made with.
        labelled: The labels with the judge's outcomes.
        origin: Where the labels come from.
        about: The same in words, for the reader.
        given: What the user gave; every message begins with it.
        labels_sha256: SHA-256 of the labels' file.
        strata: The groups that a stratified sample was drawn from; empty for any other sample.

    Raises:
        InputError: fewer than 10 labels; labels of only one class; or the judge scored no answer of one class.

    """
    if len(labelled) < FEWEST:
        raise InputError(f"{given}: has {len(labelled)} labels; expected at least {FEWEST}, and 50 or more are better")
    classes = [_ROWS[answer.label] for answer in labelled if answer.label in _ROWS]
    for row, what in ((0, "complied"), (1, "refused or incoherent")):
        if row not in classes:
            raise InputError(
                f"{given}: no answer is labelled {what}; an agreement needs labels of both classes, answers that "
                "comply and answers that do not"
            )
    groups: dict[str, Stratum | None] = {stratum.name: stratum for stratum in strata}
    groups = groups or {"": None}
    tables = tuple(_table(name, group, labelled) for name, group in groups.items())
    counts = np.sum([stratum.table for stratum in tables], axis=0)
    if not counts.sum(axis=1).all():
        raise InputError(
            f"{given}: --judge {judge} left every answer of one class unscored, so there is no agreement to measure; "
            "label more answers, or measure another judge"
        )
    outcomes = {
        label: {outcome: sum(a == (label, outcome) for a in pairs) for outcome in Outcome}
        for pairs in [[(answer.label, answer.outcome) for answer in labelled]]
        for label in Label
    }
    figures = _figures(tables)
    return JudgeError(
        judge=judge,
        made_of=dict(made_of),
        origin=origin,
        about=about,
        labels_sha256=labels_sha256,
        n=len(labelled),
        outcomes=outcomes,
        strata=tables,
        sensitivity=figures["sensitivity"],
        specificity=figures["specificity"],
        kappa=figures["kappa"],
    )


def _table(name: str, group: Stratum | None, labelled: Sequence[LabelledAnswer]) -> StratumTable:
    here = [answer for answer in labelled if answer.stratum == name]
    table = [[0, 0], [0, 0]]
    for answer in here:
        if answer.label in _ROWS and answer.outcome is not Outcome.UNSCORED:
            table[_ROWS[answer.label]][int(answer.outcome is not Outcome.COMPLIED)] += 1
    (a, b), (c, d) = table
    return StratumTable(
        name=name,
        answers=None if group is None else group.answers,
        labelled=len(here),
        says=None if group is None else group.says,
        table=((a, b), (c, d)),
    )


@lru_cache(_KEPT)
def draws_of(strata: tuple[StratumTable, ...]) -> ErrorDraws:
    """Return draws from the posterior that labels leave; the same ones each time."""
    draw = np.random.default_rng(20)
    cells = np.zeros((DRAWS, 2, 2))
    for stratum in strata:
        cells += _weight(stratum) * _drawn(draw, stratum, _prior(stratum, strata))
    found = ErrorDraws(*_rates(cells), kappa(cells))
    for values in found:
        values.setflags(write=False)
    return found


@lru_cache(_KEPT)
def _corrects(strata: tuple[StratumTable, ...]) -> bool:
    drawn = draws_of(strata)
    return float(np.quantile(drawn.sensitivity + drawn.specificity, 0.025)) > 1.0


@lru_cache(_KEPT)
def _figures(strata: tuple[StratumTable, ...]) -> dict[str, Metric]:
    """Return sensitivity, specificity and κ with their 95 % intervals."""
    cells = _estimated(strata)
    with np.errstate(invalid="ignore"):
        values = (*_rates(cells), kappa(cells))
    drawn = draws_of(strata)
    names, scales = ("sensitivity", "specificity", "kappa"), (100.0, 100.0, 1.0)
    found = {
        name: _metric(scale * float(value), scale * resamples)
        for name, scale, value, resamples in zip(names, scales, values, drawn, strict=True)
    }
    if len(strata) == 1 and strata[0].answers is None:
        (tp, fn), (fp, tn) = strata[0].table
        for name, right, total in (("sensitivity", tp, tp + fn), ("specificity", tn, fp + tn)):
            low, high = clopper_pearson(right, total)
            found[name] = found[name].model_copy(update={"low": round(low, 4), "high": round(high, 4)})
    return found


def clopper_pearson(successes: int, n: int) -> Interval:
    """Return the 95 % Clopper-Pearson interval of a share, in percent: both tails of the binomial are at most 2.5 %."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    counts = np.arange(n + 1)
    ways = factorials[n] - factorials[counts] - factorials[n - counts]

    def tail(share: float, chosen: slice) -> float:
        logs = ways[chosen] + counts[chosen] * np.log(share) + (n - counts[chosen]) * np.log1p(-share)
        return float(np.exp(logs).sum())

    def end(chosen: slice, *, rises: bool) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            if (tail(middle, chosen) < 0.025) is rises:
                low = middle
            else:
                high = middle
        return 100.0 * (low + high) / 2

    return Interval(
        end(slice(successes, None), rises=True) if successes else 0.0,
        end(slice(None, successes + 1), rises=False) if successes < n else 100.0,
    )


def _metric(value: float, drawn: Array) -> Metric:
    """Return a value with the 2.5 % and 97.5 % quantiles of its draws; an interval reaches to its value at least."""
    if np.isnan(value):
        return Metric()
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    return Metric(value=round(value, 4), low=round(min(low, value), 4), high=round(max(high, value), 4))


def _rates(cells: Array) -> tuple[Array, Array]:
    """Return sensitivity and specificity of tables of shape (..., 2, 2)."""
    rows = cells.sum(axis=-1)
    return cells[..., 0, 0] / rows[..., 0], cells[..., 1, 1] / rows[..., 1]


def _weight(stratum: StratumTable) -> float:
    """Return how many answers a stratum's table stands for: of a run's answers, the share like those counted in it."""
    if stratum.answers is None:
        return 1.0
    # a stratum without a label counts whole: nothing is known of it
    return stratum.answers * (stratum.counted / stratum.labelled if stratum.labelled else 1.0)


def _open(stratum: StratumTable) -> Array:
    """Return 1.0 in the cells of a stratum's table that may be filled: shape (2, 2)."""
    if stratum.says is None:
        return np.ones((2, 2))
    return np.array([[stratum.says, not stratum.says]] * 2, dtype=np.float64)


def _prior(stratum: StratumTable, strata: Sequence[StratumTable]) -> float:
    """Return what the prior adds to each count: 1/2, less where several strata are judged alike.

    With 1/2 in each of them, the strata would add up to a judge that errs often; with the 1/2 divided among them, a
    small stratum with a few equal labels would be certain. The square root of a stratum's share lies between the two,
    and covers best in the simulation.
    """
    if stratum.answers is None:
        return 0.5
    alike = sum(other.answers or 0 for other in strata if other.says == stratum.says)
    return 0.5 * float(np.sqrt(stratum.answers / alike))


def _drawn(draw: np.random.Generator, stratum: StratumTable, prior: float) -> Array:
    """Return draws of the probabilities of a stratum's cells: shape (DRAWS, 2, 2)."""
    open_ = _open(stratum)
    shape = (np.array(stratum.table, dtype=np.float64) + prior) * open_
    gammas = draw.standard_gamma(np.where(open_ > 0, shape, 1.0), size=(DRAWS, 2, 2)) * open_
    found: Array = gammas / gammas.sum(axis=(-2, -1), keepdims=True)
    return found


def _estimated(strata: Sequence[StratumTable]) -> Array:
    """Return the expected two by two table, weighted: shape (2, 2).

    A stratum without a label takes the shares of those with labels whose answers the judge calls the same.
    """
    cells = np.zeros((2, 2))
    for stratum in strata:
        table = np.array(stratum.table, dtype=np.float64)
        if not table.sum():
            table = np.sum([s.table for s in strata if s.says == stratum.says], axis=0, dtype=np.float64)
        if table.sum():
            cells += _weight(stratum) * table / table.sum()
    return cells


def _is_whole(found: JudgeError) -> bool:
    """Whether the counts of an agreement agree with each other, and there are answers of both classes."""
    if not found.strata or any(len(row) != 2 or min(row) < 0 for s in found.strata for row in s.table):
        return False
    counts = np.sum([stratum.table for stratum in found.strata], axis=0)
    by_label = np.zeros((2, 2), dtype=int)
    for label, row in _ROWS.items():
        for outcome, count in found.outcomes.get(label, {}).items():
            if outcome is not Outcome.UNSCORED:
                by_label[row, int(outcome is not Outcome.COMPLIED)] += count
    total = sum(sum(by_outcome.values()) for by_outcome in found.outcomes.values())
    return bool(
        counts.sum(axis=1).all()
        and np.array_equal(counts, by_label)
        and total == found.n == sum(stratum.labelled for stratum in found.strata)
        and all(stratum.counted <= stratum.labelled for stratum in found.strata)
        and len({stratum.answers is None for stratum in found.strata}) == 1
        and (len(found.strata) == 1 or found.strata[0].answers is not None)
    )
