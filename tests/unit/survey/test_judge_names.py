"""Judges' names: what each form is parsed to, how it is stored, and the errors of malformed ones."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safescape import InputError, Outcome
from safescape.judge_runtime import check_judge
from safescape.survey import (
    GUARDS,
    RUBRICS,
    ApiName,
    ClassifierName,
    GuardName,
    ImmediateName,
    JudgeName,
    PanelName,
    is_immediate,
    members_of,
    parse_judge_name,
    tells_noise,
)

PARSED: dict[str, JudgeName] = {
    "keyword": ImmediateName("keyword"),
    "my_judges:Cautious": ImmediateName("my_judges:Cautious"),
    "package.module:object.attribute": ImmediateName("package.module:object.attribute"),
    "entry-point": ImmediateName("entry-point"),
    "llama-guard-3": GuardName("llama-guard-3", None),
    "llama-guard-3=./here": GuardName("llama-guard-3", "./here"),
    "harmbench=owner/model@main": GuardName("harmbench", "owner/model@main"),
    "strongreject=base+adapter": GuardName("strongreject", "base+adapter"),
    "hf:owner/model": ClassifierName("owner/model"),
    "hf:owner/model@main#safe=refused;unsafe=complied": ClassifierName(
        "owner/model@main", (("safe", Outcome.REFUSED), ("unsafe", Outcome.COMPLIED))
    ),
    "hf:m#not safe=complied;a=b=refused": ClassifierName(
        "m", (("not safe", Outcome.COMPLIED), ("a=b", Outcome.REFUSED))
    ),
    "openai:gpt-4.1": ApiName("gpt-4.1"),
    "openai:org/Model-7B:q4.1#policy": ApiName("org/Model-7B:q4.1", "policy"),
    "openai:m#strongreject": ApiName("m", "strongreject"),
    "openai:m#rubric-01234567": ApiName("m", "rubric-01234567"),
    "majority(keyword,refusal)": PanelName("majority", (ImmediateName("keyword"), ImmediateName("refusal"))),
    "all(keyword,hf:m#a=refused;b=complied,wildguard=./w)": PanelName(
        "all",
        (
            ImmediateName("keyword"),
            ClassifierName("m", (("a", Outcome.REFUSED), ("b", Outcome.COMPLIED))),
            GuardName("wildguard", "./w"),
        ),
    ),
}
"""Names as surveys store them, and what they are parsed to."""


@pytest.mark.parametrize("name", PARSED)
def test_every_form_is_parsed_and_stored_as_it_was_given(name: str) -> None:
    assert parse_judge_name(name) == PARSED[name]
    assert parse_judge_name(name).text == name


@pytest.mark.parametrize(
    "given",
    [
        "majority(keyword, harmbench)",
        "majority( keyword ,harmbench )",
        "majority(keyword,\tharmbench)",
        "majority(keyword,\n  harmbench\n)",
        " majority (keyword,harmbench) ",
    ],
)
def test_whitespace_between_the_parts_of_a_panel_is_ignored(given: str) -> None:
    assert parse_judge_name(given) == parse_judge_name("majority(keyword,harmbench)")
    assert parse_judge_name(given).text == "majority(keyword,harmbench)"
    assert members_of(given) == ("keyword", "harmbench")
    assert not tells_noise(given)
    assert not is_immediate(given)


def test_whitespace_around_a_name_and_its_labels_is_ignored() -> None:
    assert parse_judge_name(" keyword\n").text == "keyword"
    assert parse_judge_name("hf:m# a = refused ; b =\tcomplied").text == "hf:m#a=refused;b=complied"


NAMES = st.sampled_from([name for name in PARSED if "(" not in name])
BLANKS = st.text(" \t\n\r", max_size=3)


@given(
    st.sampled_from(["majority", "all"]),
    st.lists(st.tuples(BLANKS, NAMES, BLANKS), min_size=2, unique_by=lambda m: m[1]),
)
def test_a_panel_with_whitespace_is_the_panel_without(rule: str, members: list[tuple[str, str, str]]) -> None:
    spaced = f"{rule}({','.join(''.join(parts) for parts in members)})"
    plain = f"{rule}({','.join(name for _, name, _ in members)})"
    assert parse_judge_name(spaced) == parse_judge_name(plain)
    assert parse_judge_name(spaced).text == plain
    assert members_of(spaced) == tuple(name for _, name, _ in members)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "--judge '': expected a name without control characters, such as keyword, refusal or llama-guard-3"),
        ("  ", "--judge '': expected a name"),
        ("key\0word", r"--judge key\x00word: expected a name without control characters"),
        ("key\u2028word", r"--judge key\u2028word: expected a name without control characters"),
        ("openai:\ud800", r"--judge openai:\ud800: expected a name without control characters"),
        ("all(keyword)", "expected two or more different judges, as in majority(keyword,refusal)"),
        ("all()", "expected two or more different judges"),
        ("all(", "expected two or more different judges"),
        ("majority(keyword,refusal", "expected two or more different judges"),
        ("majority(keyword,refusal)x", "expected two or more different judges"),
        ("majority(keyword,keyword)", "expected two or more different judges"),
        ("majority(keyword, keyword )", "expected two or more different judges"),
        ("all(keyword,)", "expected two or more different judges"),
        ("all(keyword,refusal,)", "expected two or more different judges"),
        ("all(,keyword,refusal)", "expected two or more different judges"),
        ("all(keyword,all(a,b))", "expected two or more different judges"),
        ("all(keyword,b))", "expected two or more different judges"),
        ("all(keyword,hf:)", "--judge hf:: expected hf:ID"),
        ("harmbench=", "expected a directory or a Hub id without spaces, commas and brackets after the ="),
        ("harmbench=a b", "expected a directory or a Hub id"),
        ("harmbench=a,b", "expected a directory or a Hub id"),
        ("harmbench=(a)", "expected a directory or a Hub id"),
        ("hf:", "expected hf:ID, the Hub id or the directory of a sequence classifier"),
        ("hf:a b", "expected hf:ID"),
        ("hf:a,b", "expected hf:ID"),
        ("hf:a\0b", r"--judge hf:a\x00b: expected hf:ID"),
        ("hf:m(x)#a=refused", "expected hf:ID"),
        ("hf:m#", "nothing is not LABEL=OUTCOME; expected each label once, with one of refused, complied"),
        ("hf:m#a=wrong", "a=wrong is not LABEL=OUTCOME"),
        ("hf:m#a=refused;a=complied", "a=complied is not LABEL=OUTCOME"),
        ("hf:m#a=refused;", "nothing is not LABEL=OUTCOME"),
        ("hf:m#=refused", "=refused is not LABEL=OUTCOME"),
        ("openai:", "expected openai:MODEL or openai:MODEL#RUBRIC; MODEL without spaces, commas and parentheses"),
        ("openai:a,b", "expected openai:MODEL"),
        ("openai:a b", "expected openai:MODEL"),
        ("openai:a)", "expected openai:MODEL"),
        ("openai:(a", "expected openai:MODEL"),
        ("openai:m#", "expected openai:MODEL"),
        ("openai:m#wise", "expected openai:MODEL"),
        ("openai:m#rubric-0123456", "expected openai:MODEL"),
        ("openai:#policy", "expected openai:MODEL"),
    ],
)  # fmt: skip
def test_malformed_names_are_one_line(name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_judge_name(name)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


PIECES = st.sampled_from(
    (
        *("majority(", "all(", ")", "(", ",", "hf:", "openai:", "#", "=", ";", ":"),
        *(" ", "\t", "\n", "\0", "\u2028", "\ud800"),
        *("keyword", "refusal", "m", "./m", "’", "=refused", "=complied", *GUARDS, *RUBRICS),
    )
)
ANY_NAME = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=12).map("".join),
)


@given(ANY_NAME)
@example("x" * 100_000 + "\0")
def test_any_text_is_a_name_or_one_line_that_says_what_is_expected(text: str) -> None:
    try:
        parsed = parse_judge_name(text)
    except InputError as error:
        message = str(error)
    else:
        assert parse_judge_name(parsed.text) == parsed
        assert parsed.text.encode(), "it can be stored"
        assert members_of(text)
        assert isinstance(tells_noise(text), bool)
        return
    assert message.startswith("--judge ")
    assert "expected" in message
    assert message.isprintable()
    assert len(message) < 1000
    with pytest.raises(InputError):
        check_judge(text)


@pytest.mark.parametrize(
    ("name", "immediate", "noise"),
    [
        ("keyword", True, False),
        ("refusal", True, True),
        ("my_judges:Cautious", True, True),
        ("shieldgemma", False, False),
        ("llama-guard-3=./here", False, False),
        ("openai:m", False, True),
        ("hf:m", False, False),
        ("hf:m#a=refused;b=complied", False, False),
        ("hf:m#a=refused;b=incoherent", False, True),
        ("hf:m#a=incoherent=refused;b=complied", False, False),
        ("majority(keyword,refusal)", False, True),
        ("majority(keyword,harmbench)", False, False),
        ("all(keyword,hf:m#a=refused;b=incoherent)", False, True),
    ],
)
def test_what_a_judge_needs_and_tells_follows_from_its_name(name: str, *, immediate: bool, noise: bool) -> None:
    assert is_immediate(name) is immediate
    assert tells_noise(name) is noise


def test_a_stored_name_keeps_its_spelling() -> None:
    """Verdicts of a run made before are stored under the name of its survey, whitespace included."""
    assert members_of("hf:m#a = refused;b = complied") == ("hf:m#a = refused;b = complied",)


def test_labels_are_added_in_alphabetical_order() -> None:
    name = ClassifierName("owner/model").with_labels(" b = complied,a=refused")
    assert name.text == "hf:owner/model#a=refused;b=complied"
    with pytest.raises(InputError, match="belongs to --judge hf:ID, and the judge is hf:m#a=refused"):
        ClassifierName("m", (("a", Outcome.REFUSED),)).with_labels("a=refused")


@pytest.mark.parametrize(
    "labels", ["", "a", "a=", "=refused", "a=wrong", "a=refused,a=complied", "a=refused,", "a(=refused", "a\nb=refused"]
)
def test_malformed_labels(labels: str) -> None:
    expected = r"is not LABEL=OUTCOME; expected each label once, with one of refused, comp"
    with pytest.raises(InputError, match=expected) as error:
        ClassifierName("m").with_labels(labels)
    assert "\n" not in str(error.value)
