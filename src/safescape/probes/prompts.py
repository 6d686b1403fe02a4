"""Prompt sets: from what the user typed to a list of requests, each one short text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from safescape.errors import InputError
from safescape.probes.columns import check_columns, sound, text_of, value_under
from safescape.probes.public_sets import Column, Named, Purpose, did_you_mean, names_for, parse_name
from safescape.probes.rows import Table, csv_table, hub_rows, is_file, read_rows
from safescape.probes.set_files import set_paths

_BUILTIN = ("harmful", "benign")
_GOAL = "goal"
"""The key of the request behind a prompt that carries an attack, as in JailbreakBench's artifacts."""
_FORMS = (
    "builtin:harmful, builtin:benign, the name of a public set (`safescape data` lists them), file.csv:column, "
    "file.jsonl:key, file.json:key, hf:dataset/id:split:column or a JailbreakBench file"
)


class PromptSet(NamedTuple):
    """Prompts, and what is known of those that carry an attack; the fields of `PromptProbe` of the same names."""

    prompts: tuple[str, ...]
    goals: tuple[str, ...] | None = None
    failed: tuple[int, ...] = ()


class _Prompt(NamedTuple):
    text: str | None
    """None: the attack found no prompt."""
    goal: str | None
    place: str


def load_prompts(
    spec: str, limit: int | None = None, *, flag: str = "--prompts", purpose: Purpose = "harmful"
) -> tuple[str, ...]:
    """Return the first `limit` prompts of a set that are read as they are; see `load_set`.

    Raises:
        InputError: also if an attack found no prompt.

    """
    found = _first(spec, limit, flag, purpose)
    if (failed := next((each.place for each in found if each.text is None), None)) is not None:
        raise InputError(
            f"{flag} {spec}: {failed} has no prompt (null): its attack failed, which counts as a refusal where attacks "
            "are asked, and leaves nothing to read here; remove it, or give the file with :goal"
        )
    return tuple(each.text or "" for each in found)


def load_set(
    spec: str, limit: int | None = None, *, flag: str = "--prompts", purpose: Purpose = "harmful"
) -> PromptSet:
    """Return the first `limit` prompts of a set, in its own order, with the goals of attacks.

    An attack of a JailbreakBench artifact that found no prompt (null) is one of them, and failed: JailbreakBench counts
    it in the denominator of an attack success rate (Chao et al. 2024, arXiv 2404.01318). Its goal stands for it.

    Args:
        spec: `builtin:harmful`, `builtin:benign`, the name of a public set such as `advbench`, `file.csv:column`,
            `file.jsonl:key`, `file.json:key` (a list of objects), `hf:dataset/id:split:column`, or a JailbreakBench
            artifact file (its `jailbreaks[].prompt`, or after `:` another field such as `goal`). A key may be a path
            into lists and objects: `turns.0`. `a+b` joins two columns. After the name of a public set, `:column`
            takes all rows of that column.
        limit: The number of prompts; None for all.
        flag: What the user gave it with, for the messages.
        purpose: Which prompts of a public set are meant, where it has harmful and harmless ones.

    Raises:
        InputError: the set, its column or a prompt in it is missing or empty, or no attack found a prompt.

    """
    found = _first(spec, limit, flag, purpose)
    failed = tuple(number for number, each in enumerate(found) if each.text is None)
    if len(failed) == len(found):
        raise InputError(f"{flag} {spec}: none of its {len(found)} attacks found a prompt; there is nothing to ask")
    goals = tuple(each.goal for each in found if each.goal is not None)
    return PromptSet(
        tuple(each.text or each.goal or f"(no prompt in {each.place})" for each in found),
        goals if len(goals) == len(found) else None,
        failed,
    )


def _first(spec: str, limit: int | None, flag: str, purpose: Purpose) -> tuple[_Prompt, ...]:
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: expected at least 1 prompt")
    given = f"{flag} {spec}"
    kind, _, rest = spec.partition(":")
    if kind == "builtin":
        texts = _builtin(rest, given)
    elif kind == "hf":
        texts = _from_hub(rest, given)
    elif named := parse_name(spec):
        texts = _from_public_set(named, purpose, given)
    else:
        texts = _from_file(spec, given)
    found = tuple(itertools.islice(texts, limit))
    if not found:
        raise InputError(f"{given}: no prompts in it; expected at least one")
    return found


def _builtin(name: str, given: str) -> Iterator[_Prompt]:
    if name not in _BUILTIN:
        raise InputError(f"{given}: no such set; expected {_FORMS}")
    path = resources.files("safescape") / "data" / f"{name}.csv"
    return _texts(csv_table(path.read_text(encoding="utf-8"), given), "prompt", given)


def _from_public_set(named: Named, purpose: Purpose, given: str) -> Iterator[_Prompt]:
    data = named.data
    wanted = data.column(purpose) if named.column is None else Column(named.column)
    if wanted is None:
        kind = {"harmful": "harmful requests", "harmless": "harmless requests", "text": "prompts"}[purpose]
        choices = "choice:" + data.name if data.name.startswith("mmlu:") else ", ".join(names_for(purpose))
        raise InputError(f"{given}: holds {data.holds}, and no {kind}; expected {choices}, or NAME:COLUMN")
    table = read_rows(set_paths(data, given)[wanted.file], given)
    return _texts(table, wanted.name, given, wanted.only)


def _from_file(spec: str, given: str) -> Iterator[_Prompt]:
    path, column = Path(spec), None
    if not is_file(path) and ":" in spec:
        name, _, column = spec.rpartition(":")
        path = Path(name)
    if not is_file(path):
        raise InputError(f"{given}: no such file or set; {did_you_mean(spec, f'expected {_FORMS}')}")
    table = read_rows(path, given)
    if (column := column or table.column) is None:
        raise InputError(f"{given}: which column? expected {path}:COLUMN")
    return _texts(table, column, given, goals=True)


def _from_hub(spec: str, given: str) -> Iterator[_Prompt]:
    try:
        dataset, split, column = spec.rsplit(":", 2)
    except ValueError as error:
        raise InputError(f"{given}: expected hf:dataset/id:split:column") from error
    return _texts(hub_rows(dataset, split, given), column, given)


def _texts(
    table: Table[Any], column: str, given: str, only: tuple[str, str] | None = None, *, goals: bool = False
) -> Iterator[_Prompt]:
    """Return the texts under a column, of the rows that have `only`'s value; with `goals`, those beside them, too."""
    for needed in (column, only[0]) if only else (column,):
        check_columns(table, needed, given)
    may_fail = table.can_fail and column == table.column
    for row in table.rows:
        if only is not None and row.value[only[0]] != only[1]:
            continue
        goal = value_under(row.value, _GOAL) if goals and column != _GOAL else None
        failed = may_fail and value_under(row.value, column) is None
        yield _Prompt(
            None if failed else text_of(row, column, given),
            sound(goal, f"{given}: {row.place}") if isinstance(goal, str) and goal.strip() else None,
            row.place,
        )
