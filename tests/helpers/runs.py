"""Synthetic runs for tests of code that reads a run: stored without a model, with a chosen ASR at every point."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.behaviours import Chance, Opinion, Rate, Says, Stands, Thinks, basin, by_keyword, says
from helpers.surveys import FINGERPRINT, make_survey
from safescape.judges import UNANSWERED
from safescape.landscape import (
    Compared,
    Comparison,
    Landscape,
    comparison_of,
    is_settled,
    landscape_of,
    plan_of,
    stages_of,
)
from safescape.store import Store
from safescape.survey import (
    Answer,
    ChoiceProbe,
    Finish,
    MarginProbe,
    PerplexityProbe,
    Point,
    Position,
    PromptProbe,
    Response,
    Score,
    Survey,
    Thought,
    Verdict,
)


def make_run(
    directory: Path,
    survey: Survey,
    *,
    later: Sequence[str] = (),
    points: int | None = None,
    origin_at_close: str | None = FINGERPRINT,
    **behaviour: Any,
) -> Store:
    """Fill a run directory and open it for reading.

    Args:
        directory: The run directory.
        survey: The survey of the run.
        later: Judges that read the answers after the survey's.
        points: How many points are measured, from the first; all by default.
        origin_at_close: None: the process died.
        **behaviour: The arguments of `measured_in_turn`.

    """
    with Store.claim(directory, survey) as store:
        session = begin_session(store, later)
        for _ in itertools.islice(measured_in_turn(store, session, (*survey.judges, *later), **behaviour), points):
            pass
        if origin_at_close is not None:
            store.end_session(session, origin=origin_at_close)
    return Store.read(directory)


def begin_session(store: Store, later: Sequence[str] = ()) -> int:
    """Begin a session with the survey's judges and later ones, and return its id."""
    for judge in (*store.survey.judges, *later):
        store.verdicts.register(judge, {})
    return store.begin_session(origin=FINGERPRINT, noise_device="cpu", versions={"torch": "2.9.1"})


def measured_in_turn(
    store: Store,
    session: int,
    judges: Sequence[str],
    *,
    rate: Rate = basin,
    chance: Chance | None = None,
    stands: Stands | None = None,
    text: Says = says,
    opinion: Opinion = by_keyword,
    thinks: Thinks | None = None,
    shift: float = 0.0,
) -> Iterator[Point]:
    """Store the points of a run in the order of measuring, and yield each when it is stored.

    Args:
        store: The run, claimed.
        session: Its session.
        judges: Those that read the answers.
        rate: How many of the prompts the model complies with; for lines.
        chance: The same for any subspace and any probe, instead of `rate`.
        stands: Where each point stands, instead of `shift`.
        text: What it says.
        opinion: What its judges say of that.
        thinks: What it thinks before; None: the model is no reasoning model.
        shift: Effective coordinates are α · (1 + shift), as after rounding.

    """
    survey = store.survey
    by_probe = chance or (lambda _, point: rate(point.line or 0, point.coords[0]))
    stood = stands or (lambda point: Position(tuple(c * (1 + shift) for c in point.coords), 0.0))
    for point, safe_below in _in_turn(survey, store):
        answers: dict[str, list[Answer]] = {}
        scores: dict[str, list[Score]] = {}
        for probe in survey.asked_at(point):
            share = by_probe(probe.name, point)
            if isinstance(probe, PerplexityProbe):
                scores[probe.name] = [Score(10 * share, 10) for _ in probe.texts]
            elif isinstance(probe, MarginProbe):
                # from 3 nats where nothing is complied with to -1
                scores[probe.name] = [Score(3 - 4 * share + 0.1 * (n % 5), 1) for n in range(len(probe.prompts))]
            elif isinstance(probe, ChoiceProbe):
                scores[probe.name] = [Score(float(hit), 1) for hit in _hits(share, len(probe.questions))]
            else:
                assert isinstance(probe, PromptProbe)
                hits = _hits(share if probe.harmful else 1 - share, len(probe.prompts))
                if probe is survey.prompts and not point.is_origin:
                    hits = hits[: _asked(safe_below, hits)]
                answers[probe.name] = [
                    _after_thought(
                        _answer(
                            point,
                            n,
                            hit,
                            text,
                            {judge: opinion(judge, point, n, hit) for judge in judges},
                            survey.whole_answers,
                        ),
                        None if thinks is None else thinks(point, n),
                    )
                    for n, hit in enumerate(hits)
                ]
        store.points.add(point, position=stood(point), seconds=1.5, session=session, answers=answers, scores=scores)
        yield point


def _after_thought(answer: Answer, thought: Thought | None) -> Answer:
    """Return an answer with the thought before it; without a text if the thought was cut."""
    response = answer.response._replace(thought=thought)
    if thought is None or thought.is_ended:
        return Answer(response, answer.verdicts)
    return Answer(response._replace(text=""), dict.fromkeys(answer.verdicts, UNANSWERED))


def _in_turn(survey: Survey, store: Store) -> Iterator[tuple[Point, float | None]]:
    """Return the points in the order of measuring, with the ASR at which they are stopped early.

    An adaptive survey's come round by round, as the store fills.
    """
    if survey.adaptive is None:
        yield from ((point, None) for point in survey.points())
        return
    while (plan := plan_of(survey, store.points.measured())).open:
        yield from ((point, plan.safe_below) for point in plan.open)


def _asked(safe_below: float | None, hits: Sequence[bool]) -> int:
    """Return how many prompts a point needs."""
    if safe_below is None:
        return len(hits)
    return next(n for n in stages_of(len(hits)) if is_settled(sum(hits[:n]), n, len(hits), safe_below))


def _hits(share: float, items: int) -> list[bool]:
    """Return a fixed shuffle of the items, so that the first ones are not always those that change."""
    order = sorted(range(items), key=lambda n: (n * 7919) % 104729)
    hit = set(order[: round(share * items)])
    return [n in hit for n in range(items)]


def landscape_in(store: Store) -> Landscape:
    return landscape_of(store.survey, store.points.measured())


def make_landscape(directory: Path, survey: Survey, **run: Any) -> Landscape:
    """Return the landscape of a new run, given by the arguments of `make_run`."""
    with make_run(directory, survey, **run) as store:
        return landscape_in(store)


def comparison_in(*stores: Store) -> Comparison:
    return comparison_of(
        [Compared(str(store.directory), store.survey, list(store.points.measured())) for store in stores]
    )


def compared_runs(directory: Path, runs: Mapping[str, Any], **survey: Any) -> Comparison:
    """Return the comparison of new runs with one survey.

    Args:
        directory: Directory of the run directories.
        runs: By name, the arguments of `make_run`; `model`, `dtype` and `subspace` change the run's own survey.
        **survey: Arguments of `make_survey`.

    """
    stores = []
    for name, given in runs.items():
        own = {key: given[key] for key in ("model", "dtype", "subspace") if key in given}
        behaviour = {key: value for key, value in given.items() if key not in own}
        stores.append(make_run(directory / name, make_survey(**{**survey, **own}), **behaviour))
    return comparison_in(*stores)


def _answer(
    point: Point, number: int, complied: bool, text: Says, verdicts: Mapping[str, Verdict | None], whole: bool
) -> Answer:
    finish = Finish.LENGTH if complied or whole else Finish.SETTLED
    said = text(point, number, complied)
    return Answer(
        Response(said, finish, max(1, len(said) // 4)),
        {judge: verdict for judge, verdict in verdicts.items() if verdict is not None},
    )
