"""Texts of reasoning models are split at the markers of thoughts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safescape.survey import Markers, Split

THINK = Markers(starts=("<think>",), ends=("</think>",))
CHANNELS = Markers(
    starts=("<|channel|>analysis<|message|>", "<|channel|>commentary<|message|>"),
    ends=("<|end|><|start|>assistant<|channel|>final<|message|>", "<|channel|>final<|message|>"),
)
PLAIN = st.text(alphabet="abc .\n", max_size=20)


@pytest.mark.parametrize(
    ("text", "opened", "thought", "answer", "is_open"),
    [
        ("<think>\nI cannot.\n</think>\n\nSure!", False, "I cannot.", "Sure!", False),
        ("I cannot.\n</think>\n\nSure!", True, "I cannot.", "Sure!", False),
        # the start marker was dropped, as models do whose weights are moved
        ("I cannot.\n</think>\n\nSure!", False, "I cannot.", "Sure!", False),
        ("<think>Okay, the user wants", False, "Okay, the user wants", "", True),
        ("Okay, the user wants", True, "Okay, the user wants", "", True),
        ("<think></think>Sure!", False, "", "Sure!", False),
        ("</think>Sure!", True, "", "Sure!", False),
        ("<think>one</think>Sure! <think>two</think>Done.", False, "one\n\ntwo", "Sure! Done.", False),
        ("<think>one</think>Sure! <think>two", False, "one\n\ntwo", "Sure!", True),
        # an end marker without a thought before it is no text of the answer
        ("<think>one</think>Sure!</think> Done.", False, "one", "Sure! Done.", False),
        ("", True, "", "", True),
    ],
)
def test_a_text_is_split_at_its_markers(text: str, opened: bool, thought: str, answer: str, is_open: bool) -> None:
    assert THINK.split(text, opened=opened) == Split(thought, answer, is_open)


def test_channels_are_markers_too() -> None:
    thought = "<|channel|>analysis<|message|>They want it."
    final = "<|end|><|start|>assistant<|channel|>final<|message|>I'm sorry."
    assert CHANNELS.split(thought + final) == Split("They want it.", "I'm sorry.", False)
    assert CHANNELS.split("<|channel|>final<|message|>I'm sorry.") == Split("", "I'm sorry.", False)
    assert CHANNELS.split(thought) == Split("They want it.", "", True)
    twice = "<|channel|>commentary<|message|>And more."
    assert CHANNELS.split(thought + twice + final) == Split("They want it.\n\nAnd more.", "I'm sorry.", False)


@given(st.text())
def test_a_text_without_markers_is_an_answer_as_it_is(text: str) -> None:
    assert Markers(starts=("\0<",), ends=("\0>",)).split(text.replace("\0", "")) == Split(
        None, text.replace("\0", ""), False
    )


@given(thought=PLAIN, answer=PLAIN, opened=st.booleans())
def test_what_is_put_together_is_taken_apart(thought: str, answer: str, opened: bool) -> None:
    text = f"{'' if opened else '<think>'}{thought}</think>{answer}"
    assert THINK.split(text, opened=opened) == Split(thought.strip(), answer.strip(), False)
    cut = THINK.split(text[: text.index("</think>")], opened=opened)
    assert cut == Split(thought.strip(), "", True)


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " b", "\n"]), max_size=12), st.booleans())
def test_no_marker_and_no_word_is_lost_or_made(pieces: list[str], opened: bool) -> None:
    said = THINK.split("".join(pieces), opened=opened)
    both = (said.thought or "") + said.answer
    assert "think" not in both
    for letter in "ab":
        assert both.count(letter) == "".join(pieces).replace("think", "").count(letter)
    assert said.is_open == THINK.is_open(("<think>" if opened else "") + "".join(pieces))


def test_a_chat_is_closed_up_to_where_an_answer_begins() -> None:
    assert THINK.closing("<|assistant|>") == "<think>\n\n</think>\n\n"
    assert THINK.closing("<|assistant|><think>\n") == "</think>"
    assert THINK.closing("<|assistant|><think>\n\n</think>\n\n") == ""
