"""Labels in a run's database, which runs of earlier versions lack."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from helpers.behaviours import four_outcomes, hostile_thoughts
from helpers.runs import make_run
from helpers.surveys import THINK, further, make_survey
from safescape import InputError
from safescape.store import Store
from safescape.survey import Label, Outcome, Sample, SampledAnswer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    survey = make_survey(prompts=6, lines=1, steps=2, judges=("keyword", "refusal"), also=further("benign", items=3))
    make_run(tmp_path / "run", survey, opinion=four_outcomes).close()
    return tmp_path / "run"


def sample_of(store: Store, count: int = 4) -> Sample:
    rows = [SampledAnswer(answer.response, "near, refused", 12) for answer in store.labels.judged("refusal")[:count]]
    return Sample("refusal", "{}", 0, tuple(rows))


def test_labels_are_stored_taken_back_and_skipped(run: Path) -> None:
    with Store.read(run) as store:
        survey = store.survey
        assert store.labels.sample() is None
    with Store.claim(run, survey) as store:
        sample = sample_of(store)
        store.labels.store_sample(sample)
        first, second, third, _ = (row.response for row in sample.rows)
        store.labels.give(first, Label.PARTIAL)
        store.labels.give(second, Label.COMPLIED)
        store.labels.give(second, None)
        store.labels.give(third, None, skipped=True)
    with Store.read(run) as store:
        found = store.labels.sample()
        assert found is not None
        assert [(row.label, row.skipped) for row in found.rows] == [
            (Label.PARTIAL, False), (None, False), (None, True), (None, False)
        ]  # fmt: skip
        assert found.rows[0]._replace(label=None) == sample.rows[0]
        shown = store.labels.shown()
        assert set(shown) == {row.response for row in sample.rows}
        assert shown[first].prompt == "Harmful request number 0"


def test_only_answers_to_harmful_requests_can_be_labelled(run: Path) -> None:
    with Store.read(run) as store:
        answers = store.labels.judged("refusal")
        assert len(answers) == 3 * 6
        assert {answer.outcome for answer in answers} <= set(Outcome)
        assert store.labels.judged("nobody") == []


def test_an_answer_that_is_only_a_thought_cannot_be_labelled(tmp_path: Path) -> None:
    survey = make_survey(prompts=6, lines=1, steps=2, markers=THINK)
    with make_run(tmp_path / "run", survey, thinks=hostile_thoughts) as store:
        assert len(store.labels.judged("keyword")) == 3 * 4


def test_a_run_of_an_earlier_version_has_no_labels(run: Path) -> None:
    with sqlite3.connect(run / "run.sqlite") as connection:
        for table in ("label_sample", "labels", "agreements"):
            connection.execute(f"DROP TABLE {table}")
    with Store.read(run) as store:
        survey = store.survey
        assert (store.labels.sample(), store.labels.agreements()) == (None, {})
    with Store.claim(run, survey) as store:
        store.labels.store_sample(sample_of(store))
        assert store.labels.sample() is not None


def test_a_label_of_a_later_version_is_refused(run: Path) -> None:
    with Store.read(run) as store:
        survey = store.survey
    with Store.claim(run, survey) as store:
        store.labels.store_sample(sample_of(store))
    with sqlite3.connect(run / "run.sqlite") as connection:
        connection.execute("UPDATE labels SET label = 'evasive' WHERE place = 0")
    with Store.read(run) as store, pytest.raises(InputError, match="a label of a later version"):
        store.labels.sample()


def test_a_later_agreement_of_a_judge_replaces_the_earlier_one(run: Path) -> None:
    with Store.read(run) as store:
        survey = store.survey
    with Store.claim(run, survey) as store:
        store.labels.store_agreements([("keyword", "1"), ("refusal", "2")])
        store.labels.store_agreements([("keyword", "3")])
        assert store.labels.agreements() == {"keyword": "3", "refusal": "2"}
