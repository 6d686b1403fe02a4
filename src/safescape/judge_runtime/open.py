"""From a judge's name to a judge that is ready to read, whatever its kind, for as long as a context lasts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from safescape.errors import InputError
from safescape.judge_runtime.api import check_api_judge, open_api_judge, with_rubric
from safescape.judge_runtime.guard_process import GuardKind, RemoteGuard, guard_process
from safescape.judge_runtime.readers import labels_of
from safescape.judges import GUARD_MODELS, ClassifierJudge, GuardJudge, Judge, immediate_judge
from safescape.judges.sequence_classifiers import outcomes_of
from safescape.placement import LOCAL, Placement
from safescape.survey import ApiName, ClassifierName, GuardName, ImmediateName, members_of, parse_judge_name
from safescape.weights import identity, resolve

_log = logging.getLogger(__name__)


class JudgeSettings(NamedTuple):
    """How judges run. Verdicts do not depend on these settings."""

    device: str | None = None
    """Device of guard models and classifiers. None: the first GPU if there is one, else the CPU."""
    placement: Placement = LOCAL
    """Where guard models and classifiers are loaded: in a process on this machine, or in actors of a Ray cluster."""
    base_url: str | None = None
    """Address of the server of `openai:MODEL`. None: OPENAI_BASE_URL, else OpenAI's own."""
    max_requests: int | None = None
    """The most requests sent to the server, including repeated ones. None: no limit."""
    requests_per_minute: int | None = None
    """The most requests per minute. None: no limit."""
    concurrency: int = 8
    """The most concurrent requests."""


class ResolvedJudges(NamedTuple):
    """Judges by their full names, as runs store them. Verdicts depend on nothing but the names and the rubrics."""

    names: tuple[str, ...]
    rubrics: dict[str, str]
    """Texts of rubrics that came from files, by judge."""


def resolve_judges(
    judges: Sequence[str],
    settings: JudgeSettings,
    *,
    labels: str | None = None,
    rubric: str | None = None,
    known: Mapping[str, str] | None = None,
) -> ResolvedJudges:
    """Complete the names of judges as typed, and check that the judges can be used.

    `labels`, `LABEL=OUTCOME,LABEL=OUTCOME`, is for each `hf:ID` without any, `rubric`, one of `survey.RUBRICS` or a
    file, for each `openai:MODEL` without one. `known` has the texts of rubrics that were read from files before, by
    judge.

    Raises:
        InputError: a name is malformed, there is no such judge, or one is given twice; labels or a rubric are given
            without such a judge; or a package or a key is missing. The message says what to type.

    """
    parsed = [parse_judge_name(given) for given in judges]
    rubrics = dict(known or {})
    if labels is not None and not any(isinstance(name, ClassifierName) and not name.outcomes for name in parsed):
        raise InputError(f"--labels {labels}: belongs to a judge hf:ID, and none is given")
    if rubric is not None and not any(isinstance(name, ApiName) for name in parsed):
        raise InputError(f"--rubric {rubric}: belongs to a judge openai:MODEL, and none is given")
    names: list[str] = []
    for name in parsed:
        if isinstance(name, ClassifierName) and not name.outcomes and labels is not None:
            name = name.with_labels(labels)
        elif isinstance(name, ApiName):
            name, text = with_rubric(name, rubric)
            if text is not None:
                rubrics[name.text] = text
        if name.text in names:
            raise InputError(f"--judge {name.text}: given twice; give each once")
        check_judge(name.text)
        for member in members_of(name.text):
            if isinstance(parse_judge_name(member), ApiName):
                with open_judge(member, settings, rubrics):
                    pass  # finds a missing key or a malformed address; no request is sent
        names.append(name.text)
    return ResolvedJudges(tuple(names), rubrics)


def is_model(name: str) -> bool:
    """Return whether a judge is a guard model or a classifier, which is loaded in a process or in actors."""
    return isinstance(parse_judge_name(name), GuardName | ClassifierName)


def check_judge(name: str) -> None:
    """Raise InputError if a judge or a member of a panel does not exist or is not installed; fetch no guard yet."""
    for member in members_of(name):
        match parse_judge_name(member):
            case ImmediateName():
                immediate_judge(member)
            case ApiName():
                check_api_judge(member)
            case ClassifierName(outcomes=()) as classifier:
                # raises, and lists the labels that the model has
                outcomes_of(classifier, labels_of(resolve(classifier.place)))


@contextlib.contextmanager
def open_judge(
    name: str, settings: JudgeSettings, rubrics: Mapping[str, str], *, most: int = 1
) -> Iterator[Sequence[Judge]]:
    """Open a judge that is no panel; its processes, actors or connections end with the context.

    Yields the copies that read side by side: one, or as many as there are actors of a guard model or classifier, but at
    most `most`. `rubrics` has the texts of rubrics from files, by judge.

    Raises:
        InputError: there is no such judge, or it cannot be used here.
        RunError: its process died.

    """
    parsed = parse_judge_name(name)
    _log.debug("opening --judge %s", name)
    match parsed:
        case ImmediateName():
            yield [immediate_judge(name)]
        case ApiName():
            with open_api_judge(
                name,
                base_url=settings.base_url,
                max_requests=settings.max_requests,
                requests_per_minute=settings.requests_per_minute,
                concurrency=settings.concurrency,
                rubrics=rubrics,
            ) as judge:
                yield [judge]
        case ClassifierName():
            model = resolve(parsed.place)
            labels, made_of = labels_of(model), identity(model)
            outcomes_of(parsed, labels)  # raises before the model is loaded
            with _load_guards(parsed.place, "labels", settings, most) as readers:
                yield [ClassifierJudge(parsed, labels, reader, made_of) for reader in readers]
        case GuardName():
            guard = GUARD_MODELS[parsed.guard]
            place = parsed.place or guard.place
            made_of = identity(resolve(place))
            with _load_guards(place, "words", settings, most) as readers:
                yield [GuardJudge(name, guard, reader, made_of) for reader in readers]
        case _:
            raise TypeError(f"{name} is a panel, whose members are opened one by one")


@contextlib.contextmanager
def _load_guards(place: str, kind: GuardKind, settings: JudgeSettings, most: int) -> Iterator[Sequence[RemoteGuard]]:
    if settings.placement.is_local:
        with guard_process(place, kind=kind, device=settings.device) as guard:
            yield [guard]
        return
    from safescape.judge_runtime.guard_actors import guards_on  # needs Ray, which is an extra

    with guards_on(settings.placement, place, kind=kind, device=settings.device, most=most) as guards:
        yield guards
