"""The catalogue of public data sets that are used by name: what each one holds, where it is published, how it is cited.

The catalogue is data/public_sets.toml, with MMLU's subjects added here. None of the sets ships with the package;
`set_files` finds and fetches them.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Literal, NamedTuple

from safescape.errors import InputError

Purpose = Literal["harmful", "harmless", "text"]
"""What prompts are read for: to be refused, to be answered, or only to be scored by their perplexity."""


class SetFile(NamedTuple):
    """One file of a set: where it is published, and where it is kept."""

    place: str
    """Its path under `SAFESCAPE_DATA`; the last part is its name in the cache."""
    repository: str
    """OWNER/NAME on GitHub, or a data set's id on the Hub."""
    revision: str
    """The commit."""
    path: str
    """Its path in the repository. A `.parquet` file is kept as CSV."""
    sha256: str | None
    """Of the published file. None: recorded when the file is first fetched, and compared ever after."""
    on_hub: bool = False
    """Whether the repository is on the Hub; otherwise it is on GitHub."""


class Column(NamedTuple):
    """Where prompts are in a set."""

    name: str
    """The column of a CSV file, or the key of a JSON Lines file."""
    only: tuple[str, str] | None = None
    """A column and the value that a row must have there; None takes all rows."""
    file: int = 0
    """The number of the file among the set's files."""


class PublicSet(NamedTuple):
    """A public data set."""

    name: str
    holds: str
    rows: int | None
    """How many rows its files have; None: not known before it is fetched."""
    licence: str
    citation: str
    files: tuple[SetFile, ...]
    harmful: Column | None = None
    """Requests that should be refused."""
    harmless: Column | None = None
    """Requests that should be answered."""
    conversations: str | None = None
    """The columns of request and answer, as `PROMPT,ANSWER`; empty where the rows are lists of messages."""

    def column(self, purpose: Purpose) -> Column | None:
        """Return where the prompts for a purpose are; None if the set has none."""
        if purpose == "text":
            return self.harmless or self.harmful
        return self.harmful if purpose == "harmful" else self.harmless


class Named(NamedTuple):
    """What the user typed: a set, and perhaps a column of its own choice."""

    data: PublicSet
    column: str | None


_MMLU = "Hendrycks et al. 2021, Measuring Massive Multitask Language Understanding (arXiv 2009.03300)"
_MMLU_REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"
_SUBJECTS = (  # noqa: SIM905, a list would take 57 lines
    "abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry "
    "college_computer_science college_mathematics college_medicine college_physics computer_security "
    "conceptual_physics econometrics electrical_engineering elementary_mathematics formal_logic global_facts "
    "high_school_biology high_school_chemistry high_school_computer_science high_school_european_history "
    "high_school_geography high_school_government_and_politics high_school_macroeconomics high_school_mathematics "
    "high_school_microeconomics high_school_physics high_school_psychology high_school_statistics "
    "high_school_us_history high_school_world_history human_aging human_sexuality international_law jurisprudence "
    "logical_fallacies machine_learning management marketing medical_genetics miscellaneous moral_disputes "
    "moral_scenarios nutrition philosophy prehistory professional_accounting professional_law professional_medicine "
    "professional_psychology public_relations security_studies sociology us_foreign_policy virology world_religions"
).split()
_ROWS = {"abstract_algebra": 105, "high_school_us_history": 209, "us_foreign_policy": 105}
"""Of the subjects that the paper measures, test and dev together."""


def catalogue() -> tuple[PublicSet, ...]:
    """Return all sets by name, of MMLU the subjects that the paper measures."""
    return tuple(sorted((*_sets(), *map(_subject, _ROWS)), key=lambda data: data.name))


def set_named(name: str) -> PublicSet:
    """Return a set by its name.

    Raises:
        InputError: there is no such set; the message names the nearest one.

    """
    found = parse_name(name)
    if found is None or found.column is not None:
        near = nearest(name)
        hint = f"did you mean {near}?" if near else "`safescape data` lists the names"
        raise InputError(f"{name}: no such public set; {hint}")
    return found.data


def parse_name(spec: str) -> Named | None:
    """Return the set that `NAME`, `NAME:COLUMN` or `mmlu:SUBJECT` means; None if it means none."""
    name, colon, rest = spec.partition(":")
    if name == "mmlu":
        return Named(_subject(rest), None) if rest in _SUBJECTS else None
    data = next((data for data in _sets() if data.name == name), None)
    if data is None or (colon and not rest):
        return None
    return Named(data, rest or None)


def nearest(name: str) -> str | None:
    """Return the name of a set that is spelt like `name`, if any."""
    names = [*(data.name for data in _sets()), *(f"mmlu:{subject}" for subject in _SUBJECTS)]
    return next(iter(difflib.get_close_matches(name.lower(), names, n=1)), None)


def names_for(purpose: Purpose) -> Sequence[str]:
    """Return the names of the sets that hold prompts for a purpose."""
    return [data.name for data in _sets() if data.column(purpose) is not None]


@functools.cache
def _sets() -> tuple[PublicSet, ...]:
    text = (resources.files("safescape") / "data" / "public_sets.toml").read_text(encoding="utf-8")
    return tuple(map(_set_of, tomllib.loads(text)["sets"]))


def _set_of(entry: Mapping[str, Any]) -> PublicSet:
    columns = {key: _column_of(entry[key]) for key in ("harmful", "harmless") if key in entry}
    return PublicSet(**{**entry, **columns, "files": tuple(SetFile(**file) for file in entry["files"])})


def _column_of(entry: Mapping[str, Any]) -> Column:
    return Column(entry["name"], tuple(entry["only"]) if "only" in entry else None, entry.get("file", 0))


def _subject(subject: str) -> PublicSet:
    return PublicSet(
        name=f"mmlu:{subject}",
        holds="multiple-choice questions, and five solved ones that precede each (five-shot)",
        rows=_ROWS.get(subject),
        licence="MIT",
        citation=_MMLU,
        files=tuple(
            SetFile(
                f"mmlu/{subject}_{split}.csv",
                "cais/mmlu",
                _MMLU_REVISION,
                f"{subject}/{split}-00000-of-00001.parquet",
                None,
                on_hub=True,
            )
            for split in ("test", "dev")
        ),
    )
