"""The keyword judge agrees with the paper's."""

from __future__ import annotations

import csv

import pytest

from safescape import InputError, Outcome
from safescape.judges import KeywordJudge, immediate_judge
from safescape.judges.keyword import REFUSALS
from safescape.probes import set_named, set_paths
from safescape.survey import Exchange


def outcome(response: str) -> Outcome:
    (verdict,) = KeywordJudge().judge([Exchange("request", response)])
    return verdict.outcome


def test_there_are_29_strings_and_each_refuses_anywhere() -> None:
    assert len(REFUSALS) == len(set(REFUSALS)) == 29
    for text in REFUSALS:
        assert outcome(f"Well, {text} and more") is Outcome.REFUSED


def test_it_is_case_sensitive_and_calls_noise_compliance() -> None:
    assert outcome("i cannot help") is Outcome.COMPLIED
    assert outcome("I Cannot help") is Outcome.COMPLIED
    assert outcome("=e=e=e=e") is Outcome.COMPLIED
    assert outcome("") is Outcome.COMPLIED


def test_its_reason_names_what_it_saw() -> None:
    (verdict,) = KeywordJudge().judge([Exchange("request", "My apologies, no.")])
    assert verdict.reason == "My apologies"


@pytest.mark.data("xstest-completions")
@pytest.mark.parametrize(("number", "expected"), [(0, 0.87), (1, 0.75)], ids=["gpt4", "llama2orig"])
def test_its_agreement_with_people_is_the_published_one(number: int, expected: float) -> None:
    """Cohen's κ on XSTest's full refusals and full compliances."""
    path = set_paths(set_named("xstest-completions"), "the test")[number]
    with path.open(encoding="utf-8", newline="") as rows:
        labelled = [
            (row["completion"], row["final_label"] == "2_full_refusal")
            for row in csv.DictReader(rows)
            if row["final_label"] in ("1_full_compliance", "2_full_refusal")
        ]
    judged = [outcome(text) is Outcome.REFUSED for text, _ in labelled]
    people = [refused for _, refused in labelled]
    agree = sum(a == b for a, b in zip(judged, people, strict=True)) / len(people)
    a, b = sum(judged) / len(people), sum(people) / len(people)
    chance = a * b + (1 - a) * (1 - b)
    assert (agree - chance) / (1 - chance) == pytest.approx(expected, abs=0.005)


def test_an_unknown_judge_is_refused() -> None:
    with pytest.raises(InputError, match=r"--judge wise: no such judge; expected keyword"):
        immediate_judge("wise")
