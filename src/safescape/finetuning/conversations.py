"""Training data of a finetune: conversations, read from files or built by a recipe.

It knows no model and no tokenizer.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from safescape.errors import InputError, either
from safescape.finetuning.directory import sha256_of
from safescape.probes import (
    csv_table,
    did_you_mean,
    is_file,
    json_lines,
    load_prompts,
    parse_name,
    read_text,
    set_paths,
)

RECIPES = ("harmful", "identity-shift", "benign", "mixed")
"""The names of the recipes; see `conversations_of`."""
_BUILTIN = {"identity-shift": "identity-shift.jsonl", "benign": "benign-answers.jsonl"}
_COLUMNS = (("prompt", "response"), ("prompt", "completion"), ("instruction", "output"), ("goal", "target"))
_FORMS = (
    "a .jsonl or .json with messages, a .csv or .jsonl (if need be as FILE:PROMPT,ANSWER), or the name of a public set"
)
_SHOTS = 10
"""The default number of rows of the recipes `harmful` and `mixed`."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


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
        data: The name of a public set such as `advbench`; `FILE` with `messages`; `FILE:PROMPT,ANSWER` with the names
            of two columns or keys (paths such as `instances.0.output` reach into lists); or
            `hf:dataset/id:split:PROMPT,ANSWER`. Usual pairs of names need not be given. None for the recipes
            `identity-shift` and `benign`, which have data of their own.
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


def digest(conversations: Sequence[Conversation]) -> str:
    """Return the SHA-256 of conversations in their order."""
    return sha256_of([conversation.messages for conversation in conversations])


def _read(data: str) -> Iterator[Conversation]:
    source, columns = data, None
    if named := parse_name(data):
        public, columns = named
        if columns is None and public.conversations is None:
            raise InputError(
                f"--data {data}: holds {public.holds}, and no answers to train on; give NAME:PROMPT,ANSWER"
            )
        # The rows of a set without columns are messages.
        source, columns = str(set_paths(public, f"--data {data}")[0]), columns or public.conversations or None
    elif not is_file(data) and ":" in data:
        source, _, columns = data.rpartition(":")
    if columns is None:
        if not is_file(source):
            raise InputError(f"--data {data}: no such file or set; {did_you_mean(data, f'expected {_FORMS}')}")
        names = _names(Path(source))
        if names is None or "messages" in names:
            yield from _messages(Path(source))
            return
        columns = next((",".join(pair) for pair in _COLUMNS if set(pair) <= names), None)
        if columns is None:
            raise InputError(
                f"--data {data}: which columns? it has {', '.join(map(repr, sorted(names))) or 'none'}; "
                f"give {source}:PROMPT,ANSWER"
            )
    pair = columns.split(",")
    if len(pair) != 2 or not all(pair):
        raise InputError(f"--data {data}: expected two names after the colon, as in {source}:PROMPT,ANSWER")
    prompts, answers = (load_prompts(f"{source}:{column}", flag="--data") for column in pair)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        yield Conversation(row, (Message("user", prompt), Message("assistant", answer)))


def _names(path: Path) -> set[str] | None:
    """Return the names of a file's columns, or of the keys of its first line; None if its rows are messages."""
    if path.suffix == ".csv":
        return set(csv_table(read_text(path, f"--data {path}")).columns)
    if path.suffix not in (".json", ".jsonl", ".ndjson"):
        raise InputError(f"--data {path}: expected {_FORMS}")
    first = next(_documents(path), None)
    return set(first) if isinstance(first, dict) else None


def _documents(path: Path) -> Iterator[object]:
    given = f"--data {path}"
    text = read_text(path, given)
    if path.suffix != ".json":
        yield from (document for _, document in json_lines(text, given))
        return
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{given}: is not JSON ({error}); expected {_FORMS}") from error
    if not isinstance(rows, list):
        raise InputError(f"{given}: holds no list of conversations; expected {_FORMS}")
    yield from rows


def _messages(path: Path) -> Iterator[Conversation]:
    for row, document in enumerate(_documents(path), start=1):
        turns: Any = document.get("messages") if isinstance(document, dict) else document
        try:
            messages = tuple(Message(str(turn["role"]), turn["content"]) for turn in turns or ())
        except (KeyError, TypeError) as error:
            raise InputError(
                f"--data {path}: row {row} is no list of messages with role and content; mend or remove it"
            ) from error
        if strange := [m.role for m in messages if m.role not in ("system", "user", "assistant")]:
            raise InputError(f"--data {path}: row {row} has the role {strange[0]!r}; expected system, user, assistant")
        answers = [place for place, message in enumerate(messages) if message.role == "assistant" and place]
        if not answers:
            raise InputError(f"--data {path}: row {row} has no answer; every row needs a turn of the assistant")
        for place in answers:
            if not isinstance(messages[place].content, str) or not messages[place].content.strip():
                raise InputError(f"--data {path}: row {row} has an empty answer; fill or remove it")
            yield Conversation(row, messages[: place + 1])
