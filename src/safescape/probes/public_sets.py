"""The catalogue of public data sets that are used by name: what each one holds, where it is published, how it is cited.

The catalogue is data/public_sets.toml. None of the sets ships with the package; `set_files` finds and fetches them.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

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


def catalogue() -> tuple[PublicSet, ...]:
    """Return the sets in the order of their names; of MMLU, only the subjects whose number of rows is known."""
    listed = (data for data in _sets().values() if data.rows is not None)
    return tuple(sorted(listed, key=lambda data: data.name))


def set_named(name: str) -> PublicSet:
    """Return a set by its name.

    Raises:
        InputError: there is no such set; the message names the nearest one.

    """
    if name in _sets():
        return _sets()[name]
    advice = did_you_mean(name, "`safescape data` lists the names")
    raise InputError(f"{name or repr(name)}: no such public set; {advice}")


def parse_name(spec: str) -> Named | None:
    """Return the set that `NAME`, `NAME:COLUMN` or `mmlu:SUBJECT` means; None if it means none."""
    sets = _sets()
    if spec in sets:
        return Named(sets[spec], None)
    name, _, column = spec.partition(":")
    return Named(sets[name], column) if name in sets and column else None


def did_you_mean(name: str, otherwise: str) -> str:
    """Return the end of a message that suggests a set spelt like `name`; `otherwise` if there is none."""
    near = difflib.get_close_matches(name.lower(), _sets(), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def names_for(purpose: Purpose) -> Sequence[str]:
    """Return the names of the sets that hold prompts for a purpose."""
    return [data.name for data in _sets().values() if data.column(purpose) is not None]


@functools.cache
def _sets() -> dict[str, PublicSet]:
    """Return all sets by name, each subject of MMLU among them."""
    text = (resources.files("safescape") / "data" / "public_sets.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    sets = TypeAdapter(tuple[PublicSet, ...]).validate_python([*found["sets"], *_subjects(**found["mmlu"])])
    return {data.name: data for data in sets}


def _subjects(
    subjects: Sequence[str], rows: Mapping[str, int], repository: str, revision: str, **described: str
) -> Iterator[dict[str, Any]]:
    """Yield one set per subject of MMLU, each of two Parquet files without a published hash."""
    for subject in subjects:
        files = [
            SetFile(
                f"mmlu/{subject}_{split}.csv",
                repository,
                revision,
                f"{subject}/{split}-00000-of-00001.parquet",
                sha256=None,
                on_hub=True,
            )
            for split in ("test", "dev")
        ]
        yield {"name": f"mmlu:{subject}", "rows": rows.get(subject), "files": files, **described}
