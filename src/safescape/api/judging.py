"""`judge`: exchanges from anywhere, and the stored answers of a run. Nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from safescape.api.run import Run, report_of
from safescape.errors import InputError
from safescape.judges import Weigher, is_immediate, judge_named, members_of
from safescape.judging import Judging, JudgingProgress, check_judge, judge_exchanges, judge_stored, named
from safescape.landscape import SAFE_BELOW
from safescape.measure import weigh_stored
from safescape.store import Store
from safescape.survey import REFUSAL, Exchange, Survey, Verdict
from safescape.weighing import is_weighed
from safescape.weights import inspect, resolve

__all__ = ["judge", "judge_run"]


def judge(
    exchanges: Iterable[tuple[str, str]],
    judge: str = REFUSAL,
    *,
    labels: str | None = None,
    rubric: str | None = None,
    device: str | None = None,
    base_url: str | None = None,
    max_requests: int | None = None,
    requests_per_minute: int | None = None,
    concurrency: int = 8,
) -> list[Verdict]:
    """Judge answers, wherever they came from; no model under test and no run is needed.

    Args:
        exchanges: (prompt, response) pairs.
        judge: `keyword`, `refusal`, a guard model such as `llama-guard-3`, `hf:ID`, `openai:MODEL`,
            `package.module:object`, or a panel such as `majority(keyword,refusal)`.
        labels: What the labels of `hf:ID` mean: `LABEL=OUTCOME,LABEL=OUTCOME`.
        rubric: What `openai:MODEL` goes by: `strongreject`, `policy`, or a text file.
        device: Where a guard model runs; by default the first GPU if there is one.
        base_url: Of the server behind `openai:MODEL`; by default what OPENAI_BASE_URL says, else OpenAI's own.
        max_requests: The most requests sent to it.
        requests_per_minute: The most of them in a minute.
        concurrency: The most of them under way at once.

    Returns:
        One verdict a pair, in their order: its outcome, the judge's reason, and the probability that the answer
        complied with its prompt, where the judge states one.

    Raises:
        InputError: there is no such judge, it cannot be used here, or a pair is none.
        RunError: the judge could not go on.

    """
    settings = Judging(device, base_url, max_requests, requests_per_minute, concurrency)
    (name,), rubrics = named([judge], settings, labels=labels, rubric=rubric)
    return judge_exchanges([_exchange(number, pair) for number, pair in enumerate(exchanges)], name, settings, rubrics)


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
    labels: str | None = None,
    rubric: str | None = None,
    device: str | None = None,
    base_url: str | None = None,
    max_requests: int | None = None,
    requests_per_minute: int | None = None,
    concurrency: int = 8,
    text_only: bool = False,
    again: bool = False,
    safe_below: float = SAFE_BELOW,
    on_progress: Callable[[JudgingProgress], None] | None = None,
) -> Run:
    """Judge the stored answers of a run, or go on with it, and write its files anew. Nothing is generated.

    Answers that a judge has read before are not read again, unless `again` is said. The survey stays as it was; the
    figures of a judge that it does not name stand beside the others in `landscape.by_judge`.

    Args:
        directory: Of the run.
        judges: By name; see `judge`.
        panel: Count their verdicts as one judge's too: by majority, or only what all agree on.
        labels: See `judge`, as for the next six.
        rubric: See `judge`.
        device: See `judge`.
        base_url: See `judge`.
        max_requests: See `judge`.
        requests_per_minute: See `judge`.
        concurrency: See `judge`.
        text_only: Let `refusal` tell noise from answers by the text alone, as it does where the run's model is gone.
            Otherwise that model is loaded, unmoved, to say how likely it finds them.
        again: Let these judges read every answer anew, also those that they have read.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        on_progress: Told as the answers are judged.

    Raises:
        InputError: it is not a run directory, there is no such judge, or the judge reads whole answers and these end
            where an earlier judge could already tell.
        RunError: the judge could not go on; what it had judged is stored.

    """
    settings = Judging(device, base_url, max_requests, requests_per_minute, concurrency)
    names, rubrics = named(judges, settings, labels=labels, rubric=rubric)
    if panel is not None:
        names = (*names, f"{panel}({','.join(names)})")
        check_judge(names[-1])
    place, told = Path(directory), on_progress or (lambda _: None)
    Store.read(place).close()
    survey = Survey.load(place / "survey.json")
    singly = list(dict.fromkeys(member for name in names for member in members_of(name)))
    with Store.claim(place, survey) as store:
        if again:
            store.forget([name for name in store.judges() if set(members_of(name)) & set(singly)])
        try:
            judge_stored(store, singly, settings, rubrics={**survey.rubrics, **rubrics}, on_progress=told)
            if not text_only:
                _weigh(store, singly, told)
            # panels, which count once all their members are done
            judge_stored(store, names, settings, rubrics={**survey.rubrics, **rubrics}, on_progress=told)
        finally:
            run = report_of(store, safe_below)
        return run


def _weigh(store: Store, judges: Sequence[str], told: Callable[[JudgingProgress], None]) -> None:
    """Let the origin read the answers, for a judge that wants to know; or say that it is gone."""
    survey = store.survey
    by_name = {name: judge_named(name) for name in judges if is_immediate(name)}
    wanting = {name: judge for name, judge in by_name.items() if isinstance(judge, Weigher)}
    finished = store.finished()
    points = [point for point in survey.points() if point in finished]
    if is_weighed(store, points, wanting):
        return
    try:
        model = resolve(survey.model)
        if inspect(model.weights) != survey.model_fingerprint:
            raise InputError(f"{survey.model} is another model now")
    except InputError as error:
        told(JudgingProgress(REFUSAL, note=f"reads the text alone, as the origin is gone: {error}"))
        return
    weigh_stored(
        survey, model, store, wanting, lambda done: told(JudgingProgress(REFUSAL, done, len(points), "points"))
    )
