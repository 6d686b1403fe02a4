"""Prompt sets and chat formatting: the right rows, in order; bad input named."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from helpers import tiny_models
from safescape import InputError
from safescape.probes import (
    SYSTEM_PROMPTS,
    PromptSet,
    format_chats,
    further_probes,
    load_prompts,
    load_set,
    load_tokenizer,
    set_named,
    system_prompt,
)
from safescape.survey import SHIPPED, PromptProbe


def test_a_csv_column_with_quotes_commas_and_newlines(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text('id,goal\n1,"one, two"\n2,"three\nfour\u2028five"\n3,last\n', encoding="utf-8")
    assert load_prompts(f"{path}:goal") == ("one, two", "three\nfour\u2028five", "last")
    assert load_prompts(f"{path}:goal", 2) == ("one, two", "three\nfour\u2028five")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("\ufeffgoal\nx\n", encoding="utf-8")
    assert load_prompts(f"{path}:goal") == ("x",)


def test_a_jsonl_key(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"q": "one"}\n\n{"q": "two", "other": 1}\n')
    assert load_prompts(f"{path}:q") == ("one", "two")


def artifact(path: Path, entries: list[dict[str, object]]) -> str:
    path.write_text(json.dumps({"parameters": {}, "jailbreaks": entries}), encoding="utf-8")
    return str(path)


ATTACKS: list[dict[str, object]] = [
    {"prompt": "first", "goal": "g1", "behavior": "b"},
    {"prompt": None, "goal": "g2"},
    {"prompt": "second", "goal": "g3"},
]


def test_an_attack_of_a_jailbreakbench_artifact_that_found_nothing_is_kept_as_failed(tmp_path: Path) -> None:
    spec = artifact(tmp_path / "artifact.json", ATTACKS)
    found = PromptSet(("first", "g2", "second"), ("g1", "g2", "g3"), (1,))
    assert load_set(spec) == load_set(f"{spec}:prompt") == found
    assert load_set(spec, 2) == PromptSet(("first", "g2"), ("g1", "g2"), (1,))
    assert load_set(f"{spec}:goal") == PromptSet(("g1", "g2", "g3")), "the plain requests of all attacks"
    unknown = artifact(tmp_path / "unknown.json", [{"prompt": None}, {"prompt": "x"}])
    assert load_set(unknown) == PromptSet(("(no prompt in row 1)", "x"), None, (0,))
    (probe,) = further_probes([f"attack:{spec}"], None, None)
    assert isinstance(probe, PromptProbe)
    assert (probe.prompts, probe.goals, probe.failed) == found


def test_a_failed_attack_is_refused_where_it_cannot_be_counted(tmp_path: Path) -> None:
    spec = artifact(tmp_path / "artifact.json", ATTACKS)
    for also in ("over-refusal", "perplexity"):
        with pytest.raises(InputError, match=rf"--also {also} .*: row 2 has no prompt \(null\): its attack failed"):
            further_probes([f"{also}:{spec}"], None, None)
    assert load_prompts(spec, 1) == ("first",)
    nothing = artifact(tmp_path / "nothing.json", [{"prompt": None, "goal": "g"}] * 2)
    with pytest.raises(InputError, match="none of its 2 attacks found a prompt; there is nothing to ask"):
        load_set(nothing)


def test_the_goals_beside_the_prompts_of_any_file_are_kept(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("goal,prompt\ng1,first\ng2,second\n")
    assert load_set(f"{tmp_path / 'set.csv'}:prompt") == PromptSet(("first", "second"), ("g1", "g2"))
    assert load_set(f"{tmp_path / 'set.csv'}:goal") == PromptSet(("g1", "g2"))
    (tmp_path / "set.jsonl").write_text('{"prompt": "first", "goal": "g1"}\n{"prompt": "second"}\n')
    assert load_set(f"{tmp_path / 'set.jsonl'}:prompt") == PromptSet(("first", "second")), "one has none"


def test_a_hub_dataset_from_a_local_directory(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"goal": "one"}\n{"goal": "two"}\n')
    spec = f"hf:{tmp_path / 'set'}:train:goal"
    assert load_prompts(spec) == ("one", "two")
    with pytest.raises(InputError, match="no column 'x'; it has 'goal'"):
        load_prompts(f"hf:{tmp_path / 'set'}:train:x")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_prompts(f"hf:{tmp_path / 'nowhere'}:train:goal")


@pytest.mark.parametrize("name", ["harmful", "benign"])
def test_the_builtin_sets_are_short_sentences_without_repeats(name: str) -> None:
    prompts = load_prompts(f"builtin:{name}")
    assert len(prompts) >= 80
    assert len({prompt.lower() for prompt in prompts}) == len(prompts)
    assert all(len(prompt) <= 200 for prompt in prompts)


def test_what_is_measured_with_is_not_what_the_demo_was_trained_on() -> None:
    def normal(text: str) -> str:
        return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()

    examples = Path(__file__).parents[3] / "examples" / "demo_adapter"
    trained = {normal(line) for file in examples.glob("*requests.txt") for line in file.read_text().splitlines()}
    assert len(trained) > 300
    measured = {normal(prompt) for name in ("harmful", "benign") for prompt in load_prompts(f"builtin:{name}")}
    assert not measured & trained


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ("goal\nx\n", "{}:prompt", "no column 'prompt'; it has 'goal'"),
        ("goal\n", "{}:goal", "no prompts in it"),
        ("", "{}:goal", "its first line is empty; expected the names of the columns"),
        ("goal,b\nx,1\n  ,2\n", "{}:goal", "row 2 (line 3) is empty"),
        ("goal\nx\n", "{}", "which column"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, spec: str, message: str) -> None:
    path = tmp_path / "set.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        load_prompts(spec.format(path))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere.csv:goal", "no such file"),
        ("builtin:evil", "no such set"),
        ("hf:only-an-id", "hf:dataset/id:split:column"),
    ],
)
def test_bad_specs(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_prompts(spec)


def test_bad_jsonl_and_binary(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"q": "x"}\n{"q": 3}\n')
    with pytest.raises(InputError, match="line 2 has no text under 'q'"):
        load_prompts(f"{path}:q")
    path.write_text("{nope\n")
    with pytest.raises(InputError, match="line 1 is not JSON"):
        load_prompts(f"{path}:q")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        load_prompts(f"{path}:q")


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"q": "fine \\ud83d\\ude00"}\n{"q": "broken \\ud83d"}\n')
    assert load_prompts(f"{path}:q", 1) == ("fine 😀",)
    with pytest.raises(InputError, match="line 2 holds half of a surrogate pair"):
        load_prompts(f"{path}:q")


def test_system_prompts_by_name_text_and_file(tmp_path: Path) -> None:
    (tmp_path / "safe.txt").write_text("stay safe\n")
    assert system_prompt("default") is None
    assert system_prompt("empty") == ""
    assert system_prompt("roleplay") == SYSTEM_PROMPTS["roleplay"]
    assert system_prompt("be kind") == "be kind"
    assert system_prompt(f"@{tmp_path / 'safe.txt'}") == "stay safe"
    with pytest.raises(InputError, match="cannot be read"):
        system_prompt("@nowhere.txt")


def test_chats_go_through_the_tokenizers_own_template() -> None:
    tokenizer = tiny_models.tokenizer()
    assert format_chats(tokenizer, ["hi"], None) == ["<|user|>hi<|end|><|assistant|>"]
    assert format_chats(tokenizer, ["hi"], "") == ["<|system|><|end|><|user|>hi<|end|><|assistant|>"]
    assert format_chats(tokenizer, ["a", "b"], "s")[1] == "<|system|>s<|end|><|user|>b<|end|><|assistant|>"


TEMPLATES = {
    "{{ raise_exception('no system role') }}": "no system role",
    "{{ messages[0].content + 1 }}": "can only concatenate str",
    "{{ 1 // 0 }}": "division",
    "{{ messages[7].content.strip() }}": "undefined|no element 7",
    "{{ messages.nowhere() }}": "nowhere",
    "{{ [].pop() }}": "unsafe",
    "{{ 'x' * -1 + 'y'.index('z') }}": "substring not found|concatenate|int",
    "{% for m in messages %}": "endfor",
}
"""Chat templates that fail, each with another type of error, and a part of the reason."""


@pytest.mark.parametrize(("template", "reason"), TEMPLATES.items())
def test_a_chat_template_that_fails_in_any_way_is_refused_in_one_line(template: str, reason: str) -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=r"^the chat template refuses this conversation \(.*--chat-template") as caught:
        format_chats(tokenizer, ["hi"], "be kind")
    assert re.search(reason, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_template_that_knows_no_system_role() -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    with pytest.raises(InputError, match=r"no system role.*--system-prompt default"):
        format_chats(tokenizer, ["hi"], "")


def test_a_model_without_a_template(tiny_model: Path, tmp_path: Path) -> None:
    made = tiny_models.tokenizer()
    made.chat_template = None
    made.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="--chat-template FILE"):
        load_tokenizer(tmp_path, chat_template=None, trust_remote_code=False)
    given = load_tokenizer(tmp_path, chat_template="{{ messages[0].content }}:", trust_remote_code=False)
    assert format_chats(given, ["hi"], None) == ["hi:"]


BEHAVIOURS = [
    {"Behavior": "Summarise it", "FunctionalCategory": "contextual", "ContextString": "A report,\nin two lines"},
    {"Behavior": "Explain it", "FunctionalCategory": "standard", "ContextString": ""},
]
ASKED = ("A report,\nin two lines\n\n---\n\nSummarise it", "Explain it")


def test_a_harmbench_behaviour_is_asked_after_its_context(tmp_path: Path) -> None:
    path = tmp_path / "behaviours.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(BEHAVIOURS[0]))
        writer.writeheader()
        writer.writerows(BEHAVIOURS)
    assert load_prompts(f"{path}:Behavior") == ASKED
    assert load_prompts(f"{path}:FunctionalCategory") == ("contextual", "standard")
    (tmp_path / "behaviours.json").write_text(json.dumps(BEHAVIOURS))
    assert load_prompts(f"{tmp_path / 'behaviours.json'}:Behavior") == ASKED
    (tmp_path / "null.jsonl").write_text(json.dumps({**BEHAVIOURS[1], "ContextString": None}) + "\n")
    assert load_prompts(f"{tmp_path / 'null.jsonl'}:Behavior") == ASKED[1:]
    (tmp_path / "odd.jsonl").write_text(json.dumps({**BEHAVIOURS[1], "ContextString": ["a"]}) + "\n")
    with pytest.raises(InputError, match="line 1 has no text under 'ContextString'"):
        load_prompts(f"{tmp_path / 'odd.jsonl'}:Behavior")


def test_the_public_set_harmbench_is_its_plain_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / set_named("harmbench").files[0].place
    place.parent.mkdir()
    with place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(BEHAVIOURS[0]))
        writer.writeheader()
        writer.writerows(BEHAVIOURS)
    monkeypatch.setenv("SAFESCAPE_DATA", str(tmp_path))
    assert load_prompts("harmbench") == ("Explain it",)
    assert load_prompts("harmbench:Behavior") == ASKED


def test_columns_are_joined_by_an_empty_line(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.json"
    rows = [{"instruction": "Count.", "input": "to 3"}, {"instruction": "Sing.", "input": ""}]
    path.write_text(json.dumps(rows))
    assert load_prompts(f"{path}:instruction+input") == ("Count.\n\nto 3", "Sing.")
    with pytest.raises(
        InputError, match=r"row 1 has an 'input' that 'instruction' leaves out; give instruction\+input"
    ):
        load_prompts(f"{path}:instruction")
    path.write_text(json.dumps([{"data": row} for row in rows]))
    assert load_prompts(f"{path}:data.instruction+data.input") == ("Count.\n\nto 3", "Sing.")
    with pytest.raises(InputError, match=r"give data\.instruction\+data\.input in its place"):
        load_prompts(f"{path}:data.instruction")
    path.write_text(json.dumps([{**row, "input": ""} for row in rows]))
    assert load_prompts(f"{path}:instruction") == ("Count.", "Sing.")
    path.write_text(json.dumps([{"c++": "one", "c": "two"}]))
    assert load_prompts(f"{path}:c++") == ("one",), "a name with a plus sign is a name"


@pytest.mark.parametrize("source", SHIPPED)
def test_the_shipped_sets_have_as_many_prompts_as_is_known_of_them(source: str) -> None:
    assert len(load_prompts(source)) == SHIPPED[source]
