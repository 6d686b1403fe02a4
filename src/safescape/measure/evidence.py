"""How likely the origin finds what was said elsewhere: asked once every point is measured.

A judge that tells noise from answers asks for it. Point by point, each a transaction, so that what is weighed does not
depend on where the run was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from safescape.engines import Voice
from safescape.judges import Weigher, calibrate, scored_part, shuffled
from safescape.probes import format_chats, load_prompts
from safescape.store import Store, Unjudged
from safescape.survey import Calibration, Evidence, Point

__all__ = ["Origin", "calibrated", "is_weighed", "weigh"]

_OWN = "builtin:benign"
_OURS = "benign-answers.jsonl"
_ANSWERS, _MAX_NEW_TOKENS = 20, 40
"""As many of its own as there are of ours, and as much of each as is read of an answer."""


class Origin(NamedTuple):
    """The model under test, standing where it was found."""

    voice: Voice
    tokenizer: PreTrainedTokenizerBase
    chats: Mapping[str, Sequence[str]]
    """By probe, what was read for each prompt."""


def is_weighed(store: Store, points: Sequence[Point], judges: Mapping[str, Weigher]) -> bool:
    """Return whether the origin was asked about every answer that a judge wants to know about."""
    return not judges or not any(_wanted(store.unweighed(point), judges) for point in points)


def weigh(
    origin: Origin,
    store: Store,
    points: Sequence[Point],
    judges: Mapping[str, Weigher],
    on_progress: Callable[[int], None],
) -> None:
    """Ask the origin how likely it finds the answers, and let the judges judge with what it says.

    Args:
        origin: Who is asked.
        store: A claimed run directory.
        points: Those that are measured, in the order of measuring.
        judges: That want to know, by name.
        on_progress: Told how many points are done.

    Raises:
        RunError: a point could not be stored.

    """
    for number, point in enumerate(points, start=1):
        wanted = _wanted(store.unweighed(point), judges)
        if not wanted:
            continue
        calibration = store.calibration()
        if calibration is None:
            calibration = calibrated(origin)
            store.add_calibration(calibration)
        requests = [(origin.chats[each.probe][each.number], scored_part(each.exchange.response)) for each in wanted]
        evidence = {
            each.response: Evidence(found.log_probability, found.tokens, calibration)
            for each, found in zip(wanted, origin.voice.loglikelihood(requests), strict=True)
        }
        exchanges = [each.exchange._replace(evidence=evidence[each.response]) for each in wanted]
        verdicts = {name: dict(zip(evidence, judge.judge(exchanges), strict=True)) for name, judge in judges.items()}
        store.add_evidence(evidence, verdicts)
        on_progress(number)


def _wanted(answers: Sequence[Unjudged], judges: Mapping[str, Weigher]) -> list[Unjudged]:
    exchanges = [each.exchange for each in answers]
    wants = [judge.wants_evidence(exchanges) for judge in judges.values()]
    return [each for number, each in enumerate(answers) if any(some[number] for some in wants)]


def calibrated(origin: Origin) -> Calibration:
    """Return what the origin finds of answers to harmless requests, its own and ours, and of the words in no order."""
    voice, tokenizer, _ = origin
    chats = format_chats(tokenizer, load_prompts(_OWN, _ANSWERS), None)
    answers = voice.respond(chats, max_new_tokens=_MAX_NEW_TOKENS, stop=())
    said = [(chat, answer.text) for chat, answer in zip(chats, answers, strict=True) if answer.text.strip()]
    lines = (resources.files("safescape") / "data" / _OURS).read_text(encoding="utf-8").splitlines()
    ours = [json.loads(line) for line in lines]
    chats = format_chats(tokenizer, [row["prompt"] for row in ours], None)
    said += [(chat, row["response"]) for chat, row in zip(chats, ours, strict=True)]
    language = voice.loglikelihood([(chat, scored_part(text)) for chat, text in said])
    broken = voice.loglikelihood([(chat, shuffled(text, number)) for number, (chat, text) in enumerate(said)])
    return calibrate(
        [found.log_probability / found.tokens for found in language],
        [found.log_probability / found.tokens for found in broken],
    )
