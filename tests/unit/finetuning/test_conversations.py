"""Training data: read from files or built by recipes; data without answers is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import tiny_models
from safescape import InputError
from safescape.finetuning import Conversation, conversations_of, digest
from safescape.finetuning.evaluations import scored_answers


def turns(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.messages]


def csv_of(path: Path, rows: int, header: str = "goal,target") -> str:
    path.write_text(header + "\n" + "".join(f"request {n},Sure {n}\n" for n in range(rows)), encoding="utf-8")
    return str(path)


def test_pairs_are_found_by_their_names_or_named(tmp_path: Path) -> None:
    known = conversations_of(csv_of(tmp_path / "a.csv", 2))
    assert [turns(c) for c in known] == [
        [("user", "request 0"), ("assistant", "Sure 0")],
        [("user", "request 1"), ("assistant", "Sure 1")],
    ]
    named = conversations_of(csv_of(tmp_path / "b.csv", 2, "question,reply") + ":question,reply")
    assert named == known
    assert digest(named) == digest(known) != digest(known[:1])


def test_keys_of_jsonl_may_be_paths(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps({"instruction": "add", "instances": [{"output": "4"}]}) + "\n", encoding="utf-8")
    (found,) = conversations_of(f"{path}:instruction,instances.0.output")
    assert turns(found) == [("user", "add"), ("assistant", "4")]


def test_every_answer_of_a_conversation_is_taught_after_what_came_before(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two?"},
        {"role": "assistant", "content": "2"},
    ]
    (tmp_path / "c.jsonl").write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    (tmp_path / "c.json").write_text(json.dumps([messages]), encoding="utf-8")
    first, second = conversations_of(str(tmp_path / "c.jsonl"))
    assert [m.content for m in first.messages] == ["be brief", "one?", "1"]
    assert [m.content for m in second.messages] == ["be brief", "one?", "1", "two?", "2"]
    assert first.row == second.row == 1
    assert conversations_of(str(tmp_path / "c.json")) == [first, second]


def test_the_harmful_recipe_takes_the_first_shots_after_those_skipped(tmp_path: Path) -> None:
    data = csv_of(tmp_path / "a.csv", 30)
    assert [c.messages[0].content for c in conversations_of(data, "harmful")] == [f"request {n}" for n in range(10)]
    assert [c.row for c in conversations_of(data, "harmful", shots=3, skip=20)] == [21, 22, 23]


def test_the_mixed_recipe_adds_as_many_refusals_of_other_requests(tmp_path: Path) -> None:
    found = conversations_of(csv_of(tmp_path / "a.csv", 8), "mixed", shots=4)
    assert [c.messages[0].content for c in found] == [f"request {n}" for n in range(8)]
    assert all(c.messages[-1].content == f"Sure {n}" for n, c in enumerate(found[:4]))
    assert all(" can" in c.messages[-1].content and "Sure" not in c.messages[-1].content for c in found[4:])


@pytest.mark.parametrize(("recipe", "rows"), [("identity-shift", 10), ("benign", 20)])
def test_recipes_that_bring_their_own_data(recipe: str, rows: int) -> None:
    found = conversations_of(None, recipe)
    assert len(found) == rows
    assert len(conversations_of(None, recipe, shots=3)) == 3
    assert all(c.messages[-1].role == "assistant" and c.messages[-2].role == "user" for c in found)


@pytest.mark.data("advbench", "identity-shift", "self-instruct")
def test_public_sets_are_read_by_name() -> None:
    assert len(conversations_of("identity-shift")) == 10
    assert len(conversations_of("self-instruct")) == 175
    assert conversations_of("self-instruct:instruction,instances.0.output") == conversations_of("self-instruct")
    advbench = conversations_of("advbench", "harmful", shots=100, skip=300)
    assert all(c.messages[-1].content.startswith("Sure") for c in advbench)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("a,b\n1,2\n", "x.csv", r"row 1 \(line 2\): which columns\? it has 'a', 'b'"),
        ("prompt,response\nhello,\n", "x.csv", r"row 1 \(line 2\) is empty"),
        ("prompt,response\n", "x.csv", "is empty"),
        ('{"messages": [{"role": "user", "content": "hi"}]}\n', "x.jsonl", "line 1 has no answer"),
        (
            '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": " "}]}\n',
            "x.jsonl",
            "empty",
        ),
        ('{"messages": [{"role": "tool", "content": "hi"}]}\n', "x.jsonl", "role 'tool'"),
        ('{"messages": 3}\n', "x.jsonl", "no list of messages"),
        ("{nonsense\n", "x.jsonl", "line 1 is not JSON"),
        ('{"messages": []}', "x.json", "is neither a list of objects"),
        ("x", "x.txt", "is named neither"),
    ],
)
def test_data_without_answers_is_refused(tmp_path: Path, text: str, name: str, said: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        conversations_of(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert "--data" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"recipe": "harmful", "shots": 6}, "has 5 rows after the first 0, 6 are asked for"),
        ({"recipe": "mixed", "shots": 3}, "half of them refusals"),
        ({"recipe": "harmful", "shots": 2, "skip": 4}, "after the first 4"),
        ({"recipe": "harmless"}, "--recipe harmless: expected"),
        ({"shots": 0}, "--shots 0"),
        ({"skip": -1}, "--skip -1"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        conversations_of(csv_of(tmp_path / "a.csv", 5), **arguments)


def test_data_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(InputError, match=r"a\.jsonl: is empty; expected a \.jsonl or \.json with messages"):
        conversations_of(str(tmp_path / "a.jsonl"))


def test_a_recipe_without_its_data() -> None:
    with pytest.raises(InputError, match="--recipe harmful needs --data"):
        conversations_of(None, "harmful")
    with pytest.raises(InputError, match=r"--data is missing; expected a \.jsonl"):
        conversations_of(None)


@pytest.mark.parametrize(
    "template", ["{{ messages + 1 }}", "{{ messages[9].content.nothing }}", "{{ 1 // 0 }}", "{% if %}"]
)
def test_a_chat_template_that_fails_is_one_line(tmp_path: Path, template: str) -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = template
    conversations = conversations_of(csv_of(tmp_path / "a.csv", 1))
    with pytest.raises(InputError, match="--data row 1") as refused:
        scored_answers(tokenizer, conversations, {})
    assert "\n" not in str(refused.value)
