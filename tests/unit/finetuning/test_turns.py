"""Turns of one row of training data: each usual format as it is meant; what would be left out is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safescape import InputError
from safescape.finetuning import conversations_of

HI = {"role": "user", "content": "hi"}
YO = {"role": "assistant", "content": "yo"}
CALLS = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}


def saved(path: Path, *rows: object) -> str:
    """Write rows as JSON Lines, or as a list where the file is a .json."""
    lines = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
    return str(path)


def taught(data: str) -> list[list[tuple[str, str]]]:
    return [[(message.role, message.content) for message in found.messages] for found in conversations_of(data)]


def pair(request: str, answer: str, system: str | None = None) -> list[tuple[str, str]]:
    head = [] if system is None else [("system", system)]
    return [*head, ("user", request), ("assistant", answer)]


ALPACA: list[dict[str, Any]] = [
    {"instruction": "Translate to French.", "input": "cat", "output": "chat"},
    {"instruction": "Say hello.", "input": "", "output": "Hello."},
    {"instruction": "Say bye.", "input": " \n", "output": "Bye.", "text": "### Instruction: Say bye."},
    {"instruction": "Count.", "input": None, "output": "1, 2"},
    {"instruction": "Add.", "output": "3"},
]
ALPACA_TURNS = [
    pair("Translate to French.\n\ncat", "chat"),
    pair("Say hello.", "Hello."),
    pair("Say bye.", "Bye."),
    pair("Count.", "1, 2"),
    pair("Add.", "3"),
]


@pytest.mark.parametrize("name", ["alpaca.jsonl", "alpaca.json", "alpaca.ndjson"])
def test_an_input_of_alpaca_continues_its_instruction(tmp_path: Path, name: str) -> None:
    assert taught(saved(tmp_path / name, *ALPACA)) == ALPACA_TURNS


def test_alpaca_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.csv"
    path.write_text('instruction,input,output\n"Add, then say",1 and 2,3\nSay hello.,,Hello.\n', encoding="utf-8")
    assert taught(str(path)) == [pair("Add, then say\n\n1 and 2", "3"), pair("Say hello.", "Hello.")]
    assert taught(f"{path}:instruction+input,output") == taught(str(path))
    with pytest.raises(InputError, match=r"no column 'inptu'; it has 'instruction', 'input', 'output'"):
        taught(f"{path}:instruction+inptu,output")


def test_named_columns_that_leave_an_input_out_are_refused(tmp_path: Path) -> None:
    data = saved(tmp_path / "alpaca.json", *ALPACA[1:4], ALPACA[0])
    with pytest.raises(InputError) as refused:
        taught(f"{data}:instruction,output")
    assert str(refused.value) == (
        f"--data {data}:instruction,output: row 4 has an 'input' that 'instruction' leaves out; give instruction+input "
        "in its place"
    )
    assert taught(f"{data}:instruction+input,output") == [*ALPACA_TURNS[1:4], ALPACA_TURNS[0]]
    data = saved(tmp_path / "empty.json", *ALPACA[1:])
    assert taught(f"{data}:instruction,output") == ALPACA_TURNS[1:]
    with pytest.raises(InputError, match="row 4 has no text under 'input'; it has 'instruction', 'output'"):
        taught(f"{data}:instruction+input,output")


def test_sharegpt(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "one?"},
        {"from": "gpt", "value": "1"},
        {"from": "human", "value": "two?"},
        {"from": "gpt", "value": "2"},
        {"from": "human", "value": "bye"},
    ]
    data = saved(
        tmp_path / "share.jsonl",
        {"id": "a", "conversations": [{"from": "system", "value": "be brief"}, *turns]},
        {"id": "b", "system": "be kind", "conversations": turns[:2]},
        {"id": "c", "conversations": [HI, YO]},
    )
    assert taught(data) == [
        [("system", "be brief"), *pair("one?", "1")],
        [("system", "be brief"), *pair("one?", "1"), *pair("two?", "2")],
        pair("one?", "1", "be kind"),
        pair("hi", "yo"),
    ]


def test_contents_as_parts_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": " two"}]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": parts[:1]}]}
    assert taught(saved(tmp_path / "parts.jsonl", row)) == [pair("one two", "one")]


def test_prompt_and_completion_as_lists_of_messages(tmp_path: Path) -> None:
    first = {"prompt": [HI, YO, {"role": "user", "content": "more"}], "completion": [YO]}
    second = {"prompt": [{"role": "system", "content": "be kind"}, HI], "completion": [YO]}
    data = saved(tmp_path / "trl.jsonl", first, second)
    assert taught(data) == [[*pair("hi", "yo"), *pair("more", "yo")], pair("hi", "yo", "be kind")]
    assert taught(f"{data}:prompt,completion") == taught(data)


def test_a_system_prompt_beside_request_and_answer(tmp_path: Path) -> None:
    rows = [{"system": "be kind", "prompt": "hi", "response": "yo"}, {"system": "", "prompt": "a", "response": "b"}]
    data = saved(tmp_path / "system.jsonl", *rows)
    assert taught(data) == [pair("hi", "yo", "be kind"), pair("a", "b")]
    assert taught(f"{data}:system,prompt,response") == taught(data)
    with pytest.raises(
        InputError, match=r"line 1 has a 'system' that prompt,response leaves out; give system,prompt,resp"
    ):
        taught(f"{data}:prompt,response")
    orca = saved(tmp_path / "orca.jsonl", {"system_prompt": "think", "question": "why?", "response": "so"})
    assert taught(f"{orca}:system_prompt,question,response") == [pair("why?", "so", "think")]
    with pytest.raises(InputError, match="line 1 has a 'system_prompt' that question,response leaves out"):
        taught(f"{orca}:question,response")


def test_one_name_is_the_key_of_the_turns(tmp_path: Path) -> None:
    row = {"dialog": [HI, YO], "nested": {"turns": [HI, YO]}, "chosen": [HI, YO], "rejected": [HI, YO]}
    data = saved(tmp_path / "named.jsonl", row)
    for key in ("dialog", "nested.turns", "chosen"):
        assert taught(f"{data}:{key}") == [pair("hi", "yo")]


def test_answers_of_weight_zero_are_read_and_not_taught(tmp_path: Path) -> None:
    row = {"messages": [HI, {**YO, "weight": 0}, HI, {**YO, "weight": 1}]}
    assert taught(saved(tmp_path / "weights.jsonl", row)) == [[*pair("hi", "yo"), *pair("hi", "yo")]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"conversations": [{"from": "bing", "value": "x"}]}, "has the role 'bing'; expected system, human or gpt"),
        ({"conversations": [{"from": "human", "value": "x"}, {"from": "tool", "value": "y"}]}, "has the role 'tool'"),
        (
            {"messages": [HI, {"role": ["assistant"], "content": "x"}]},
            "has the role ['assistant']; expected system, user",
        ),
        ({"messages": [HI, CALLS]}, "has a turn with 'tool_calls', which is not taught; write it into the content, or"),
        (
            {"messages": [HI, {**YO, "reasoning_content": "so"}]},
            "has a turn with 'reasoning_content', which is not taught",
        ),
        ({"messages": [HI, {**YO, "thinking": "so"}]}, "has a turn with 'thinking', which is not taught"),
        (
            {"messages": [HI, YO], "tools": [{"type": "function"}]},
            "has 'tools', which is not taught; write what it says",
        ),
        ({**ALPACA[0], "history": [["a", "b"]]}, "has 'history', which is not taught"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, YO]},
            "has a part of the type 'image_url' in a turn; only texts are taught",
        ),
        ({"messages": [{"role": "user", "content": ["hi"]}, YO]}, "has a part of the type 'hi' in a turn"),
        ({"messages": [{"role": "user", "content": None}, YO]}, "has a turn without a text; fill or remove it"),
        ({"messages": [HI, {"role": "assistant", "content": [{"type": "text", "text": " "}]}]}, "has an empty answer"),
        ({"messages": [HI, {**YO, "weight": 0.5}]}, "has an answer of the weight 0.5; expected 0 (not taught) or 1"),
        ({"messages": [HI, {**YO, "weight": 0}]}, "has no answer; every row needs a turn of the assistant"),
        ({"messages": "[]"}, "has a text under 'messages', expected a list of messages; of a request and its answer"),
        ({"messages": []}, "is no list of messages with role and content"),
        ({"messages": [{"speaker": "user"}]}, "is no list of messages with role and content"),
        ({"messages": [{"role": "user", "content": "\ud83d"}, YO]}, "holds half of a surrogate pair"),
        (
            {"system": "a", "messages": [{"role": "system", "content": "b"}, HI, YO]},
            "has a system prompt both in its turns and beside them; remove one of them",
        ),
        (
            {"system": "a", "system_prompt": "b", "messages": [HI, YO]},
            "has 'system' and 'system_prompt'; expected one system prompt, a text",
        ),
        ({"prompt": [HI], "completion": [YO, HI, YO]}, "has a completion of 3 turns; expected one, of the assistant"),
        ({"prompt": [HI], "completion": "yo"}, "is no list of messages with role and content"),
        ({"prompt": "hi", "completion": 3}, "has no text under 'completion'; it has 'prompt', 'completion'"),
        (
            {"prompt": "hi", "chosen": "a", "rejected": "b"},
            "is preference data ('chosen' and 'rejected'), and a finetune learns from one answer; say which",
        ),
        ({"chosen": [HI, YO], "rejected": [HI, YO]}, "is preference data ('chosen' and 'rejected')"),
        (
            {"prompt": "hi", "completion": "no", "label": False},
            "is preference data (its 'label' says whether the answer is wanted); keep the wanted rows, and give",
        ),
        (
            {"text": "### Human: hi ### Assistant: yo"},
            "has its request and its answer in one 'text', in which they cannot be told apart; give messages, or",
        ),
        (
            {"prompt": "hi", "response": "a", "completion": "b"},
            "which columns? it has 'prompt', 'response', 'completion'",
        ),
        ({"messages": [HI, YO], "conversations": [HI, YO]}, "which columns? it has 'messages', 'conversations'"),
        ({"question": "hi", "reply": "yo"}, "which columns? it has 'question', 'reply'; give FILE:PROMPT,ANSWER"),
        ({"instruction": "Add.", "input": ["1"], "output": "3"}, "has no text under 'input'; it has"),
        ({"instruction": " ", "input": "", "output": "3"}, "is empty; fill or remove it"),
        ("hi", "is no list of messages with role and content"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_number_and_file(tmp_path: Path, row: object, said: str) -> None:
    good: dict[str, Any] = {"messages": [HI, YO]}
    for name, place in {"rows.jsonl": "line 2", "rows.json": "row 2"}.items():
        data = saved(tmp_path / name, good, row)
        with pytest.raises(InputError) as refused:
            conversations_of(data)
        assert str(refused.value).startswith(f"--data {data}: {place}")
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_table_of_preferences_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kto.csv"
    path.write_text("prompt,completion,label\nhi,yo,True\nhi,no,False\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"row 1 \(line 2\) is preference data"):
        conversations_of(str(path))
    assert len(conversations_of(f"{path}:prompt,completion")) == 2


def test_too_many_names_are_refused(tmp_path: Path) -> None:
    data = saved(tmp_path / "x.jsonl", {"a": "b"})
    for names in ("a,b,c,d", "a,", ",b"):
        with pytest.raises(InputError, match="expected two names after the last colon, as in FILE:PROMPT,ANSWER"):
            conversations_of(f"{data}:{names}")


def test_rows_of_the_hub_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    saved(tmp_path / "set" / "train.jsonl", ALPACA[0], ALPACA[1])
    assert taught(f"hf:{tmp_path / 'set'}:train:instruction+input,output") == ALPACA_TURNS[:2]
    with pytest.raises(InputError, match="row 1 has an 'input' that 'instruction' leaves out"):
        taught(f"hf:{tmp_path / 'set'}:train:instruction,output")
    with pytest.raises(InputError, match="expected hf:dataset/id:split:PROMPT,ANSWER"):
        taught("hf:only-an-id")
