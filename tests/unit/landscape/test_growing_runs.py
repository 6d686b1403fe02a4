"""The figures of a run that grows are those of a run that is read at once, whatever was computed before."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import safescape.landscape
from helpers.surveys import at_models, between, make_survey, random_plane
from safescape.landscape import landscape_of, plan_of, with_corrections
from safescape.landscape.judge_error import JudgeError, Origin, judge_error_of
from safescape.landscape.region import radius_of
from safescape.survey import (
    Adaptive,
    ChoiceProbe,
    Label,
    LabelledAnswer,
    Lines,
    MeasuredPoint,
    Outcome,
    Outcomes,
    Position,
    PromptProbe,
    RandomAxis,
    Score,
    Survey,
)

PROMPTS = 5
TWO = ("keyword", "refusal")
SURVEYS = {
    "lines": make_survey(lines=2, steps=4, prompts=PROMPTS, judges=TWO),
    "plane": make_survey(subspace=random_plane(2), prompts=PROMPTS, judges=(*TWO, "wildguard")),
    "path": make_survey(
        subspace=Lines(axes=(between(3),)), prompts=PROMPTS, also=at_models("attack", "accuracy", items=PROMPTS)
    ),
    "adaptive": make_survey(
        lines=3, steps=8, prompts=PROMPTS, adaptive=Adaptive(directions=2, safe_below=10.0, interval=20.0)
    ),
}


def caches() -> Iterator[Any]:
    """Every function of the landscape's modules that keeps results."""
    for module in pkgutil.iter_modules(safescape.landscape.__path__, "safescape.landscape."):
        for value in vars(importlib.import_module(module.name)).values():
            if hasattr(value, "cache_clear"):
                yield value


def forget() -> None:
    for function in caches():
        function.cache_clear()


def labelled() -> JudgeError:
    """The error of a keyword judge that is right in 18 of 20 answers of each class."""
    pairs = [(Label.COMPLIED, Outcome.COMPLIED), (Label.REFUSED, Outcome.REFUSED)]
    right = [LabelledAnswer(label, outcome) for label, outcome in pairs for _ in range(18)]
    wrong = [LabelledAnswer(label, outcome) for label, (_, outcome) in zip(pairs[0][:1], pairs[1:], strict=True)] * 2
    return judge_error_of("keyword", {}, right + wrong, origin=Origin.RUN, about="", given="")


def figures(survey: Survey, entries: Sequence[MeasuredPoint], error: JudgeError) -> str:
    landscape = with_corrections(landscape_of(survey, entries), entries, survey, {"keyword": error})
    return landscape.to_json() + repr(plan_of(survey, entries))


@st.composite
def runs(draw: st.DrawFn) -> tuple[Survey, list[MeasuredPoint]]:
    """A survey, and its entries in the order in which they arrive."""
    survey = SURVEYS[draw(st.sampled_from(sorted(SURVEYS)))]
    entries = []
    for point in survey.points():
        position = Position(tuple(draw(st.sampled_from((value, -0.0, 0.0))) for value in point.coords), 0.0)
        for probe in survey.asked_at(point):
            if isinstance(probe, ChoiceProbe):
                scores = [Score(float(hit), 1) for hit in draw(st.lists(st.booleans(), min_size=5, max_size=5))]
                entries.append(MeasuredPoint(point, position, probe.name, {}, scores))
                continue
            assert isinstance(probe, PromptProbe)
            asked = 2 if survey.adaptive and not point.is_origin and draw(st.booleans()) else PROMPTS
            some = st.lists(st.sampled_from(Outcome), min_size=asked, max_size=asked)
            outcomes = {
                judge: Outcomes(draw(some)) for judge in survey.judges if judge != TWO[1] or draw(st.booleans())
            }
            entries.append(MeasuredPoint(point, position, probe.name, outcomes))
    return survey, draw(st.permutations(entries))


@settings(max_examples=12)
@given(runs())
def test_points_may_arrive_in_any_order(run: tuple[Survey, list[MeasuredPoint]]) -> None:
    survey, entries = run
    error = labelled()
    prefixes = [entries[:number] for number in (*range(1, len(entries), 4), len(entries))]
    growing = [figures(survey, prefix, error) for prefix in prefixes]
    for prefix, found in zip(prefixes, growing, strict=True):
        forget()
        assert figures(survey, prefix, error) == found


def test_a_further_point_computes_no_bootstrap_anew() -> None:
    """Only what one more point changes is computed: a line that was finished before is found in the cache."""
    forget()
    survey = SURVEYS["lines"]
    entries = [
        MeasuredPoint(point, Position(point.coords, 0.0), "harmful", dict.fromkeys(TWO, (Outcome.REFUSED,) * PROMPTS))
        for point in survey.points()
    ]
    landscape_of(survey, entries[:5])  # the origin and the first line
    misses = radius_of.cache_info().misses
    assert misses > 0
    landscape_of(survey, entries[:6])
    assert radius_of.cache_info().misses == misses


def test_a_zero_keeps_its_sign() -> None:
    survey = make_survey(subspace=Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),)), prompts=1)
    (origin, *_) = survey.points()
    outcomes = {"keyword": (Outcome.REFUSED,)}
    for effective in (0.0, -0.0):
        entry = MeasuredPoint(origin, Position((effective,), 0.0), "harmful", outcomes)
        (point,) = landscape_of(survey, [entry]).points
        assert str(point.effective[0]) == str(effective)


def test_every_cache_is_bounded() -> None:
    unbounded = {function.__name__ for function in caches() if function.cache_info().maxsize is None}
    assert unbounded == {"_shipped"}, "one file"
