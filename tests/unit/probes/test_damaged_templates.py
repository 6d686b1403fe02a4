"""Whatever a chat template is, it is rendered or refused in one line; never a traceback."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import tiny_models
from safescape import InputError
from safescape.probes import OFF, format_chats, markers_of, switched_off, thinking_of, variables_of

QWEN = (
    "{%- if messages[0].role == 'system' %}<|system|>{{ messages[0].content }}<|end|>{%- endif %}"
    "{%- for message in messages %}{%- if message.role != 'system' %}<|{{ message.role }}|>{{ message.content | trim }}"
    "<|end|>{%- endif %}{%- endfor %}{%- if add_generation_prompt %}<|assistant|>"
    "{%- if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{%- endif %}{%- endif %}"
)
PIECES = ["{{", "}}", "{%", "%}", "{#", "#}", "messages", "[0]", ".content", "|trim", "|tojson", "for x in y", "endfor"]
PIECES += [
    "if",
    "endif",
    "raise_exception('no')",
    "1/0",
    "x.y.z",
    "range(3)",
    "namespace()",
    "''.join",
    "<think>",
    "\0",
]
PIECES += [
    "generation",
    "break",
    "include 'x'",
    "self",
    "loop",
    "''|int",
    "[]|first",
    "messages|map(attribute='x')",
    " ",
]


def asked(template: str) -> None:
    tokenizer = tiny_models.tokenizer(template)
    for call in (
        lambda: format_chats(tokenizer, ["Why?", "How?"], None),
        lambda: format_chats(tokenizer, ["Why?"], "Be good.", {"enable_thinking": False}),
        lambda: variables_of(tokenizer),
        lambda: switched_off(tokenizer, {}),
        lambda: markers_of(tokenizer, None),
        lambda: markers_of(tokenizer, OFF),
        lambda: thinking_of(tokenizer, ["Why?"], ["<|user|>Why?"], 3),
    ):
        with contextlib.suppress(InputError):
            call()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_template_of_odd_pieces_is_rendered_or_refused(template: str) -> None:
    asked(template or " ")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_template_is_rendered_or_refused(data: st.DataObject) -> None:
    for template in (QWEN, tiny_models.CHAT_TEMPLATE):
        text = list(template)
        for place in data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=3)):
            text[place] = data.draw(st.sampled_from([*"{}%#|'\"()[]. x0", "", "\n", "\u2028"]))
        asked("".join(text) or " ")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{% for a in range(10**9) %}{% for b in range(10**9) %}x{% endfor %}{% endfor %}",
        "{{ messages.append({'role': 'user', 'content': 'x'}) }}",
        "{% set x = cycler.__init__.__globals__ %}{{ x }}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    ],
)
def test_a_hostile_template_is_refused(template: str) -> None:
    with pytest.raises(InputError):
        format_chats(tiny_models.tokenizer(template), ["Why?"], None)
