"""Capability of the demo model: the multiple-choice probe agrees with lm-eval's result, item by item."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import safescape
from safescape import InputError
from safescape.engines import TransformersEngine
from safescape.measure import score
from safescape.probes import Answering, further_probes, harness_scores, load_tokenizer, set_named, set_paths
from safescape.survey import ChoiceProbe, HarnessProbe, Lines, RandomAxis
from safescape.weights import Model, Subspace

TASK = """
task: algebra_here
dataset_path: csv
dataset_kwargs:
  data_files:
    test: {test}
output_type: multiple_choice
test_split: test
doc_to_text: "The following are multiple choice questions (with answers) about abstract algebra.\\n\\n{{{{question.strip()}}}}\\nA. {{{{choice0}}}}\\nB. {{{{choice1}}}}\\nC. {{{{choice2}}}}\\nD. {{{{choice3}}}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""  # noqa: E501
ITEMS = 30


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task of lm-eval, as a YAML file, over the questions of `questions`."""
    path = tmp_path / "algebra.yaml"
    path.write_text(TASK.format(test=questions()))
    return path


def questions() -> Path:
    """Return the file with MMLU's questions on abstract algebra."""
    return set_paths(set_named("mmlu:abstract_algebra"), "the test")[0]


@pytest.mark.data("mmlu:abstract_algebra")
def test_multiple_choice_results_equal_those_of_lm_eval_item_by_item(demo: Model, task: Path, tmp_path: Path) -> None:
    """The probe, lm-eval on safescape's engine, and lm-eval on its own model agree on 30 items."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM

    axes = (RandomAxis(seed=0, span=0.5, steps=2),)
    tokenizer = load_tokenizer(demo.directory, chat_template=None, trust_remote_code=False)
    engine = TransformersEngine(demo, tokenizer, Subspace(Lines(axes=axes), demo.weights))
    (choice, harness) = further_probes([f"choice:{questions()}", f"lm-eval:{task}"], ITEMS, None)
    answering = Answering(
        lambda given: [(found.log_probability, found.greedy) for found in engine.loglikelihood(given)], no_text, 8
    )
    assert isinstance(choice, ChoiceProbe)
    assert isinstance(harness, HarnessProbe)
    over_engine = [one.value for one in harness_scores(harness, answering)]

    ours = [one.value for one in score(engine, choice, max_new_tokens=8)]
    plain = AutoModelForCausalLM.from_pretrained(demo.directory, dtype=torch.float32)
    plain.load_state_dict({name: demo.weights.tensor(name) for name in demo.weights.names()}, strict=False)
    own = lm_eval.simple_evaluate(
        model=HFLM(pretrained=plain, tokenizer=tokenizer, batch_size=4),
        tasks=["algebra_here"],
        limit=ITEMS,
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
    )
    samples = sorted(own["samples"]["algebra_here"], key=lambda sample: sample["doc_id"])
    assert ours == over_engine == [sample["acc"] for sample in samples]
    assert 0 < sum(ours) < ITEMS


def no_text(context: str, most: int, stop: Sequence[str]) -> str:
    """Stand in for generation, which a multiple-choice task must not request."""
    raise AssertionError("the task is multiple choice")


@pytest.mark.data("mmlu:abstract_algebra")
def test_a_task_from_a_file_is_measured_at_every_point(tiny_model: Path, task: Path, tmp_path: Path) -> None:
    run = safescape.scan(
        str(tiny_model), directions=1, steps=2, limit=2, max_new_tokens=4, also=[f"lm-eval:{task}"], also_limit=3,
        out=tmp_path / "run",
    )  # fmt: skip
    assert [(m.kind, m.n) for m in run.landscape.measures] == [("accuracy", 3)] * 3
    probe = run.survey.probes[1]
    assert isinstance(probe, HarnessProbe)
    assert probe.definition is not None


def test_a_survey_with_a_task_is_refused_in_one_line_where_lm_eval_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("lm_eval", "lm_eval.tasks"):
        monkeypatch.setitem(sys.modules, name, None)
    probe = HarnessProbe(name="lm-eval:task", source="task", task="task", folder=None, definition=None, limit=None)
    with pytest.raises(InputError, match=r"^lm-eval:task: needs lm-eval; pip install 'safescape\[lm-eval\]'$"):
        harness_scores(probe, Answering(lambda given: [], no_text, 8))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_such_task_anywhere", "lm-eval knows no such task"),
        ("nowhere.yaml", "defines no task"),
    ],
)
def test_a_task_that_does_not_exist_is_refused(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        further_probes([f"lm-eval:{source}"], None, None)
