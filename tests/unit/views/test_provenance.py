"""The provenance of a run describes every probe by its kind."""

from __future__ import annotations

from pathlib import Path

from helpers.behaviours import tuned
from helpers.runs import landscape_in, make_run
from helpers.surveys import at_models, further, make_survey, path_line
from safescape.survey import HarnessProbe
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
