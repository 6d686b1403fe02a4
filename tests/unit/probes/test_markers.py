"""The markers of a model's thoughts are its tokenizer's own, and its template is asked to switch thinking off."""

from __future__ import annotations

import pytest

from helpers import tiny_models
from safescape import InputError
from safescape.probes import markers_of, switched_off, template_variables, without_thought

HEAD = tiny_models.CHAT_TEMPLATE
# as the templates of Qwen 3, of DeepSeek V3.1 and of Granite 3.3 begin an answer
QWEN = HEAD + "{%- if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{%- endif %}"
DEEPSEEK = (
    "{% if not thinking is defined %}{% set thinking = false %}{% endif %}"
    + HEAD
    + ("{% if thinking %}<think>{% else %}</think>{% endif %}")
)
GRANITE = "{%- if thinking %}<|system|>Write your thoughts between <think> and </think>.<|end|>{%- endif %}" + HEAD
READS_NOT = "{%- set wanted = enable_thinking %}" + HEAD
# gpt-oss: `thinking` is a field of messages, no variable
FIELD = "{% for message in messages %}{% if message.thinking %}{{ message['thinking'] }}{% endif %}{% endfor %}" + HEAD


@pytest.mark.parametrize(
    ("tokens", "start"),
    [
        (["<think>", "</think>"], "<think>"),
        (["[THINK]", "[/THINK]"], "[THINK]"),
        (["<|channel|>", "<|message|>", "<|start|>"], "<|channel|>analysis<|message|>"),
        (["<|START_THINKING|>", "<|END_THINKING|>"], "<|START_THINKING|>"),
        (["<seed:think>", "</seed:think>"], "<seed:think>"),
    ],
)
def test_known_markers_are_found_among_the_tokens(tokens: list[str], start: str) -> None:
    markers = markers_of(tiny_models.tokenizer(more=tokens), None)
    assert markers is not None
    assert markers.starts[0] == start


def test_known_markers_are_found_in_the_template() -> None:
    markers = markers_of(tiny_models.tokenizer(GRANITE), None)
    assert markers is not None
    assert markers.ends == ("</think>",)


def test_a_model_without_markers_has_none() -> None:
    assert markers_of(tiny_models.tokenizer(), None) is None
    assert markers_of(tiny_models.tokenizer(more=["<think>"]), None) is None


def test_markers_can_be_given() -> None:
    markers = markers_of(tiny_models.tokenizer(more=["<think>", "</think>"]), "<idea>, </idea>")
    assert markers is not None
    assert (markers.starts, markers.ends) == (("<idea>",), ("</idea>",))


@pytest.mark.parametrize("text", ["<think>", ",</think>", "<think>,", "a,a", "a,b,c", "", "on"])
def test_what_is_no_pair_of_markers_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected off, or START,END"):
        markers_of(tiny_models.tokenizer(), text)


@pytest.mark.parametrize(
    ("template", "name"), [(QWEN, "enable_thinking"), (DEEPSEEK, "thinking"), (GRANITE, "thinking")]
)
def test_thinking_is_switched_off_by_the_templates_own_variable(template: str, name: str) -> None:
    assert switched_off(tiny_models.tokenizer(template), {}) == {name: False}


@pytest.mark.parametrize("template", [HEAD, READS_NOT, FIELD])
def test_a_template_without_a_switch_is_refused(template: str) -> None:
    with pytest.raises(InputError, match="--reasoning off: enable_thinking or thinking changes nothing"):
        switched_off(tiny_models.tokenizer(template), {})


def test_a_switch_is_given_once() -> None:
    with pytest.raises(InputError, match="sets enable_thinking, and so does --template-var"):
        switched_off(tiny_models.tokenizer(QWEN), template_variables(["enable_thinking=true"]))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nIs it illegal? I cannot be sure.\n</think>\n\nSure! Step 1.", "Sure! Step 1."),
        ("Is it illegal? I cannot be sure.\n</think>\n\nSure! Step 1.", "Sure! Step 1."),
        ("<think>\nOkay, the user wants a tutorial", None),
        ("[THINK]Hm.[/THINK]No.", "No."),
        ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>No.", "No."),
        # an answer about markers is an answer
        ("Write <think> before your thoughts.", "Write <think> before your thoughts."),
        ("Sure! Step 1.", "Sure! Step 1."),
        ("", ""),
    ],
)
def test_a_text_from_anywhere_is_read_without_its_thought(text: str, answer: str | None) -> None:
    assert without_thought(text) == answer
