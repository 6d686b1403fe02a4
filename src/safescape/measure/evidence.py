"""Evidence for judges that tell noise from answers: the log-likelihood of stored answers under the origin.

It is collected when all points are measured, for several points at a time, each group of them in one transaction. The
groups are formed from the first point on, so that they do not depend on where the run was interrupted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from safescape.engines import Voice
from safescape.judges import EvidenceJudge, calibrate, scored_part, shuffled, verdict_unread
from safescape.probes import load_prompts
from safescape.store import Store, StoredExchange
from safescape.survey import Calibration, Evidence, Finish, Point

_log = logging.getLogger(__name__)

_PROMPTS = "builtin:benign"
_REFERENCE = "benign-answers.jsonl"
"""Shipped answers to harmless prompts."""
_ANSWERS = 20
"""Number of answers that the origin itself generates; there are as many shipped ones."""
_MAX_NEW_TOKENS = 40
"""Number of tokens of each; no more tokens of any answer are scored."""
_TOGETHER = 64
"""Number of answers at which a group of points is complete: as many as keep a CPU busy in one pass."""


class Origin(NamedTuple):
    """The unmoved model under test."""

    voice: Voice
    chats: Mapping[str, Sequence[str]]
    """By probe and prompt, the text that the model reads up to where an answer without a thought begins."""
    calibration: Sequence[str]
    """The same of the prompts of `calibration_prompts`."""


def has_evidence(store: Store, points: Sequence[Point], judges: Mapping[str, EvidenceJudge]) -> bool:
    """Return whether the origin has scored every answer for which a judge needs evidence."""
    return not judges or not any(_wanted(store.evidence.missing(point), judges) for point in points)


def collect_evidence(
    origin: Origin,
    store: Store,
    points: Sequence[Point],
    judges: Mapping[str, EvidenceJudge],
    on_progress: Callable[[int], None],
) -> None:
    """Score answers with the origin for judges that need evidence, and store the resulting verdicts.

    `points` are the finished points, in the order of measuring; `on_progress` is told how many of them are done.

    Raises:
        RunError: the evidence could not be stored.

    """
    for number, wanted in _groups(store, points, judges):
        found = evidence_of(origin, store, [(each.probe, each.number, each.exchange.response) for each in wanted])
        evidence = {each.response: given for each, given in zip(wanted, found, strict=True)}
        exchanges = [each.exchange._replace(evidence=evidence[each.response]) for each in wanted]
        verdicts = {name: dict(zip(evidence, judge.judge(exchanges), strict=True)) for name, judge in judges.items()}
        store.evidence.add(evidence, verdicts)
        _log.debug("the origin scored %d answers; %d of %d points are done", len(wanted), number, len(points))
        on_progress(number)


def _groups(
    store: Store, points: Sequence[Point], judges: Mapping[str, EvidenceJudge]
) -> Iterator[tuple[int, list[StoredExchange]]]:
    """Yield the answers of each group of points, with the number of points up to its end."""
    group: list[StoredExchange] = []
    for number, point in enumerate(points, start=1):
        group += _wanted(store.evidence.missing(point), judges)
        if len(group) >= _TOGETHER or (group and number == len(points)):
            yield number, group
            group = []


def evidence_of(origin: Origin, store: Store, answers: Sequence[tuple[str, int, str]]) -> list[Evidence]:
    """Return the evidence of answers, each given by its probe, the index of its prompt and its text.

    The origin is calibrated first, and the calibration stored, if it was not yet.
    """
    calibration = store.evidence.calibration()
    if calibration is None:
        calibration = calibration_of(origin)
        store.evidence.add_calibration(calibration)
    requests = [(origin.chats[probe][number], scored_part(text)) for probe, number, text in answers]
    return [
        Evidence(found.log_probability, found.tokens, calibration)
        for found in origin.voice.loglikelihood(requests, raw=False)
    ]


def _wanted(answers: Sequence[StoredExchange], judges: Mapping[str, EvidenceJudge]) -> list[StoredExchange]:
    # the text of an answer that ended as noise decided it
    given = [
        each
        for each in answers
        if verdict_unread(each.finish, is_unanswered=each.is_unanswered) is None and each.finish is not Finish.NOISE
    ]
    exchanges = [each.exchange for each in given]
    wants = [judge.wants_evidence(exchanges) for judge in judges.values()]
    return [each for number, each in enumerate(given) if any(flags[number] for flags in wants)]


def calibration_prompts() -> list[str]:
    """Return harmless prompts: first those that the origin answers itself, then those of the shipped answers."""
    return [*load_prompts(_PROMPTS, _ANSWERS), *shipped_requests()]


def shipped_requests() -> tuple[str, ...]:
    """Return the harmless prompts of the shipped answers."""
    return tuple(row["prompt"] for row in _shipped())


def calibration_of(origin: Origin) -> Calibration:
    """Compare the origin's log-likelihoods of answers to harmless prompts with those of their words in random order.

    Half of the answers are the origin's own, the others are shipped.
    """
    voice, (own, others) = origin.voice, (origin.calibration[:_ANSWERS], origin.calibration[_ANSWERS:])
    generated = voice.respond(own, max_new_tokens=_MAX_NEW_TOKENS, stop=())
    pairs = [(chat, answer.text) for chat, answer in zip(own, generated, strict=True) if answer.text.strip()]
    pairs += [(chat, row["response"]) for chat, row in zip(others, _shipped(), strict=True)]
    language = voice.loglikelihood([(chat, scored_part(text)) for chat, text in pairs], raw=False)
    broken = voice.loglikelihood([(chat, shuffled(text, n)) for n, (chat, text) in enumerate(pairs)], raw=False)
    return calibrate(
        [found.log_probability / found.tokens for found in language],
        [found.log_probability / found.tokens for found in broken],
    )


def _shipped() -> list[dict[str, str]]:
    lines = (resources.files("safescape") / "data" / _REFERENCE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
