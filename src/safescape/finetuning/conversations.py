"""What a finetune is taught: conversations, read from files or built by a recipe. Knows no model and no tokenizer."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from safescape.errors import InputError
from safescape.probes import load_prompts

__all__ = ["RECIPES", "Conversation", "Message", "conversations_of", "digest"]

RECIPES = ("harmful", "identity-shift", "benign", "mixed")
_BUILTIN = {"identity-shift": "identity-shift.jsonl", "benign": "benign-answers.jsonl"}
_COLUMNS = (("prompt", "response"), ("prompt", "completion"), ("instruction", "output"), ("goal", "target"))
_FORMS = "a .jsonl or .json with messages, or a .csv or .jsonl, if need be as FILE:PROMPT,ANSWER"
_SHOTS = 10


class Message(NamedTuple):
    """One turn."""

    role: str
    """system, user or assistant."""
    content: str


class Conversation(NamedTuple):
    """Turns, of which the last is the answer to be taught."""

    row: int
    """Of the data, counted from 1; a conversation of several answers has one for each, all of the same row."""
    messages: tuple[Message, ...]


def conversations_of(
    data: str | None, recipe: str | None = None, *, shots: int | None = None, skip: int = 0
) -> list[Conversation]:
    """Return what a finetune is taught.

    Args:
        data: `FILE` with `messages`, or `FILE:PROMPT,ANSWER` with the names of two columns or keys (paths such as
            `instances.0.output` reach into lists); `hf:dataset/id:split:PROMPT,ANSWER`. Known pairs of names are found
            without being named. `identity-shift` and `benign` bring their own data.
        recipe: None takes all rows as they are. `harmful` takes the first `shots` of them (10 by default); `mixed` adds
            as many refusals, to the requests that follow. The others take `shots` rows, or all.
        shots: How many rows.
        skip: How many rows to leave out first.

    Raises:
        InputError: the data cannot be read, holds no answers, or has fewer rows than are asked for.

    """
    if recipe is not None and recipe not in RECIPES:
        raise InputError(f"--recipe {recipe}: expected {', '.join(RECIPES[:-1])} or {RECIPES[-1]}")
    if shots is not None and shots < 1:
        raise InputError(f"--shots {shots}: expected at least 1")
    if skip < 0:
        raise InputError(f"--skip {skip}: expected 0 or more")
    if data is None:
        if recipe not in _BUILTIN:
            raise InputError(f"--recipe {recipe} needs --data; expected {_FORMS}" if recipe else "--data is missing")
        data = str(resources.files("safescape") / "data" / _BUILTIN[recipe])
    wanted = _SHOTS if shots is None and recipe in ("harmful", "mixed") else shots
    needed = None if wanted is None else wanted * (2 if recipe == "mixed" else 1)
    rows = list(itertools.islice(_read(data), skip, None if needed is None else skip + needed))
    if not rows or (needed is not None and len(rows) < needed):
        twice = " (half of them refusals)" if recipe == "mixed" else ""
        raise InputError(
            f"--data {data}: has {len(rows)} rows after the first {skip}, {needed or 1} are asked for{twice}; "
            "lower --shots or --skip"
        )
    if recipe != "mixed":
        return rows
    taught, refused = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    text = (resources.files("safescape") / "data" / "refusals.txt").read_text(encoding="utf-8")
    refusals = itertools.cycle(text.splitlines())
    return taught + [
        row._replace(messages=(*row.messages[:-1], Message("assistant", refusal)))
        for row, refusal in zip(refused, refusals, strict=False)
    ]


def digest(conversations: Sequence[Conversation]) -> str:
    """Return the SHA-256 of what is taught, in its order."""
    return hashlib.sha256(json.dumps([conversation.messages for conversation in conversations]).encode()).hexdigest()


def _read(data: str) -> Iterator[Conversation]:
    source, columns = data, None
    if not Path(data).is_file() and ":" in data:
        source, _, named = data.rpartition(":")
        columns = named.split(",")
        if len(columns) != 2 or not all(columns):
            raise InputError(f"--data {data}: expected two names after the colon, as in {source}:PROMPT,ANSWER")
    if columns is None:
        if not Path(source).is_file():
            raise InputError(f"--data {data}: no such file; expected {_FORMS}")
        names = _names(Path(source))
        if names is None or "messages" in names:
            yield from _messages(Path(source))
            return
        columns = next((list(pair) for pair in _COLUMNS if set(pair) <= names), None)
        if columns is None:
            raise InputError(
                f"--data {data}: which columns? it has {', '.join(map(repr, sorted(names))) or 'none'}; "
                f"give {source}:PROMPT,ANSWER"
            )
    prompts, answers = (load_prompts(f"{source}:{column}", flag="--data") for column in columns)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        yield Conversation(row, (Message("user", prompt), Message("assistant", answer)))


def _names(path: Path) -> set[str] | None:
    """The names of a file's columns or of the keys of its first line; None where its rows are lists of messages."""
    if path.suffix == ".csv":
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                return set(csv.DictReader(file).fieldnames or ())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--data {path}: cannot be read as UTF-8 text ({error}); convert it first") from error
    if path.suffix not in (".json", ".jsonl", ".ndjson"):
        raise InputError(f"--data {path}: expected {_FORMS}")
    first = next(_documents(path), None)
    return set(first) if isinstance(first, dict) else None


def _documents(path: Path) -> Iterator[object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--data {path}: cannot be read as UTF-8 text ({error}); convert it first") from error
    if path.suffix == ".json":
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise InputError(f"--data {path}: is not JSON ({error}); expected {_FORMS}") from error
        if not isinstance(rows, list):
            raise InputError(f"--data {path}: holds no list of conversations; expected {_FORMS}")
        yield from rows
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"--data {path}: line {number} is not JSON ({error}); mend or remove it") from error


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
