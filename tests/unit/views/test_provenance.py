"""The provenance of a run describes every probe by its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.behaviours import tuned
from helpers.runs import landscape_in, make_run
from helpers.surveys import at_models, further, make_survey, path_line
from safescape.survey import Chats, HarnessProbe
from safescape.views.text.provenance import _described, facts_of


def test_every_probe_is_described_by_its_kind(tmp_path: Path) -> None:
    also = (*further("benign", "attack", "accuracy", items=4), *at_models("perplexity", items=4))
    store = make_run(tmp_path / "run", make_survey(prompts=4, subspace=path_line(2), also=also), chance=tuned)
    system = "system prompt: the chat template's own default"
    assert dict(facts_of(store, landscape_in(store)))["Further probes"].splitlines() == [
        f"“benign”: 4 harmless prompts from builtin:benign; {system}",
        f"“attack”: 4 harmful prompts from attack.csv; {system}",
        "“accuracy”: 4 questions from test.csv",
        "“perplexity”: 4 texts from texts.csv:text; asked at the models alone",
    ]


def test_a_task_of_lm_eval_is_described_as_one() -> None:
    probe = HarnessProbe(name="lm-eval:arc_easy", source="arc_easy", task="arc_easy")
    assert _described(probe) == "“lm-eval:arc_easy”: a task of lm-eval from arc_easy"


CHATS = Chats(before="<|user|>", texts=("a",), after="")


@pytest.mark.parametrize(
    ("changes", "template"),
    [
        ({}, "the tokenizer's own"),
        ({"chat_template": "{{ x }}"}, "given with the survey"),
        ({"chat_template_name": "rag"}, "the tokenizer's own, called “rag”"),
        ({"template_vars": {"enable_thinking": False}}, "the tokenizer's own; enable_thinking = false"),
        ({"template_of": "adapter"}, "the adapter's own, which differs from its base's"),
        (
            {"template_of": "tuned"},
            "that of example/Tuned-7B, which differs from the base's in template or generation settings",
        ),
        ({"template_of": "each"}, "that of example/Tuned-7B; harmful prompts are asked in the base's too"),
    ],
)
def test_the_chat_template_is_named(tmp_path: Path, changes: dict[str, Any], template: str) -> None:
    survey = make_survey(prompts=["a"], subspace=path_line(2))
    probe = survey.prompts.model_copy(update={"chats": CHATS})
    stored = survey.model_copy(update={"probes": (probe,), "calibration": CHATS, **changes})
    store = make_run(tmp_path / "run", stored)
    assert dict(facts_of(store, landscape_in(store)))["Chat template"] == template


def test_a_run_without_chats_says_that_each_session_rendered_them(tmp_path: Path) -> None:
    store = make_run(tmp_path / "run", make_survey(prompts=1, lines=1, steps=2))
    facts = dict(facts_of(store, landscape_in(store)))
    assert facts["Chat template"] == "the tokenizer's own; rendered anew in every session"


def test_what_generation_settings_change_is_named(tmp_path: Path) -> None:
    generation = {"repetition_penalty": 1.1, "suppress_tokens": [4, 5]}
    survey = make_survey(prompts=1, lines=1, steps=2).model_copy(update={"generation": generation})
    store = make_run(tmp_path / "run", survey)
    decoding = dict(facts_of(store, landscape_in(store)))["Decoding"]
    assert decoding.endswith("; with repetition_penalty 1.1, suppress_tokens of generation_config.json")
