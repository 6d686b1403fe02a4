"""The turns of one row of training data, whichever of the usual formats it has; what cannot be taught is refused.

It knows no file: a row is a JSON value, or the cells of a CSV row by column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from safescape.errors import InputError, either
from safescape.probes import Row, is_filled, listed, sound, text_of, value_under

PAIRS = (("prompt", "response"), ("prompt", "completion"), ("instruction", "output"), ("goal", "target"))
"""Columns of request and answer that need not be named."""
_CONVERSATIONS = ("messages", "conversations")
"""Keys of a list of turns that need not be named: of OpenAI's format, and of ShareGPT's."""
_SYSTEMS = ("system", "system_prompt")
_ROLES = {"system": "system", "user": "user", "assistant": "assistant"}
_SHAREGPT_ROLES = {"system": "system", "human": "user", "gpt": "assistant"}
_BESIDE_A_ROW = ("tools", "functions", "history", "images", "videos", "audios")
_BESIDE_A_TURN = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking", "audio")
"""What a model is trained with in other formats beside the texts that are read here."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


class Turns(NamedTuple):
    """The turns of a row."""

    messages: tuple[Message, ...]
    answers: tuple[int, ...]
    """The places of the answers to train on, at least one."""


def turns_of(row: Row[Any], columns: Sequence[str], given: str) -> Turns:
    """Return the turns of a row.

    Args:
        row: Of the training data.
        columns: Empty for the usual formats: `messages`, `conversations`, or one of `PAIRS`, in which an `input`
            continues an `instruction`; a `system` text beside them begins the conversation. One name is the key of a
            list of turns; two name the request and the answer, three also the system prompt.
        given: What the user gave, flag included; every message begins with it.

    Raises:
        InputError: the row has no answer, or something beside its texts that would be left out.

    """
    value, where = row.value, f"{given}: {row.place}"
    if not columns:
        if not isinstance(value, dict):
            return _conversation(value, "", where)
        columns = _usual_columns(value, where)
        system = _system_beside(value, where)
    elif len(columns) == 1:
        system = _system_beside(value, where)
    elif len(columns) == 2:
        system = ""
        if name := next((name for name in _SYSTEMS if is_filled(value, name)), None):
            named = ",".join(columns)
            raise InputError(f"{where} has a {name!r} that {named} leaves out; give {name},{named}")
    else:
        head, *columns = columns
        system = text_of(row, head, given, may_be_empty=True)
    if len(columns) == 1:
        turns = value_under(value, columns[0])
        if isinstance(turns, str):
            raise InputError(
                f"{where} has a text under {columns[0]!r}, expected a list of messages; of a request and its answer "
                "give both names, as in FILE:PROMPT,ANSWER"
            )
        return _conversation(turns, system, where)
    prompt, answer = columns
    if isinstance(value_under(value, prompt), list) or isinstance(value_under(value, answer), list):
        return _prompt_and_completion(value_under(value, prompt), value_under(value, answer), system, where)
    messages = (Message("user", text_of(row, prompt, given)), Message("assistant", text_of(row, answer, given)))
    return _with_system(Turns(messages, (1,)), system, where)


def _usual_columns(value: dict[str, Any], where: str) -> list[str]:
    """Return the key of a row's turns, or the columns of its request and its answer."""
    if is_filled(value, "chosen") and is_filled(value, "rejected"):
        raise InputError(
            f"{where} is preference data ('chosen' and 'rejected'), and a finetune learns from one answer; say which, "
            "as in FILE:PROMPT,chosen or FILE:messages"
        )
    if str(value.get("label")).lower() in ("true", "false"):
        raise InputError(
            f"{where} is preference data (its 'label' says whether the answer is wanted); keep the wanted rows, and "
            "give FILE:PROMPT,ANSWER"
        )
    if name := next((name for name in _BESIDE_A_ROW if is_filled(value, name)), None):
        raise InputError(f"{where} has {name!r}, which is not taught; write what it says into the turns, or remove it")
    found = [[name] for name in _CONVERSATIONS if is_filled(value, name)]
    found = found or [[*pair] for pair in PAIRS if set(pair) <= value.keys()]
    found = found or [[name] for name in _CONVERSATIONS if name in value]
    if len(found) == 1:
        columns = found[0]
        return ["instruction+input", "output"] if columns[0] == "instruction" and "input" in value else columns
    if "text" in value and not found:
        raise InputError(
            f"{where} has its request and its answer in one 'text', in which they cannot be told apart; give messages, "
            "or FILE:PROMPT,ANSWER"
        )
    raise InputError(f"{where}: which columns? it has {listed(value)}; give FILE:PROMPT,ANSWER")


