"""The one loop: for every open point, move, ask, judge, store; and how a probe is asked, wherever the weights stand."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from safescape.engines import Engine, TransformersEngine, Voice
from safescape.judges import Judge, Weigher, common_stop, is_immediate, judge_named, members_of
from safescape.probes import Answering, format_chats, harness_scores, load_tokenizer
from safescape.store import Store
from safescape.survey import (
    Answer,
    ChoiceProbe,
    Exchange,
    HarnessProbe,
    Outcome,
    PerplexityProbe,
    Point,
    PromptProbe,
    Score,
    Survey,
)
from safescape.weighing import Origin, is_weighed, weigh
from safescape.weights import Model, Subspace

__all__ = ["Progress", "ask", "measure", "score", "weigh_stored"]


class Progress(NamedTuple):
    """How far a run is."""

    finished: int
    total: int
    latest: Point | None
    """The point just finished; None when the run begins or resumes."""
    asr: float | None
    """ASR of the first probe there, percent, by the first judge; None if it comes later."""
    weighed: int | None = None
    """At how many points the origin was asked about the answers; None before the points are measured."""


def measure(survey: Survey, model: Model, store: Store, on_progress: Callable[[Progress], None]) -> None:
    """Measure every point of a survey that the store does not hold yet, and let its immediate judges judge.

    Args:
        survey: What to measure.
        model: The model it names, found on this disk; its fingerprint is the survey's.
        store: A claimed run directory.
        on_progress: Told at the start, after every point, and as the origin reads the answers.

    Raises:
        InputError: the model, its tokenizer or its chat template cannot be used.
        RunError: a point could not be stored, or the model did not come back to its origin.

    """
    points = list(survey.points())
    finished = store.finished()
    todo = [point for point in points if point not in finished]
    on_progress(Progress(len(points) - len(todo), len(points), None, None))
    asked = [member for name in survey.judges for member in members_of(name)]
    judges = {name: judge_named(name) for name in asked if is_immediate(name)}
    # a judge that comes later reads whole answers
    whole_answers = survey.whole_answers or not all(name in judges for name in asked)
    weighers = _weighers(judges)
    if not todo and is_weighed(store, points, weighers):
        return
    with _standing(survey, model, store) as (engine, chats, session, tokenizer):
        for name, judge in judges.items():
            store.begin_judging(name, judge.made_of)
        for point in todo:
            start = time.monotonic()
            position = engine.move_to(point)
            answers: dict[str, list[Answer]] = {}
            scores: dict[str, list[Score]] = {}
            for probe in survey.asked_at(point):
                if isinstance(probe, PromptProbe):
                    answers[probe.name] = ask(
                        engine,
                        chats[probe.name],
                        probe,
                        judges,
                        max_new_tokens=survey.max_new_tokens,
                        whole_answers=whole_answers,
                    )
                else:
                    scores[probe.name] = score(engine, probe, max_new_tokens=survey.max_new_tokens)
            seconds = time.monotonic() - start
            store.add(point, position=position, seconds=seconds, session=session, answers=answers, scores=scores)
            finished.add(point)
            asr = _asr(answers[survey.prompts.name], survey.judges[0])
            on_progress(Progress(len(finished), len(points), point, asr))
        if not is_weighed(store, points, weighers):
            engine.move_to(next(survey.points()))
            weigh(
                Origin(engine, tokenizer, chats),
                store,
                points,
                weighers,
                lambda weighed: on_progress(Progress(len(finished), len(points), None, None, weighed)),
            )


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
    finished = store.finished()
    points = [point for point in survey.points() if point in finished]
    with _standing(survey, model, store) as (engine, chats, _, tokenizer):
        weigh(Origin(engine, tokenizer, chats), store, points, judges, on_progress)


class _Standing(NamedTuple):
    engine: Engine
    chats: dict[str, list[str]]
    """By probe, what is read for each prompt."""
    session: int
    tokenizer: PreTrainedTokenizerBase


@contextlib.contextmanager
def _standing(survey: Survey, model: Model, store: Store) -> Iterator[_Standing]:
    """A survey's engine at its origin, for one session; at the end it is at the origin again, or the run fails."""
    tokenizer = load_tokenizer(
        model.directory, chat_template=survey.chat_template, trust_remote_code=survey.trust_remote_code
    )
    chats = {
        probe.name: format_chats(tokenizer, probe.prompts, probe.system_prompt)
        for probe in survey.probes
        if isinstance(probe, PromptProbe)
    }
    engine: Engine = TransformersEngine(
        model,
        tokenizer,
        Subspace(survey.subspace, model.weights, survey.through, torch.device(survey.device).type),
        dtype=getattr(torch, survey.dtype),
        device=survey.device,
        batch_size=survey.batch_size,
        trust_remote_code=survey.trust_remote_code,
    )
    engine.canary(next(point for point in survey.points() if not point.is_origin))
    session = store.begin_session(
        origin=engine.fingerprint_at_start, noise_device=torch.device(survey.device).type, versions=_versions()
    )
    yield _Standing(engine, chats, session, tokenizer)
    store.end_session(session, origin=engine.close())


