"""The check of answers that ended as noise: a random one percent of them is asked again and written to its end.

It is made once, when all points are measured, so that it does not depend on where the run was interrupted. Its answers
are no figures of the landscape; `landscape.noise` reports how many of their verdicts differ.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from safescape.judges import EvidenceJudge, Judge, verdict_unread
from safescape.landscape import sample_design
from safescape.measure.evidence import evidence_of
from safescape.measure.workers import Workers
from safescape.store import EndedAnswer, Store, WholeAnswer
from safescape.survey import Answer, Exchange, Point, PromptProbe, Survey

_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """Answers to one probe at one point."""

    point: Point
    probe: str
    answers: tuple[EndedAnswer, ...]


def sample_of(ended: Sequence[EndedAnswer], survey: Survey) -> list[Asked]:
    """Draw one percent of the answers that ended as noise, by the survey alone.

    Points are drawn with probabilities in proportion to such answers (systematically, so that they lie apart), and
    then answers at each of them: every answer is as likely to be drawn, as long as a point has enough of them.

    Args:
        ended: In the survey's order.
        survey: Its digest is the seed.

    """
    if not ended:
        return []
    draw = random.Random(f"noise {survey.digest}")
    there: dict[Point, list[EndedAnswer]] = {}
    for answer in ended:
        there.setdefault(answer.point, []).append(answer)
    draws, each = sample_design(len(ended))
    step = len(ended) / draws
    ends = list(accumulate(map(len, there.values())))
    start = draw.random() * step
    hits = [sum(end <= start + step * turn for end in ends) for turn in range(draws)]
    found = []
    for place, point in enumerate(there):
        if times := hits.count(place):
            some = draw.sample(there[point], min(len(there[point]), times * each))
            for probe in dict.fromkeys(answer.probe for answer in some):
                given = sorted((answer for answer in some if answer.probe == probe), key=lambda each: each.number)
                found.append(Asked(point, probe, tuple(given)))
    return found


def is_checked(store: Store) -> bool:
    """Return whether no answer ended as noise, or some of them were asked again."""
    ended, _ = store.noise.count()
    return not ended or bool(store.noise.whole())


def ask_again(workers: Workers, store: Store, judges: Mapping[str, Judge]) -> None:
    """Ask a sample of the answers that ended as noise again, write them to their end, judge them, and store both.

    Raises:
        RunError: they could not be stored.

    """
    survey = store.survey
    asked = sample_of(store.noise.ended(), survey)
    whole: list[tuple[EndedAnswer, Answer]] = []
    for point, probe, answers in asked:
        found = workers.ask_whole(point, probe, [answer.number for answer in answers])
        whole += zip(answers, found, strict=True)
    _log.debug("asked %d answers that ended as noise again, at %d points", len(whole), len({a.point for a in asked}))
    prompts = {probe.name: probe.prompts for probe in survey.probes if isinstance(probe, PromptProbe)}
    exchanges = [Exchange(prompts[ended.probe][ended.number], answer.response.text) for ended, answer in whole]
    outcomes = [{name: verdict.outcome for name, verdict in answer.verdicts.items()} for _, answer in whole]
    for name, judge in judges.items():
        if not isinstance(judge, EvidenceJudge):
            continue
        unread = [
            verdict_unread(answer.response.finish, is_unanswered=answer.response.is_unanswered) is not None
            for _, answer in whole
        ]
        wants = judge.wants_evidence(exchanges)
        numbers = [number for number, wanted in enumerate(wants) if wanted and not unread[number]]
        if not numbers:
            continue
        texts = [(whole[number][0].probe, whole[number][0].number, exchanges[number].response) for number in numbers]
        evidence = evidence_of(workers.at_origin(), store, texts)
        weighed = [exchanges[n]._replace(evidence=each) for n, each in zip(numbers, evidence, strict=True)]
        for number, verdict in zip(numbers, judge.judge(weighed), strict=True):
            outcomes[number][name] = verdict.outcome
    store.noise.add(
        [
            WholeAnswer(ended.response, answer.response.text, answer.response.finish, answer.response.tokens, found)
            for (ended, answer), found in zip(whole, outcomes, strict=True)
        ]
    )
