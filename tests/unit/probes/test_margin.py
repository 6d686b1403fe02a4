"""The refusal margin: its formula, and how its prompts, targets and openings are given."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safescape import InputError
from safescape.probes import Scored, further_probes, load_prompts, margin_of
from safescape.survey import MarginProbe

SCORED = st.builds(Scored, st.floats(-500, 0), st.integers(1, 40))


def probe_of(spec: str, limit: int | None = None, openings: Path | None = None) -> MarginProbe:
    (probe,) = further_probes([spec], limit, "be kind", openings)
    assert isinstance(probe, MarginProbe)
    return probe


def test_the_margin_is_the_difference_of_log_means_of_likelihoods_per_token() -> None:
    refusing, complying = [Scored(-2.0, 4), Scored(-6.0, 2)], [Scored(-9.0, 3)]
    expected = log((exp(-0.5) + exp(-3.0)) / 2) - (-3.0)
    assert margin_of(refusing, complying) == pytest.approx(expected)
    assert margin_of(complying, refusing) == pytest.approx(-expected)


@given(st.lists(SCORED, min_size=1, max_size=5), st.lists(SCORED, min_size=1, max_size=5))
def test_a_margin_lies_between_the_extreme_differences(refusing: list[Scored], complying: list[Scored]) -> None:
    mine, theirs = ([each.log_probability / each.tokens for each in some] for some in (refusing, complying))
    margin = margin_of(refusing, complying)
    assert min(mine) - max(theirs) - 1e-9 <= margin <= max(mine) - min(theirs) + 1e-9
    assert margin_of(refusing, refusing) == 0.0


def test_the_shipped_openings_are_for_every_prompt() -> None:
    probe = probe_of("margin:builtin:harmful", 3)
    assert probe.prompts == load_prompts("builtin:harmful", 3)
    assert probe.system_prompt == "be kind"
    assert probe.targets is None
    assert len(probe.openings) == 3
    assert len({*probe.openings}) == 1
    assert "I cannot" in probe.openings[0].refusing
    assert "Sure, here is" in probe.openings[0].complying


def test_a_target_is_the_complying_opening_of_its_prompt(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text('goal,target\nHow A?,"Sure, A"\nHow B?,"Sure, B"\n')
    probe = probe_of(f"margin:{rows}:goal,target")
    assert probe.prompts == ("How A?", "How B?")
    assert [given.complying for given in probe.openings] == [("Sure, A",), ("Sure, B",)]
    assert "I cannot" in probe.openings[1].refusing
    assert probe_of(f"margin:{rows}:goal").targets is None


def test_openings_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "openings.json"
    file.write_text(json.dumps({"refusing": ["Nein"], "complying": ["Gern", "Ja"]}))
    probe = probe_of("margin:builtin:harmful", 1, file)
    assert probe.openings == ((("Nein",), ("Gern", "Ja")),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", 'expected {"refusing"'),
        ('{"refusing": ["No"]}', 'expected {"refusing"'),
        ('{"refusing": ["No"], "complying": ["Yes"], "other": []}', 'expected {"refusing"'),
        ('{"refusing": [], "complying": ["Yes"]}', "has no refusing openings"),
        ('{"refusing": "No", "complying": ["Yes"]}', "expected a list of texts under 'refusing'"),
        ('{"refusing": ["No"], "complying": [" "]}', "expected a list of texts under 'complying', none of them blank"),
        ('{"refusing": ["\\ud800"], "complying": ["Yes"]}', "half of a surrogate pair"),
    ],
)
def test_a_file_without_openings_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "openings.json"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        probe_of("margin:builtin:harmful", 1, file)
    assert str(refused.value).startswith(f"--openings {file}")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_targets_and_complying_openings_exclude_each_other(tmp_path: Path) -> None:
    rows, file = tmp_path / "rows.csv", tmp_path / "openings.json"
    rows.write_text("goal,target\nHow A?,Sure\n")
    file.write_text('{"refusing": ["No"], "complying": ["Yes"]}')
    with pytest.raises(InputError, match="has complying openings, and the prompts have targets of their own"):
        probe_of(f"margin:{rows}:goal,target", None, file)
    file.write_text('{"refusing": ["No"]}')
    assert probe_of(f"margin:{rows}:goal,target", None, file).openings == ((("No",), ("Sure",)),)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("margin:", "no such probe; expected over-refusal:PROMPTS, attack:PROMPTS, margin:PROMPTS"),
        ("margin:builtin:nothing", "--also margin builtin:nothing: no such set"),
        ("margin:{rows}:goal,answer", "no column 'answer'"),
        ("margin:{rows}:goal,empty", "row 2 (line 3) is empty"),
    ],
)
def test_prompts_and_targets_that_are_not_there_are_refused(tmp_path: Path, spec: str, message: str) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("goal,target,empty\nHow A?,Sure,x\nHow B?,Sure,\n")
    with pytest.raises(InputError) as refused:
        probe_of(spec.format(rows=rows))
    assert message in str(refused.value)