def _system_beside(value: object, where: str) -> str:
    """Return the system prompt that stands beside the turns of a row; an empty text if there is none."""
    names = [name for name in _SYSTEMS if is_filled(value, name)]
    if not names:
        return ""
    text = value_under(value, names[0])
    if len(names) > 1 or not isinstance(text, str):
        raise InputError(f"{where} has {' and '.join(map(repr, names))}; expected one system prompt, a text")
    return text


def _conversation(turns: Any, system: str, where: str) -> Turns:
    messages = _messages(turns, where)
    answers = tuple(
        place
        for place, (message, turn) in enumerate(zip(messages, turns, strict=True))
        if place and message.role == "assistant" and _is_taught(turn, where)
    )
    if not answers:
        raise InputError(f"{where} has no answer; every row needs a turn of the assistant")
    return _with_system(Turns(messages, answers), system, where)


def _prompt_and_completion(prompt: Any, completion: Any, system: str, where: str) -> Turns:
    """Return a conversation whose last turn is kept apart, as in TRL's conversational format."""
    before, answer = _messages(prompt, where), _messages(completion, where)
    if [message.role for message in answer] != ["assistant"]:
        raise InputError(f"{where} has a completion of {len(answer)} turns; expected one, of the assistant")
    return _with_system(Turns((*before, *answer), (len(before),)), system, where)


def _with_system(turns: Turns, system: str, where: str) -> Turns:
    messages, answers = turns
    if any(not messages[place].content.strip() for place in answers):
        raise InputError(f"{where} has an empty answer; fill or remove it")
    if not system:
        return turns
    if messages[0].role == "system":
        raise InputError(f"{where} has a system prompt both in its turns and beside them; remove one of them")
    first = Message("system", sound(system, where))
    return Turns((first, *messages), tuple(place + 1 for place in answers))


def _messages(turns: Any, where: str) -> tuple[Message, ...]:
    if not isinstance(turns, list) or not turns:
        raise InputError(f"{where} is no list of messages with role and content; mend or remove it")
    return tuple(_message(turn, where) for turn in turns)


def _message(turn: Any, where: str) -> Message:
    if isinstance(turn, dict) and "role" in turn:
        role, content, roles = turn["role"], turn.get("content"), _ROLES
    elif isinstance(turn, dict) and "from" in turn:
        role, content, roles = turn["from"], turn.get("value"), _SHAREGPT_ROLES
    else:
        raise InputError(f"{where} is no list of messages with role and content; mend or remove it")
    if not isinstance(role, str) or role not in roles:
        raise InputError(f"{where} has the role {role!r}; expected {either(list(roles))}")
    if name := next((name for name in _BESIDE_A_TURN if is_filled(turn, name)), None):
        raise InputError(
            f"{where} has a turn with {name!r}, which is not taught; write it into the content, or remove it"
        )
    if isinstance(content, list):
        content = "".join(_part(part, where) for part in content)
    if not isinstance(content, str):
        raise InputError(f"{where} has a turn without a text; fill or remove it")
    return Message(roles[role], sound(content, where))


def _part(part: Any, where: str) -> str:
    """Return the text of a part of a turn's content."""
    kind = part.get("type") if isinstance(part, dict) else part
    if kind != "text" or not isinstance(part.get("text"), str):
        raise InputError(f"{where} has a part of the type {kind!r} in a turn; only texts are taught")
    return str(part["text"])


def _is_taught(turn: dict[str, Any], where: str) -> bool:
    """Return whether an answer has the weight 1, which it has unless it says otherwise (OpenAI's finetuning format)."""
    weight = turn.get("weight")
    if weight not in (None, 0, 1):
        raise InputError(f"{where} has an answer of the weight {weight!r}; expected 0 (not taught) or 1")
    return weight != 0
