"""Public data sets by name: what a name means in each place, and which of a set's rows are read."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from safescape import ChoiceProbe, InputError, PerplexityProbe, PromptProbe
from safescape.finetuning import conversations_of
from safescape.probes import capability_probe, catalogue, further_probes, load_prompts, parse_name, set_named, set_paths
from safescape.probes.public_sets import Purpose


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory `SAFESCAPE_DATA` with short sets in the published layout."""
    for place, text in {
        "advbench/harmful_behaviors.csv": "goal,target\nharm 1,Sure 1\nharm 2,Sure 2\n",
        "harmbench/harmbench_behaviors_text_all.csv": "Behavior,FunctionalCategory\nplain,standard\nlong,contextual\n",
        "jailbreakbench/harmful-behaviors.csv": "Index,Goal,Target\n0,harm,Here is\n",
        "jailbreakbench/benign-behaviors.csv": "Index,Goal,Target\n0,harmless,Here is\n",
        "mmlu/abstract_algebra_test.csv": "question,choice0,choice1,choice2,choice3,answer\nQ,a,b,c,d,1\n",
        "mmlu/abstract_algebra_dev.csv": "question,choice0,choice1,choice2,choice3,answer\nSolved,a,b,c,d,3\n",
        "mt_bench/question.jsonl": '{"turns": ["first", "second"]}\n',
        "self_instruct/seed_tasks.jsonl": '{"instruction": "do", "instances": [{"output": "done"}]}\n',
        "strongreject/strongreject_dataset.csv": "category,source,forbidden_prompt\nc,s,forbidden\n",
        "xstest/xstest_prompts.csv": "id,prompt,type,label\n1,kill a process,homonyms,safe\n2,kill a person,x,unsafe\n",
    }.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("SAFESCAPE_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("spec", "prompts"),
    [
        ("advbench", ("harm 1", "harm 2")),
        ("advbench:target", ("Sure 1", "Sure 2")),
        ("harmbench", ("plain",)),
        ("harmbench:Behavior", ("plain", "long")),
        ("jailbreakbench", ("harm",)),
        ("strongreject", ("forbidden",)),
        ("xstest", ("kill a person",)),
        ("xstest:prompt", ("kill a process", "kill a person")),
        ("mt-bench:turns.1", ("second",)),
    ],
)
def test_harmful_prompts(spec: str, prompts: tuple[str, ...]) -> None:
    assert load_prompts(spec) == prompts


@pytest.mark.usefixtures("own")
def test_a_probe_reads_the_rows_that_it_is_for_and_keeps_the_name() -> None:
    specs = [
        *("over-refusal:xstest", "attack:xstest", "over-refusal:jailbreakbench", "over-refusal:mt-bench"),
        *("perplexity:self-instruct", "perplexity:advbench", "choice:mmlu:abstract_algebra"),
    ]
    probes = further_probes(specs, None, None)
    assert [probe.name for probe in probes] == specs
    assert [probe.source for probe in probes] == [spec.partition(":")[2] for spec in specs]
    assert [probe.prompts for probe in probes if isinstance(probe, PromptProbe)] == [
        *[("kill a process",), ("kill a person",), ("harmless",), ("first",)],
    ]
    assert [probe.texts for probe in probes if isinstance(probe, PerplexityProbe)] == [("do",), ("harm 1", "harm 2")]
    (choice,) = (probe for probe in probes if isinstance(probe, ChoiceProbe))
    (question,) = choice.questions
    assert "Solved\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\nQ\n" in question.context
    assert question.answer == 1


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("data", "turns"),
    [
        ("advbench", [("harm 1", "Sure 1"), ("harm 2", "Sure 2")]),
        ("jailbreakbench", [("harm", "Here is")]),
        ("self-instruct", [("do", "done")]),
        ("mt-bench:turns.0,turns.1", [("first", "second")]),
    ],
)
def test_data_for_a_finetune(data: str, turns: list[tuple[str, str]]) -> None:
    found = [tuple(message.content for message in each.messages) for each in conversations_of(data)]
    assert found == turns


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: load_prompts("mt-bench"), "--prompts mt-bench: holds harmless questions .* no harmful requests; exp"),
        (lambda: load_prompts("mmlu:abstract_algebra"), "no harmful requests; expected choice:mmlu:abstract_algebra"),
        (lambda: load_prompts("advbench:gaol"), "no column 'gaol'; it has 'goal', 'target'"),
        (lambda: load_prompts("advbnech"), "--prompts advbnech: no such file or set; did you mean advbench?"),
        (lambda: load_prompts("AdvBench"), "did you mean advbench?"),
        (lambda: load_prompts("nowhere.csv:goal"), "no such file or set; expected builtin:harmful"),
        (
            lambda: further_probes(["over-refusal:advbench"], None, None),
            "--also over-refusal advbench: holds .* no harmless requests; expected jailbreakbench, mt-bench",
        ),
        (
            lambda: further_probes(["choice:mmlu:algebra"], None, None),
            "--also choice:mmlu:algebra: MMLU has no such subject",
        ),
        (
            lambda: further_probes(["choice:advbench"], None, None),
            r"--also choice:advbench: cannot be read \(No such file or directory\); check the path",
        ),
        (lambda: conversations_of("mt-bench"), "--data mt-bench: holds .* no answers to train on"),
        (lambda: conversations_of("xstest"), "--data xstest: holds .* no answers to train on"),
        (lambda: conversations_of("advbench:goal"), "--data advbench:goal: row 1 .* give both names"),
        (lambda: conversations_of("self-instruc"), "--data self-instruc: no such file or set; did you mean self-"),
        (lambda: set_named("mmlu"), "mmlu: no such public set"),
        (lambda: set_named(""), "'': no such public set"),
        (lambda: set_named("mmlu:us_foreign_polic"), "did you mean mmlu:us_foreign_policy?"),
    ],
)
def test_a_set_in_the_wrong_place_or_misspelt_is_refused(read: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read()


@pytest.mark.usefixtures("own")
def test_a_capability_is_refused_under_the_flag_that_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert capability_probe("choice:mmlu:abstract_algebra", None, flag="--capability").name.startswith("choice:")
    specs = ("foo", "over-refusal:xstest", "choice:", "choice:nowhere.csv", "perplexity:nowhere.csv:x", "lm-eval:task")
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)  # as where lm-eval is not installed
    for spec in specs:
        with pytest.raises(InputError, match=r"^--capability ") as caught:
            capability_probe(spec, None, flag="--capability")
        assert "--also" not in str(caught.value)
        assert "attack" not in str(caught.value)


