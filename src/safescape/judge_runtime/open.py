"""A judge by its name: what is needed for it, opened for as long as it judges.

The one place that knows all kinds of judges: those that need nothing, guard models, classifiers, and models behind an
API.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from safescape.errors import InputError
from safescape.judge_runtime.api import PREFIX, api_judge_name, check_api_judge, open_api_judge
from safescape.judge_runtime.process import AskedGuard, GuardKind, GuardProcess
from safescape.judge_runtime.readers import labels_of
from safescape.judges import (
    ClassifierJudge,
    GuardJudge,
    Judge,
    classifier_named,
    guard_named,
    is_immediate,
    judge_named,
    labelled,
    members_of,
)
from safescape.placement import LOCAL, Placement
from safescape.weights import identity, resolve

__all__ = ["Judging", "Named", "check_judge", "is_guard", "named", "opened"]


class Judging(NamedTuple):
    """How judges work; nothing here changes what they say."""

    device: str | None = None
    """Where guard models run; None: the first GPU if there is one."""
    placement: Placement = LOCAL
    """Who holds them: a process here, or actors of a Ray."""
    base_url: str | None = None
    """Of the server behind `openai:MODEL`; None: what OPENAI_BASE_URL says, else OpenAI's own."""
    max_requests: int | None = None
    """The most requests sent to it; None: as many as it takes."""
    requests_per_minute: int | None = None
    concurrency: int = 8
    """Requests under way at once."""


class Named(NamedTuple):
    """Judges by the names under which a run knows them: all that decides what they say is in a name, or beside it."""

    names: tuple[str, ...]
    rubrics: dict[str, str]
    """By name, the text of each rubric that came from a file."""


def named(
    judges: Sequence[str],
    settings: Judging,
    *,
    labels: str | None = None,
    rubric: str | None = None,
    known: Mapping[str, str] | None = None,
) -> Named:
    """Return judges by their full names, having looked whether there are such judges.

    Args:
        judges: As typed.
        settings: How they will work.
        labels: What the labels of `hf:ID` mean, `LABEL=OUTCOME,LABEL=OUTCOME`.
        rubric: What `openai:MODEL` goes by: one that ships, or a file.
        known: Texts of rubrics that came from files earlier, by judge.

    Raises:
        InputError: there is no such judge, one is given twice, labels or a rubric are nobody's, or what a judge needs
            is not there (a package, a key); the message says what to type.

    """
    names: list[str] = []
    rubrics = dict(known or {})
    if labels is not None and not any(_is_unlabelled(name) for name in judges):
        raise InputError(f"--labels {labels}: belongs to a judge hf:ID, and none is given")
    if rubric is not None and not any(name.startswith(PREFIX) for name in judges):
        raise InputError(f"--rubric {rubric}: belongs to a judge openai:MODEL, and none is given")
    for given in judges:
        name = labelled(given, labels) if labels is not None and _is_unlabelled(given) else given
        if name.startswith(PREFIX):
            name, text = api_judge_name(name, rubric)
            if text is not None:
                rubrics[name] = text
        if name in names:
            raise InputError(f"--judge {given}: given twice; give each once")
        check_judge(name)
        for member in members_of(name):
            if member.startswith(PREFIX):
                with opened(member, settings, rubrics):
                    pass  # nothing is sent; a missing key or a broken address is found out
        names.append(name)
    return Named(tuple(names), rubrics)


def is_guard(name: str) -> bool:
    """Return whether a judge, not a panel, is a model that runs here or on actors: a guard or a classifier."""
    return not is_immediate(name) and not name.startswith(PREFIX)


def _is_unlabelled(name: str) -> bool:
    return name.startswith("hf:") and "#" not in name


def check_judge(name: str) -> None:
    """Find out, before anything is measured, that there is such a judge, and that what it needs is installed.

    Raises:
        InputError: there is none, or something is missing; the message says what to type.

    """
    for member in members_of(name):
        if is_immediate(member):
            judge_named(member)
        elif member.startswith(PREFIX):
            check_api_judge(member)
        elif (classifier := classifier_named(member)) is not None:
            if not classifier.outcomes:
                classifier.outcomes_of(labels_of(resolve(classifier.place)))
        else:
            guard_named(member)


@contextlib.contextmanager
def opened(name: str, settings: Judging, rubrics: Mapping[str, str], *, most: int = 1) -> Iterator[Sequence[Judge]]:
    """A judge, for as long as it is needed: then its processes, or its connections, end.

    Args:
        name: Of the judge; not of a panel.
        settings: How it works.
        rubrics: Texts of rubrics from files, by judge.
        most: How many of it have something to read.

    Yields:
        It, as often as it reads side by side: once, but for a guard that has actors.

    Raises:
        InputError: there is no such judge, or it cannot be used here.
        RunError: its process died.

    """
    if is_immediate(name):
        yield [judge_named(name)]
    elif name.startswith(PREFIX):
        with open_api_judge(
            name,
            base_url=settings.base_url,
            max_requests=settings.max_requests,
            requests_per_minute=settings.requests_per_minute,
            concurrency=settings.concurrency,
            rubrics=rubrics,
        ) as judge:
            yield [judge]
    elif (classifier := classifier_named(name)) is not None:
        model = resolve(classifier.place)
        labels = labels_of(model)
        classifier.outcomes_of(labels)
        made_of = identity(model)
        with _guards(classifier.place, "labels", settings, most) as readers:
            yield [ClassifierJudge(classifier, labels, reader, made_of) for reader in readers]
    elif (placed := guard_named(name)) is not None:
        model = resolve(placed.place)
        made_of = identity(model)
        with _guards(placed.place, "words", settings, most) as readers:
            yield [GuardJudge(name, placed.guard, reader, made_of) for reader in readers]
    else:
        raise InputError(f"--judge {name}: no such judge")


@contextlib.contextmanager
def _guards(place: str, kind: GuardKind, settings: Judging, most: int) -> Iterator[Sequence[AskedGuard]]:
    if settings.placement.is_local:
        with GuardProcess(place, kind=kind, device=settings.device) as process:
            yield [process]
        return
    from safescape.judge_runtime.ray import guards_on  # needs Ray, which is an extra

    with guards_on(settings.placement, place, kind=kind, device=settings.device, most=most) as guards:
        yield guards
