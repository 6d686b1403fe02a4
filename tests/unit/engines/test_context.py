"""A text that does not fit into the model's context is named, with what to type; tokens are bytes here."""

from __future__ import annotations

import pytest

from helpers import tiny_models
from helpers.surveys import make_survey
from safescape import InputError
from safescape.engines.context import check_context
from safescape.probes import format_chats
from safescape.survey import ChoiceProbe, PerplexityProbe, Probe, PromptProbe, Question, Survey

MOST = 64
ASKED = 3
"""Special tokens of a chat: the user's turn with its end, and the beginning of the answer."""


def survey(*probes: Probe, max_new_tokens: int = 16) -> Survey:
    made = make_survey(prompts=1).model_dump(exclude={"probes"})
    return Survey.model_validate({**made, "probes": probes, "max_new_tokens": max_new_tokens})


def prompts(*texts: str) -> PromptProbe:
    return PromptProbe(name="harmful", source="mine.csv:goal", prompts=texts)


def check(made: Survey) -> None:
    tokenizer = tiny_models.tokenizer()
    asked = [probe for probe in made.probes if isinstance(probe, PromptProbe)]
    chats = {probe.name: format_chats(tokenizer, probe.prompts, None) for probe in asked}
    check_context(made, "mine", MOST, tokenizer, chats)


def refusal(made: Survey) -> str:
    with pytest.raises(InputError) as refused:
        check(made)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_fits_exactly_is_asked() -> None:
    check(survey(prompts("a" * (MOST - 16 - ASKED))))
    check(survey(prompts("a"), PerplexityProbe(name="p", source="p.csv:text", texts=("b" * (MOST - 1),))))


def test_an_answer_that_does_not_fit_says_how_many_tokens_do() -> None:
    said = refusal(survey(prompts("short", "a" * (MOST - 16 - ASKED + 1))))
    assert said == (
        "mine: reads 64 tokens, 65 are asked for; lower --max-new-tokens to 15, or shorten the prompt "
        f"'{'a' * 40}'… of mine.csv:goal"
    )
    check(survey(prompts("short", "a" * (MOST - 16 - ASKED + 1)), max_new_tokens=15))


def test_a_prompt_that_leaves_no_room_for_an_answer() -> None:
    said = refusal(survey(prompts("short\nand", "a" * MOST), max_new_tokens=1))
    assert said == (
        f"mine.csv:goal: the prompt '{'a' * 40}'… has 67 tokens in the chat template, mine reads 64; shorten or "
        "remove it"
    )


def test_a_text_to_score_is_named_by_its_row() -> None:
    texts = ("fine", "b" * MOST, "c" * MOST)
    said = refusal(survey(prompts("a"), PerplexityProbe(name="p", source="p.csv:text", texts=texts)))
    assert said == (
        f"p.csv:text: row 2 ('{'b' * 40}'…) has 64 tokens, mine scores fewer than 64; shorten, split or remove it"
    )


def test_a_question_is_named_by_its_row() -> None:
    fine = Question(context="one?", options=(" A", " B"), answer=0)
    long = Question(context="two?" + "x" * 50, options=(" A", " a longer option"), answer=0)
    said = refusal(survey(prompts("a"), ChoiceProbe(name="c", source="c.csv", questions=(fine, long))))
    assert said.startswith("c.csv: row 2 ('two?xxx")
    assert "has 70 tokens, mine scores fewer than 64" in said