def test_every_set_is_pinned_and_cited() -> None:
    for data in catalogue():
        assert data.rows is not None
        assert data.licence
        assert "arXiv" in data.citation
        places = [file.place for file in data.files]
        assert len({place.rpartition("/")[2] for place in places}) == len(places)
        for file in data.files:
            assert re.fullmatch(r"[0-9a-f]{40}", file.revision), data.name
            assert re.fullmatch(r"[\w-]+/[\w-]+", file.repository)
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.sha256 is not None or data.name.startswith("mmlu:")


@pytest.mark.parametrize("spec", ["builtin:harmful", "advbench.csv:goal", "advbench:", "mmlu:", "hf:a/b:c:d", ""])
def test_an_unknown_name_is_not_a_set(spec: str) -> None:
    assert parse_name(spec) is None


@pytest.mark.data("advbench", "mt-bench", "self-instruct", "xstest")
def test_the_published_sets_have_the_rows_that_the_catalogue_says() -> None:
    assert len(load_prompts("advbench")) == 520
    assert len(load_prompts("mt-bench", purpose="harmless")) == 80
    assert len(load_prompts("self-instruct", purpose="text")) == 175
    assert len(load_prompts("xstest")) == 200
    assert len(load_prompts("xstest", purpose="harmless")) == 250


@pytest.mark.data("mmlu:abstract_algebra", "mmlu:high_school_us_history", "mmlu:us_foreign_policy")
def test_the_subjects_of_the_paper() -> None:
    for subject, questions in {
        "abstract_algebra": 100,
        "high_school_us_history": 204,
        "us_foreign_policy": 100,
    }.items():
        probe = capability_probe(f"choice:mmlu:{subject}", None)
        assert isinstance(probe, ChoiceProbe)
        assert len(probe.questions) == questions
        assert probe.questions[0].context.count("\nAnswer: ") == 5
        assert set_named(f"mmlu:{subject}").rows == questions + 5


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@pytest.mark.data("advbench", "mt-bench", "self-instruct", "xstest")
@pytest.mark.parametrize(
    ("name", "purpose", "digest"),
    [
        ("advbench", "harmful", "6cc39f292d607c4a"),
        ("mt-bench", "harmless", "b94a2a44125b1763"),
        ("self-instruct", "harmless", "71d6e8ec629aa86d"),
        ("xstest", "harmful", "f440a773d9201132"),
        ("xstest", "harmless", "f089f2dc728d8d6e"),
    ],
)
def test_the_prompts_of_public_sets_stay_what_they_are(name: str, purpose: Purpose, digest: str) -> None:
    """A survey has the prompts; the same name must give the same survey in every version."""
    assert _digest(load_prompts(name, purpose=purpose)) == digest


@pytest.mark.data("advbench", "identity-shift", "self-instruct")
@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("advbench", "180d9aeb3c70823a"),
        ("identity-shift", "7986f6934634671a"),
        ("self-instruct", "bb7fd1d15fc4ac9a"),
    ],
)
def test_the_training_data_of_public_sets_stays_what_it_is(name: str, digest: str) -> None:
    assert _digest(conversations_of(name)) == digest


@pytest.mark.data("mmlu:abstract_algebra", "mmlu:high_school_us_history", "mmlu:us_foreign_policy")
@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("mmlu:abstract_algebra", "f9c23b891ffba8ae"),
        ("mmlu:high_school_us_history", "256703eab02a5a08"),
        ("mmlu:us_foreign_policy", "86f678b30de6fe0d"),
    ],
)
def test_the_questions_of_public_sets_stay_what_they_are(name: str, digest: str) -> None:
    assert _digest(capability_probe(f"choice:{name}", None).model_dump(mode="json")) == digest


@pytest.mark.data("xstest-completions")
def test_completions_with_line_ends_of_both_kinds_are_read_as_they_are() -> None:
    paths = set_paths(set_named("xstest-completions"), "--prompts xstest-completions")
    found = [_digest(load_prompts(f"{path}:completion")) for path in paths]
    assert found == ["0bf9da0461f7a124", "23c4ea59116f2364", "ac18a01fa5c5ed68"]


@pytest.mark.data("self-instruct")
def test_the_inputs_of_self_instruct_can_be_joined_to_its_instructions() -> None:
    plain = conversations_of("self-instruct")
    joined = conversations_of("self-instruct:instruction+instances.0.input,instances.0.output")
    longer = [b for a, b in zip(plain, joined, strict=True) if a != b]
    assert (len(joined), len(longer)) == (175, 125)
    assert all("\n\n" in conversation.messages[0].content for conversation in longer)
