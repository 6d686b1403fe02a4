"""Judges written by users: what is checked when one is loaded, and the errors in one line."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.judge_module import JudgeModule, judge_module
from safescape import Exchange, InputError, Outcome, RunError, Verdict
from safescape.judges import custom, immediate_judge
from safescape.judges.custom import CustomJudge


@pytest.fixture
def module() -> Iterator[JudgeModule]:
    with judge_module() as found:
        yield found


def always_refused(exchanges: list[Exchange]) -> list[Verdict]:
    return [Verdict(Outcome.REFUSED)] * len(exchanges)


def test_an_object_a_class_and_a_function_are_judges(module: JudgeModule) -> None:
    class Always:
        judge = staticmethod(always_refused)

    module.Always, module.object, module.make = Always, Always(), Always
    module.rooms = types.SimpleNamespace(inner=Always())
    for name in ("their_judges:Always", "their_judges:object", "their_judges:make", "their_judges:rooms.inner"):
        judge = immediate_judge(name)
        assert judge.name == name
        assert (judge.stop, judge.made_of) == ((), {})
        assert judge.judge([Exchange("a", "b")]) == [Verdict(Outcome.REFUSED)]


def test_stop_and_made_of_are_kept(module: JudgeModule) -> None:
    module.judge = types.SimpleNamespace(judge=always_refused, stop=["No."], made_of={"version": "2"})
    judge = immediate_judge("their_judges:judge")
    assert judge.stop == ("No.",)
    assert judge.made_of == {"version": "2"}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"stop": "No."}, "--judge their_judges:judge: its stop is 'No.'; expected a tuple of phrases"),
        ({"stop": 5}, "its stop is 5; expected a tuple of phrases"),
        ({"stop": [b"No."]}, "its stop is [b'No.']; expected a tuple of phrases"),
        ({"made_of": "version 2"}, "its made_of is 'version 2'; expected a dictionary of texts"),
        ({"made_of": {"file": Path("x")}}, "; expected a dictionary of texts"),
        ({"judge": None}, "has no judge(exchanges); docs/judges.md shows a judge in twelve lines"),
    ],
)
def test_attributes_of_another_type_are_refused(
    module: JudgeModule, attributes: dict[str, object], message: str
) -> None:
    module.judge = types.SimpleNamespace(**{"judge": always_refused, **attributes})
    with pytest.raises(InputError) as error:
        immediate_judge("their_judges:judge")
    assert message in str(error.value)


ERRORS = [ImportError(), ValueError("first\nsecond"), SystemExit(3), RecursionError("\n\n"), KeyError("a\nb")]


@pytest.mark.parametrize("raised", ERRORS, ids=repr)
def test_whatever_loading_a_judge_raises_is_one_line(module: JudgeModule, raised: BaseException) -> None:
    def make() -> object:
        raise raised

    module.judge = make
    with pytest.raises(InputError, match=f"cannot be loaded \\({type(raised).__name__}: ") as error:
        immediate_judge("their_judges:judge")
    assert "\n" not in str(error.value)


def test_whatever_a_judge_raises_is_one_line() -> None:
    def fail(exchanges: list[Exchange]) -> list[Verdict]:
        raise ValueError("first\nsecond")

    judge = CustomJudge("x:y", types.SimpleNamespace(judge=fail))
    with pytest.raises(RunError, match=r"--judge x:y: its judge\(\) raised ValueError: first$"):
        judge.judge([Exchange("a", "b")])


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.text(st.characters(codec="utf-8"), max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_unknown_name_is_one_line(monkeypatch: pytest.MonkeyPatch, module: str, attribute: str) -> None:
    """Modules are not imported here: what random names import may do anything."""

    def absent(name: str) -> types.ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(custom, "import_module", absent)
    for name in (f"{module}:{attribute}", f"x{module}"):
        if name.strip() in ("keyword", "refusal"):
            continue
        with pytest.raises(InputError) as error:
            immediate_judge(name)
        assert len(str(error.value).splitlines()) == 1
        assert str(error.value).startswith("--judge ")
