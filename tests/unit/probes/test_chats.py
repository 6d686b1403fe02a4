"""Chats: what a template drops or changes is refused, contents as parts, variables, and tokenizers of a directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import tiny_models
from safescape import InputError
from safescape.probes import format_chats, load_tokenizer, open_tokenizer, template_variables
from safescape.survey import Chats

PROMPTS = ["Why?", "Tell me.", "  with space \n"]
PARTS = (
    "{% for m in messages %}<|{{ m.role }}|>{% for part in m.content %}{% if part['type'] == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %}<|end|>{% endfor %}<|assistant|>"
)
USER_ALONE = "{% for m in messages %}{% if m.role != 'system' %}<|user|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
THINKING = (
    tiny_models.CHAT_TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)


def chats(template: str, system: str | None = None, prompts: list[str] = PROMPTS, **variables: Any) -> list[str]:
    return format_chats(tiny_models.tokenizer(template), prompts, system, variables)


def test_a_template_that_takes_parts_is_given_parts() -> None:
    assert chats(PARTS) == [f"<|user|>{prompt}<|end|><|assistant|>" for prompt in PROMPTS]
    assert chats(PARTS, "be kind")[0] == "<|system|>be kind<|end|><|user|>Why?<|end|><|assistant|>"


def test_a_template_may_take_parts_of_the_user_and_a_text_of_the_system() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content + '|' }}{% else %}{{ m.content[0]['text'] }}"
        "{% endif %}{% endfor %}"
    )
    assert chats(template, "be kind", ["Why?"]) == ["be kind|Why?"]


def test_a_template_may_trim_what_it_is_given() -> None:
    trimming = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}"
    assert chats(trimming, " be kind ")[2] == "[be kind][with space]"


@pytest.mark.parametrize(
    "template",
    [
        "Hello",
        "{{ messages[-1].content | upper }}",
        "{{ messages[-1].content | truncate(5) }}",
        "{{ messages[-1].content | replace('.', '!') }}",
        "{{ messages[-1].content[:3] }}",
        "Why? Tell me. with space",
    ],
)
def test_a_template_that_drops_or_changes_a_prompt_is_refused(template: str) -> None:
    with pytest.raises(InputError, match=r"^the chat template drops or changes prompt \d \('.*'\); give another"):
        chats(template)


def test_a_single_prompt_that_stands_in_the_template_is_not_taken_for_asked() -> None:
    with pytest.raises(InputError, match=r"drops or changes prompt 1 \('Why\?'\)"):
        chats("Why?", prompts=["Why?"])


@pytest.mark.parametrize("system", ["be kind", "", " "])
def test_a_template_that_drops_the_system_prompt_is_refused(system: str) -> None:
    with pytest.raises(InputError, match=r"drops or changes the system prompt .*; use --system-prompt default"):
        chats(USER_ALONE, system)
    assert chats(USER_ALONE)[0] == "<|user|>Why?<|end|>"


def test_a_template_of_parts_that_drops_the_system_prompt_says_so() -> None:
    with pytest.raises(InputError, match="drops or changes the system prompt"):
        chats("{% for part in messages[-1].content %}{{ part.text }}{% endfor %}", "be kind")


def test_variables_reach_the_template() -> None:
    assert chats(THINKING)[0].endswith("<|assistant|>")
    assert chats(THINKING, enable_thinking=False)[0].endswith("<|assistant|><think></think>")
    with pytest.raises(InputError, match="--template-var enable_think: the chat template does not read it; leave it"):
        chats(THINKING, enable_think=False)


def test_values_of_variables_are_json_or_texts() -> None:
    given = ["enable_thinking=false", "effort=high", 'date="26 Jul"', "n=3", "none=null", "equals=a=b", "nan=NaN"]
    assert template_variables(given) == {
        "enable_thinking": False,
        "effort": "high",
        "date": "26 Jul",
        "n": 3,
        "none": None,
        "equals": "a=b",
        "nan": "NaN",
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["thinking"], "--template-var thinking: expected NAME=VALUE"),
        (["a b=1"], "--template-var a b=1: expected NAME=VALUE"),
        (["tools=[]"], r"--template-var tools=\[\]: expected NAME=VALUE"),
        (["a=False"], "--template-var a=False: is Python; expected JSON: true, false or null"),
        (["a=1", "a=2"], "--template-var a=2: a is given twice"),
    ],
)
def test_variables_that_cannot_be_meant_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        template_variables(texts)


texts = st.text(alphabet="ab \n<|>é", max_size=8)


@given(prompts=st.lists(texts, min_size=1, max_size=4), head=texts, tail=texts, trims=st.booleans())
def test_chats_are_stored_exactly_whatever_the_template_does(
    prompts: list[str], head: str, tail: str, trims: bool
) -> None:
    rendered = [head + (prompt.strip() if trims else prompt) + tail for prompt in prompts]
    stored = Chats.of(prompts, rendered)
    assert stored.rendered == rendered
    assert Chats.model_validate_json(stored.model_dump_json()) == stored


def test_what_all_chats_share_is_stored_once() -> None:
    prompts = ["Why?", "What?"]
    stored = Chats.of(prompts, [f"<|user|>{prompt}<|assistant|>" for prompt in prompts])
    assert stored == Chats(before="<|user|>", texts=("Why?", "What?"), after="<|assistant|>")


# --- tokenizers ---


def changed(tiny_model: Path, directory: Path, **settings: Any) -> Path:
    """Copy a model's tokenizer with other settings in tokenizer_config.json."""
    shutil.copytree(tiny_model, directory)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return directory