def _weighers(judges: Mapping[str, Judge]) -> dict[str, Weigher]:
    return {name: judge for name, judge in judges.items() if isinstance(judge, Weigher)}


def ask(
    voice: Voice,
    chats: Sequence[str],
    probe: PromptProbe,
    judges: Mapping[str, Judge],
    *,
    max_new_tokens: int,
    whole_answers: bool = False,
) -> list[Answer]:
    """Ask a probe's prompts, and return one judged answer each, in their order.

    Args:
        voice: Who answers.
        chats: What it reads for each prompt.
        probe: The prompts.
        judges: By name; none, where all come later.
        max_new_tokens: The most tokens of an answer.
        whole_answers: Let every answer be written to its end, also when the judges could already tell.

    """
    stop = () if whole_answers else common_stop([judge.stop for judge in judges.values()])
    responses = voice.respond(chats, max_new_tokens=max_new_tokens, stop=stop)
    exchanges = [Exchange(prompt, response.text) for prompt, response in zip(probe.prompts, responses, strict=True)]
    verdicts = {name: judge.judge(exchanges) for name, judge in judges.items()}
    return [
        Answer(response, {name: given[number] for name, given in verdicts.items()})
        for number, response in enumerate(responses)
    ]


def score(voice: Voice, probe: ChoiceProbe | PerplexityProbe | HarnessProbe, *, max_new_tokens: int) -> list[Score]:
    """Score a capability probe's items, in their order.

    Args:
        voice: Who is asked.
        probe: The items.
        max_new_tokens: The most tokens of an answer, where a task of lm-eval sets no limit of its own.

    """
    if isinstance(probe, HarnessProbe):
        return harness_scores(probe, _answering(voice, max_new_tokens))
    if isinstance(probe, PerplexityProbe):
        found = voice.loglikelihood([("", text) for text in probe.texts])
        return [Score(-likelihood.log_probability, likelihood.tokens) for likelihood in found]
    asked = [(question.context, option) for question in probe.questions for option in question.options]
    likelihoods = iter(voice.loglikelihood(asked))
    scores = []
    for question in probe.questions:
        options = [next(likelihoods).log_probability for _ in question.options]
        scores.append(Score(float(options.index(max(options)) == question.answer), 1))
    return scores


def _answering(voice: Voice, max_new_tokens: int) -> Answering:
    """A voice as lm-eval asks it."""

    def loglikelihood(requests: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        return [(found.log_probability, found.greedy) for found in voice.loglikelihood(requests)]

    def generate(text: str, tokens: int, stop: Sequence[str]) -> str:
        (response,) = voice.respond([text], max_new_tokens=tokens, stop=stop)
        return response.text

    return Answering(loglikelihood, generate, max_new_tokens)


def _asr(answers: Sequence[Answer], judge: str) -> float | None:
    if judge not in answers[0].verdicts:
        return None
    complied = sum(answer.verdicts[judge].outcome is Outcome.COMPLIED for answer in answers)
    return 100.0 * complied / len(answers)


def _versions() -> dict[str, str]:
    packages = ("safescape", "torch", "transformers", "safetensors", "peft", "numpy")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
        **{package: metadata.version(package) for package in packages},
    }
