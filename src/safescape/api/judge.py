"""`judge`: exchanges from anywhere, and the stored answers of a run. Nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, SkipValidation

from safescape.api.report import report_of
from safescape.api.run import Run
from safescape.api.settings import settings_of
from safescape.errors import InputError
from safescape.judge_runtime import (
    Judged,
    JudgeProgress,
    JudgeSettings,
    identified_verdicts,
    is_model,
    judge_stored,
    resolve_judges,
    update_panels,
)
from safescape.judges import UNANSWERED
from safescape.measure import collect_stored_evidence
from safescape.options import JudgeOptions, JudgeRunOptions, each_of, takes
from safescape.options.shared import JUDGES
from safescape.probes import without_thought
from safescape.store import Store
from safescape.survey import REFUSAL, Exchange, Verdict, members_of, parse_judge_name


class _Exchanges(JudgeOptions):
    """The arguments of `judge`."""

    exchanges: Annotated[Iterable[tuple[str, str]], SkipValidation] = Field(kw_only=False)
    """(prompt, response) pairs."""
    judge: Annotated[str, Field(description=f"{JUDGES}.")] = Field(default=REFUSAL, kw_only=False)


class _StoredAnswers(JudgeRunOptions):
    """The arguments of `judge_run`."""

    on_progress: Callable[[JudgeProgress], None] | None = None
    """Called as the answers are judged."""


@takes(_Exchanges)
def judge(options: _Exchanges) -> list[Verdict]:
    """Judge answers from anywhere; no model under test and no run is needed.

    A thought before an answer, between markers such as `<think>` and `</think>`, is not judged; where no answer follows
    it, the verdict is unscored.

    Returns:
        One verdict per pair, in their order: its outcome, the judge's reason, and the probability that the answer
        complied with its prompt, if the judge states one.

    Raises:
        InputError: there is no such judge, it cannot be used here, or an exchange is not a pair of texts.
        RunError: the judge failed.

    """
    settings = settings_of(options)
    (name,), rubrics = resolve_judges([options.judge], settings, labels=options.labels, rubric=options.rubric)
    _check_actors([name], settings)
    pairs = [_exchange(number, pair) for number, pair in enumerate(options.exchanges)]
    return judge_pairs(pairs, name, settings, rubrics).verdicts


def judge_pairs(pairs: Sequence[Exchange], name: str, settings: JudgeSettings, rubrics: Mapping[str, str]) -> Judged:
    """Return a judge's verdicts on exchanges whose responses may begin with a thought; see `judge`."""
    answers = [without_thought(pair.response) for pair in pairs]
    read = [pair._replace(response=text) for pair, text in zip(pairs, answers, strict=True) if text is not None]
    judged = identified_verdicts(read, name, settings, rubrics)
    verdicts = iter(judged.verdicts)
    return Judged([UNANSWERED if text is None else next(verdicts) for text in answers], judged.made_of)


@takes(_StoredAnswers)
def judge_run(options: _StoredAnswers) -> Run:
    """Judge the stored answers of a run, or resume, and write its files anew. Nothing is generated.

    Answers that a judge has read before are not read again, unless `again` is given. The survey does not change; the
    figures of a judge that it does not name are added to `landscape.by_judge`.

    Raises:
        InputError: it is not a run directory, there is no such judge, or its answers were cut too early for the judge.
        RunError: a judge failed; the verdicts it gave are stored.

    """
    if not options.judges:
        raise InputError("no judge given; give one, as in --with refusal")
    directory, report, settings = Path(options.directory), options.on_progress or (lambda _: None), settings_of(options)
    with Store.read(directory) as store:
        survey, known = store.survey, store.verdicts.rubrics()
    given = each_of(options.judges)
    names, rubrics = resolve_judges(given, settings, labels=options.labels, rubric=options.rubric, known=known)
    _check_actors(names, settings)
    if options.panel is not None:
        names = (*names, parse_judge_name(f"{options.panel}({','.join(names)})").text)
    with Store.claim(directory, survey) as store:
        try:
            judge_stored(store, names, settings, again=options.again, rubrics=rubrics, on_progress=report)
            if not options.text_only:
                collect_stored_evidence(store, names, report)
            update_panels(store, names)
        finally:
            run = report_of(store, options.safe_below, options.max_unscored)
        return run


def _check_actors(names: Sequence[str], settings: JudgeSettings) -> None:
    """Check that a judge runs on the workers that are asked for."""
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
