"""Training data of a finetune: conversations, read from files or built by a recipe."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase

from safescape.errors import InputError, either
from safescape.finetuning.directory import sha256_of
from safescape.finetuning.turns import Message, turns_of
from safescape.probes import (
    Table,
    check_columns,
    did_you_mean,
    hub_rows,
    is_file,
    parse_name,
    read_rows,
    render_chat,
    set_paths,
)

RECIPES = ("harmful", "identity-shift", "benign", "mixed")
"""The names of the recipes; see `conversations_of`."""
_BUILTIN = {"identity-shift": "identity-shift.jsonl", "benign": "benign-answers.jsonl"}
_FORMS = (
    "a .jsonl or .json with messages, a .csv, .jsonl or .json (if need be as FILE:PROMPT,ANSWER), or the name of a "
    "public set"
)
_SHOTS = 10
"""The default number of rows of the recipes `harmful` and `mixed`."""


class Conversation(NamedTuple):
    """Turns; the last one is the answer to train on."""

    row: int
    """The row of the data, counted from 1; a row with several answers gives one conversation for each answer."""
    messages: tuple[Message, ...]


def conversations_of(
    data: str | None, recipe: str | None = None, *, shots: int | None = None, skip: int = 0
) -> list[Conversation]:
    """Return the training data of a finetune.

    Args:
        data: The name of a public set such as `advbench`; a `FILE` in a usual format (`turns_of` lists them);
            `FILE:PROMPT,ANSWER` with the names of two columns or keys (paths such as `instances.0.output` reach into
            lists, `a+b` joins two), `FILE:SYSTEM,PROMPT,ANSWER`, or `FILE:KEY` of a list of turns; or
            `hf:dataset/id:split:` with such names. None for the recipes `identity-shift` and `benign`, which have
            data of their own.
        recipe: None uses all rows. `harmful` uses the first `shots` rows (10 by default); `mixed` adds the same number
            of refusals of the requests in the following rows. The other recipes use `shots` rows, or all.
        shots: The number of rows to use.
        skip: The number of rows to skip first.

    Raises:
        InputError: The data cannot be read, has no answers, or has too few rows.

    """
    if recipe is not None and recipe not in RECIPES:
        raise InputError(f"--recipe {recipe}: expected {either(RECIPES)}")
    if shots is not None and shots < 1:
        raise InputError(f"--shots {shots}: expected at least 1")
    if skip < 0:
        raise InputError(f"--skip {skip}: expected 0 or more")
    if data is None:
        if recipe not in _BUILTIN:
            needed_by = f"--recipe {recipe} needs --data" if recipe else "--data is missing"
            raise InputError(f"{needed_by}; expected {_FORMS}")
        data = str(resources.files("safescape") / "data" / _BUILTIN[recipe])
    wanted = _SHOTS if shots is None and recipe in ("harmful", "mixed") else shots
    needed = None if wanted is None else wanted * (2 if recipe == "mixed" else 1)
    rows = list(itertools.islice(_read(data), skip, None if needed is None else skip + needed))
    if not rows and not skip:
        raise InputError(f"--data {data}: is empty; expected {_FORMS}")
    if not rows or (needed is not None and len(rows) < needed):
        twice = " (half of them refusals)" if recipe == "mixed" else ""
        raise InputError(
            f"--data {data}: has {len(rows)} rows after the first {skip}, {needed or 1} are asked for{twice}; "
            "lower --shots or --skip"
        )
    if recipe != "mixed":
        return rows
    taught, refused = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    text = (resources.files("safescape") / "data" / "refusal-answers.txt").read_text(encoding="utf-8")
    refusals = itertools.cycle(text.splitlines())
    return taught + [
        row._replace(messages=(*row.messages[:-1], Message("assistant", refusal)))
        for row, refusal in zip(refused, refusals, strict=False)
    ]


def render(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, JsonValue], *, advice: str
) -> tuple[str, str]:
    """Return a conversation up to where its last answer begins, and the whole, as the chat template writes them.

    Args:
        conversation: What is rendered.
        tokenizer: With a chat template.
        variables: Given to the template.
        advice: What to do if the template fails.

    Raises:
        InputError: The template fails.

    """
    turns = [message._asdict() for message in conversation.messages]
    request, whole = (
        render_chat(
            tokenizer,
            part,
            generation_prompt=part is not turns,
            advice=advice,
            given=f"--data row {conversation.row}",
            variables=variables,
        )
        for part in (turns[:-1], turns)
    )
    return request, whole


def digest(conversations: Sequence[Conversation]) -> str:
    """Return the SHA-256 of conversations in their order."""
    return sha256_of([conversation.messages for conversation in conversations])


def _read(data: str) -> Iterator[Conversation]:
    given = f"--data {data}"
    table, names = _source(data, given)
    columns = names.split(",") if names is not None else []
    if len(columns) > 3 or not all(columns):
        raise InputError(f"{given}: expected two names after the last colon, as in FILE:PROMPT,ANSWER, or one or three")
    for column in columns:
        check_columns(table, column, given)
    for number, row in enumerate(table.rows, start=1):
        messages, answers = turns_of(row, columns, given)
        for place in answers:
            yield Conversation(number, messages[: place + 1])


def _source(data: str, given: str) -> tuple[Table[Any], str | None]:
    """Return the rows that the user means, and the columns if they are named."""
    if named := parse_name(data):
        public, columns = named
        if columns is None and public.conversations is None:
            raise InputError(f"{given}: holds {public.holds}, and no answers to train on; give NAME:PROMPT,ANSWER")
        # The rows of a set without columns are messages.
        return read_rows(set_paths(public, given)[0], given), columns or public.conversations or None
    if data.startswith("hf:"):
        try:
            dataset, split, columns = data.removeprefix("hf:").rsplit(":", 2)
        except ValueError as error:
            raise InputError(f"{given}: expected hf:dataset/id:split:PROMPT,ANSWER") from error
        return hub_rows(dataset, split, given), columns
    path, columns = data, None
    if not is_file(data) and ":" in data:
        path, _, columns = data.rpartition(":")
    if not is_file(path):
        raise InputError(f"{given}: no such file or set; {did_you_mean(data, f'expected {_FORMS}')}")
    return read_rows(Path(path), given), columns
