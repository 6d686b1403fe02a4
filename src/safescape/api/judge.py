"""`judge`: exchanges from anywhere, and the stored answers of a run. Nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from safescape.api.options import device_on
from safescape.api.run import Run, report_of
from safescape.errors import InputError
from safescape.judge_runtime import (
    JudgeProgress,
    JudgeSettings,
    is_model,
    judge_exchanges,
    judge_stored,
    resolve_judges,
    update_panels,
)
from safescape.judges import EvidenceJudge, immediate_judges
from safescape.landscape import SAFE_BELOW
from safescape.measure import collect_stored_evidence, has_evidence
from safescape.placement import Placement, check_placement
from safescape.store import Store
from safescape.survey import REFUSAL, Exchange, Verdict, members_of, parse_judge_name
from safescape.weights import inspect, resolve

__all__ = ["Reading", "judge", "judge_run"]


class Reading(TypedDict, total=False):
    """How judges read; the keywords that `judge` and `judge_run` share."""

    labels: str | None
    """What the labels of `hf:ID` mean: `LABEL=OUTCOME,LABEL=OUTCOME`."""
    rubric: str | None
    """What `openai:MODEL` goes by: `strongreject`, `policy`, or a text file."""
    device: str | None
    """Where a guard model runs; by default the first GPU if there is one."""
    workers: int | None
    """So many guards read side by side, each in a process of its own; needs Ray."""
    ray: str | None
    """A Ray on which they do, instead: `auto` or HOST:PORT; with `workers` so many, else as many as have room."""
    gpus_per_worker: float | None
    """GPUs that each of them is given; by default one where they run on GPUs."""
    base_url: str | None
    """Of the server behind `openai:MODEL`; by default what OPENAI_BASE_URL says, else OpenAI's own."""
    max_requests: int | None
    """The most requests sent to it."""
    requests_per_minute: int | None
    """The most of them in a minute."""
    concurrency: int
    """The most of them under way at once; 8 by default."""


def judge(exchanges: Iterable[tuple[str, str]], judge: str = REFUSAL, **reading: Unpack[Reading]) -> list[Verdict]:
    """Judge answers, wherever they came from; no model under test and no run is needed.

    Args:
        exchanges: (prompt, response) pairs.
        judge: `keyword`, `refusal`, a guard model such as `llama-guard-3`, `hf:ID`, `openai:MODEL`,
            `package.module:object`, or a panel such as `majority(keyword,refusal)`.
        reading: How it reads; see `Reading`.

    Returns:
        One verdict a pair, in their order: its outcome, the judge's reason, and the probability that the answer
        complied with its prompt, where the judge states one.

    Raises:
        InputError: there is no such judge, it cannot be used here, or a pair is none.
        RunError: the judge could not go on.

    """
    settings = _settings(reading)
    (name,), rubrics = resolve_judges([judge], settings, labels=reading.get("labels"), rubric=reading.get("rubric"))
    _check_actors([name], settings)
    return judge_exchanges([_exchange(number, pair) for number, pair in enumerate(exchanges)], name, settings, rubrics)


def _settings(reading: Reading) -> JudgeSettings:
    placement = Placement(reading.get("workers"), reading.get("ray"), reading.get("gpus_per_worker"))
    device = device_on(placement, reading.get("device"))
    check_placement(placement, device)
    return JudgeSettings(
        device=device,
        placement=placement,
        base_url=reading.get("base_url"),
        max_requests=reading.get("max_requests"),
        requests_per_minute=reading.get("requests_per_minute"),
        concurrency=reading.get("concurrency", 8),
    )


def _check_actors(names: Sequence[str], settings: JudgeSettings) -> None:
    """Find out that there is something to put where actors are asked for."""
    if settings.placement.is_local or any(is_model(member) for name in names for member in members_of(name)):
        return
    workers, ray = settings.placement.workers, settings.placement.ray
    asked = f"--workers {workers}" if ray is None else f"--ray {ray}"
    which = " and ".join(names)
    raise InputError(f"{asked}: is for guard models and classifiers, which {which} is none of; leave it out")


def _exchange(number: int, pair: object) -> Exchange:
    match pair:
        case [str(prompt), str(response), *_]:
            return Exchange(prompt, response)
    raise InputError(f"exchange {number}: {pair!r:.80}; expected a pair of texts, (prompt, response)")


def judge_run(
    directory: str | Path,
    judges: Sequence[str],
    *,
    panel: Literal["majority", "all"] | None = None,
    text_only: bool = False,
    again: bool = False,
    safe_below: float = SAFE_BELOW,
    on_progress: Callable[[JudgeProgress], None] | None = None,
    **reading: Unpack[Reading],
) -> Run:
    """Judge the stored answers of a run, or go on with it, and write its files anew. Nothing is generated.

    Answers that a judge has read before are not read again, unless `again` is said. The survey stays as it was; the
    figures of a judge that it does not name stand beside the others in `landscape.by_judge`.

    Args:
        directory: Of the run.
        judges: By name; see `judge`.
        panel: Count their verdicts as one judge's too: by majority, or only what all agree on.
        text_only: Let `refusal` tell noise from answers by the text alone, as it does where the run's model is gone.
            Otherwise that model is loaded, unmoved, to say how likely it finds them.
        again: Let these judges read every answer anew, also those that they have read. What they said before is kept
            until they have said something else.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        on_progress: Told as the answers are judged.
        reading: How they read; see `Reading`.

    Raises:
        InputError: it is not a run directory, there is no such judge, or its answers were cut too early for the judge.
        RunError: the judge could not go on; what it had judged is stored.

    """
    place, told, settings = Path(directory), on_progress or (lambda _: None), _settings(reading)
    with Store.read(place) as store:
        survey, known = store.survey, store.verdicts.rubrics()
    names, rubrics = resolve_judges(
        judges, settings, labels=reading.get("labels"), rubric=reading.get("rubric"), known=known
    )
    _check_actors(names, settings)
    if panel is not None:
        names = (*names, parse_judge_name(f"{panel}({','.join(names)})").text)
    with Store.claim(place, survey) as store:
        try:
            judge_stored(store, names, settings, again=again, rubrics=rubrics, on_progress=told)
            if not text_only:
                _weigh(store, names, told)
            update_panels(store, names)
        finally:
            run = report_of(store, safe_below)
        return run


def _weigh(store: Store, judges: Sequence[str], told: Callable[[JudgeProgress], None]) -> None:
    """Let the origin read the answers, for a judge that wants to know; or say that it is gone."""
    survey = store.survey
    by_name = immediate_judges(judges)
    wanting = {name: judge for name, judge in by_name.items() if isinstance(judge, EvidenceJudge)}
    finished = store.points.finished()
    points = [point for point in survey.points() if point in finished]
    if has_evidence(store, points, wanting):
        return
    try:
        model = resolve(survey.model)
        if inspect(model.weights) != survey.model_fingerprint:
            raise InputError(f"{survey.model} is another model now")
    except InputError as error:
        told(JudgeProgress(REFUSAL, note=f"reads the text alone, as the origin is gone: {error}"))
        return
    collect_stored_evidence(
        survey, model, store, wanting, lambda done: told(JudgeProgress(REFUSAL, done, len(points), "points"))
    )