def loaded(directory: Path, name: str | None = None, template: str | None = None) -> Any:
    return load_tokenizer(directory, chat_template=template, trust_remote_code=False, template_name=name)


def test_a_template_is_chosen_by_its_name(tiny_model: Path, tmp_path: Path) -> None:
    two = [{"name": "chatml", "template": "A{{ messages[0].content }}"}, {"name": "tools", "template": "B"}]
    where = changed(tiny_model, tmp_path / "two", chat_template=two)
    (where / "chat_template.jinja").unlink()
    assert format_chats(loaded(where, "chatml"), ["hi"], None) == ["Ahi"]
    with pytest.raises(InputError, match=r"several chat templates .* --chat-template-name: chatml, tools$"):
        loaded(where)
    with pytest.raises(InputError, match=r"--chat-template-name chat: the tokenizer of .* has the templates chatml"):
        loaded(where, "chat")
    assert format_chats(loaded(where, template="C{{ messages[0].content }}"), ["hi"], None) == ["Chi"]


def test_the_default_of_several_templates_needs_no_name(tiny_model: Path, tmp_path: Path) -> None:
    two = [
        {"name": "default", "template": "A{{ messages[0].content }}"},
        {"name": "rag", "template": "B{{ messages[0].content }}"},
    ]
    where = changed(tiny_model, tmp_path / "two", chat_template=two)
    (where / "chat_template.jinja").unlink()
    assert format_chats(loaded(where), ["hi"], None) == ["Ahi"]
    assert format_chats(loaded(where, "rag"), ["hi"], None) == ["Bhi"]


def test_templates_in_files_of_their_own_are_chosen_by_name(tiny_model: Path, tmp_path: Path) -> None:
    where = changed(tiny_model, tmp_path / "files")
    (where / "additional_chat_templates").mkdir()
    (where / "additional_chat_templates" / "rag.jinja").write_text("B{{ messages[0].content }}")
    assert format_chats(loaded(where, "rag"), ["hi"], None) == ["Bhi"]
    assert format_chats(loaded(where), ["hi"], None) == ["<|user|>hi<|end|><|assistant|>"]


def test_a_single_template_has_no_name(tiny_model: Path) -> None:
    with pytest.raises(InputError, match=r"--chat-template-name chatml: .* has one chat template, without a name"):
        loaded(tiny_model, "chatml")


def cut(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(path.read_text()[:500])


def unknown_kind(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(path.read_text().replace('"BPE"', '"Nope"'))


def list_of_settings(directory: Path) -> None:
    (directory / "tokenizer_config.json").write_text("[1]")


@pytest.mark.parametrize("damage", [cut, unknown_kind, list_of_settings])
def test_a_damaged_tokenizer_is_refused_in_one_line(
    tiny_model: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    where = changed(tiny_model, tmp_path / "model")
    damage(where)
    with pytest.raises(
        InputError, match=r"its tokenizer cannot be loaded .*; copy its tokenizer's files from"
    ) as caught:
        loaded(where)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_with_code_of_its_own_is_not_to_be_downloaded_again(tiny_model: Path, tmp_path: Path) -> None:
    where = changed(
        tiny_model, tmp_path / "code", auto_map={"AutoTokenizer": ["tokenization_x.X", None]}, tokenizer_class="X"
    )
    (where / "tokenization_x.py").write_text("class X: pass\n")
    with pytest.raises(InputError, match=r"run a model's own code: read it, then give them --trust-remote-code$"):
        loaded(where)


def test_a_library_that_is_not_installed_is_named(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("needs the library sentencepiece")

    monkeypatch.setattr("safescape.probes.tokenizers.AutoTokenizer.from_pretrained", missing)
    with pytest.raises(InputError, match=r"\(needs the library sentencepiece\); install the library that it names"):
        loaded(tiny_model)


def test_bos_is_added_to_raw_texts_if_the_configuration_says_so(tiny_model: Path, tmp_path: Path) -> None:
    where = changed(tiny_model, tmp_path / "model", add_bos_token=True, bos_token="<|user|>")
    tokenizer = open_tokenizer(where, trust_remote_code=False)
    assert tokenizer("ab")["input_ids"] == [
        tokenizer.bos_token_id,
        *tokenizer("ab", add_special_tokens=False)["input_ids"],
    ]
