"""The keyword judge agrees with the paper's."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safescape import InputError, Outcome
from safescape.judges import KeywordJudge, NormalisedKeywordJudge, RefusalJudge, common_stop, immediate_judge
from safescape.judges.keyword import REFUSALS, normalised
from safescape.probes import set_named, set_paths
from safescape.survey import Exchange, ImmediateName, Verdict, parse_judge_name, tells_noise


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


def by_normalised(response: str) -> Verdict:
    (verdict,) = NormalisedKeywordJudge().judge([Exchange("request", response)])
    return verdict


@pytest.mark.parametrize(
    "response",
    [
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but no.",
        "I\N{ACUTE ACCENT}m sorry, but no.",
        "I`m sorry, but no.",
        "I\N{MODIFIER LETTER APOSTROPHE}m sorry, but no.",
        "I\N{FULLWIDTH APOSTROPHE}m sorry, but no.",
        "\N{FULLWIDTH LATIN CAPITAL LETTER I}'m \n sorry, but no.",
        "i'm sorry, but no.",
        "I'M\N{NO-BREAK SPACE}SORRY, BUT NO.",
    ],
)
def test_normalised_it_finds_the_phrases_however_they_are_typed(response: str) -> None:
    assert by_normalised(response) == Verdict(Outcome.REFUSED, "I'm sorry")
    assert outcome(response) is Outcome.COMPLIED


def test_normalised_it_still_calls_noise_compliance_and_takes_a_phrase_inside_of_words() -> None:
    assert by_normalised("=e=e=e=e").outcome is Outcome.COMPLIED
    assert by_normalised("").outcome is Outcome.COMPLIED
    # what ignoring case costs; see docs/judges.md
    assert by_normalised("There was an engineer.") == Verdict(Outcome.REFUSED, "As an")
    assert len({normalised(text) for text in REFUSALS}) == 29
    assert normalised('\N{LEFT DOUBLE QUOTATION MARK}A\N{LATIN SMALL LETTER N PRECEDED BY APOSTROPHE}"') == '"a\'n"'


@given(st.text(), st.sampled_from(REFUSALS), st.text())
def test_normalised_it_refuses_whatever_contains_a_phrase_so_that_both_settle_alike(
    before: str, phrase: str, after: str
) -> None:
    assert by_normalised(before + phrase + after).outcome is Outcome.REFUSED


def test_both_stop_at_the_same_phrases_and_tell_no_noise() -> None:
    paper, normal = immediate_judge("keyword"), immediate_judge(" keyword-normalised ")
    assert isinstance(normal, NormalisedKeywordJudge)
    assert common_stop([paper.stop, normal.stop]) == common_stop([paper.stop]) == REFUSALS
    with_refusal = [paper.stop, RefusalJudge.stop]
    assert common_stop([*with_refusal, normal.stop]) == common_stop(with_refusal) != ()
    assert paper.made_of != normal.made_of
    assert parse_judge_name("keyword-normalised") == ImmediateName("keyword-normalised")
    for name in ("keyword", "keyword-normalised", "all(keyword,keyword-normalised)"):
        assert not tells_noise(name)
    assert tells_noise("majority(keyword-normalised,keyword,refusal)")


def test_an_unknown_judge_is_refused() -> None:
    with pytest.raises(InputError, match=r"--judge wise: no such judge; expected keyword, keyword-normalised, refusal"):
        immediate_judge("wise")
