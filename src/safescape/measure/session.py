"""A measuring session: one engine, from opening it to closing it at its origin, and what it is asked at a point.

Knows no store and no other engine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from safescape.engines import Engine, ScoresOpenings, VllmEngine, Voice, check_length, ends_in_files, open_engine
from safescape.errors import InputError
from safescape.judges import Judge, NoiseTest, common_stop, immediate_judges, verdict_unread
from safescape.landscape import is_settled, stages_of
from safescape.measure.chats import RenderedPrompts
from safescape.measure.evidence import Origin
from safescape.probes import Answering, harness_scores, margin_of
from safescape.survey import (
    Answer,
    ChoiceProbe,
    Exchange,
    Finish,
    HarnessProbe,
    InterpolationAxis,
    MarginProbe,
    Outcome,
    PerplexityProbe,
    Point,
    Position,
    PromptProbe,
    Response,
    Score,
    Survey,
    Thinking,
    members_of,
)
from safescape.weights import Model, directions_of, inspect, resolve

_log = logging.getLogger(__name__)


class Measurement(NamedTuple):
    """What was measured at one point."""

    point: Point
    position: Position
    """Where the weights were, as rounded."""
    answers: Mapping[str, Sequence[Answer]]
    """By probe of prompts, in the order of its prompts. In an adaptive survey the first probe may have fewer answers
    than prompts."""
    scores: Mapping[str, Sequence[Score]]
    """By capability probe, in the order of its items."""
    seconds: float


def check_prompts(survey: Survey, model: Model) -> None:
    """Check, before anything is stored, that the model can be asked the prompts of a survey.

    Raises:
        InputError: its tokenizer or chat template cannot be used, or its context is too short.

    """
    prompts = RenderedPrompts.of(survey, model)
    check_length(survey, model, prompts.tokenizer, prompts.chats)


def find_model(survey: Survey) -> Model:
    """Find the model under test, having checked the fingerprints of all models that a survey names.

    Raises:
        InputError: one of them is not there, or has other weights than the survey was written for.

    """
    axes = [axis for axis in survey.subspace.axes if isinstance(axis, InterpolationAxis)]
    others = [(axis.toward, axis.fingerprint) for axis in axes] + [(w.model, w.fingerprint) for w in survey.through]
    for name, expected in [(survey.model, survey.model_fingerprint), *others]:
        found = inspect(resolve(name, trust_remote_code=survey.trust_remote_code).weights)
        if found != expected:
            raise InputError(
                f"{name}: has fingerprint {found[:19]}…, the survey was written for {expected[:19]}…; "
                "give that model, or scan anew"
            )
    return resolve(survey.model, trust_remote_code=survey.trust_remote_code)


class MeasuringSession:
    """A survey's engine, moved from point to point, with the survey's immediate judges.

    Args:
        survey: To be measured.
        model: The model it names, found on this disk; its fingerprint is the survey's.
        run: The run directory, which holds computed directions.

    Raises:
        InputError: the model, its tokenizer or its chat template cannot be used.
        RunError: the weights do not move.

    """

    def __init__(self, survey: Survey, model: Model, run: Path) -> None:
        self._survey = survey
        self._prompts = RenderedPrompts.of(survey, model)
        self._judges = immediate_judges(survey.judges)
        readers = [member for name in survey.judges for member in members_of(name)]
        # judges that read the answers later need them to their end
        self._whole_answers = survey.whole_answers or not all(name in self._judges for name in readers)
        self._noise = None if survey.noise is None or self._whole_answers else NoiseTest(survey.noise)
        start = time.monotonic()
        tokenizer, generation = self._prompts.tokenizer, survey.generation
        if not survey.has_chats:
            generation = ends_in_files(model, tokenizer, trust_remote_code=survey.trust_remote_code)
        self._engine: Engine = open_engine(
            survey, model, tokenizer, self._prompts.chats, generation, directions=directions_of(run)
        )
        _log.info("opened %s with %s in %.1f s", survey.model, survey.engine, time.monotonic() - start)
        self._engine.canary(next(point for point in survey.points() if not point.is_origin))
        self.fingerprint_at_start = self._engine.fingerprint_at_start
        """Of the origin, as the engine holds it."""
        self.safe_below = survey.adaptive.safe_below if survey.adaptive is not None else None
        """Of an adaptive survey, the ASR in percent at which a point is stopped early: `Plan.safe_below`."""

    def measure(self, point: Point, answered: Mapping[tuple[str, Point], list[Answer]] | None = None) -> Measurement:
        """Move to a point and ask every probe that is asked there.

        `answered` has answers that are judged already, by probe and point; without it the prompts are asked now.
        """
        start = time.monotonic()
        position = self._engine.move_to(point)
        _log.debug("moved to %s in %.2f s", tuple(point), time.monotonic() - start)
        answers: dict[str, list[Answer]] = {}
        scores: dict[str, list[Score]] = {}
        for probe in self._survey.asked_at(point):
            if isinstance(probe, MarginProbe):
                chats = self._prompts.without_thoughts(self._survey).chats[probe.name]
                scores[probe.name] = margins(self._engine, probe, chats)
            elif not isinstance(probe, PromptProbe):
                scores[probe.name] = score(self._engine, probe, max_new_tokens=self._survey.max_new_tokens)
            elif answered is not None:
                answers[probe.name] = answered[probe.name, point]
            else:
                answers[probe.name] = self._ask_at(point, probe)
        seconds = time.monotonic() - start
        _log.info("measured %s in %.1f s", tuple(point), seconds)
        return Measurement(point, position, answers, scores, seconds)

    def measure_together(self, points: Sequence[Point]) -> list[Measurement]:
        """Measure a group of points; a prompt that is asked at several of them is answered in one batch."""
        if len(points) == 1:
            return [self.measure(points[0])]
        start = time.monotonic()
        answered = self._ask_together(points)
        each = (time.monotonic() - start) / len(points)
        found = [self.measure(point, answered) for point in points]
        return [measurement._replace(seconds=measurement.seconds + each) for measurement in found]

    def _ask_together(self, points: Sequence[Point]) -> dict[tuple[str, Point], list[Answer]]:
        """Ask every probe of prompts at all of the points where it is asked; return the answers by probe and point."""
        # groups of several points exist with unmerged adapters alone, which only vLLM holds
        assert isinstance(self._engine, VllmEngine)
        answered = {}
        for probe in self._survey.probes:
            there = [point for point in points if probe in self._survey.asked_at(point)]
            if there and isinstance(probe, PromptProbe):
                self._engine.stand_at(there)
                chats, count = probe.asked(self._prompts.chats[probe.name]), len(probe.prompts)
                answers = self._ask(probe, chats * len(there), probe.prompts * len(there), noise=self._noise)
                for number, point in enumerate(there):
                    answered[probe.name, point] = answers[number * count : (number + 1) * count]
        return answered

    def _ask_at(self, point: Point, probe: PromptProbe) -> list[Answer]:
        """Ask a probe's prompts; in an adaptive survey only until the point is settled."""
        survey, chats, prompts = self._survey, probe.asked(self._prompts.chats[probe.name]), probe.prompts
        # the origin is asked everything: its rate is a figure of its own
        if self.safe_below is None or probe is not survey.prompts or point.is_origin:
            return self._ask(probe, chats, prompts, noise=self._noise)
        answers: list[Answer] = []
        for end in stages_of(len(prompts)):
            begin = len(answers)
            answers += self._ask(probe, chats[begin:end], prompts[begin:end], noise=self._noise)
            found = [answer.verdicts[survey.judges[0]].outcome for answer in answers]
            complied, unscored = found.count(Outcome.COMPLIED), found.count(Outcome.UNSCORED)
            if is_settled(complied, end, len(prompts), self.safe_below, unscored):
                break
        return answers

    def ask_whole(self, point: Point, name: str, numbers: Sequence[int]) -> list[Answer]:
        """Move to a point and ask some prompts of a probe again; no answer ends as noise."""
        (probe,) = (probe for probe in self._survey.probes if probe.name == name)
        assert isinstance(probe, PromptProbe)
        self._engine.move_to(point)
        chats = self._prompts.chats[name]
        return self._ask(probe, [chats[n] for n in numbers], [probe.prompts[n] for n in numbers], noise=None)

    def _ask(
        self, probe: PromptProbe, chats: Sequence[str | None], prompts: Sequence[str], *, noise: NoiseTest | None
    ) -> list[Answer]:
        return ask(
            self._engine,
            chats,
            prompts,
            self._judges,
            max_new_tokens=self._survey.max_new_tokens,
            whole_answers=self._whole_answers,
            noise=noise,
            thinking=self._survey.thinking(probe),
        )

    def at_origin(self) -> Origin:
        """Move to the origin, to score answers there."""
        self._engine.move_to(next(self._survey.points()))
        scored = self._prompts.without_thoughts(self._survey)
        return Origin(self._engine, scored.chats, scored.calibration)

    def close(self) -> str:
        """Move back to the origin and return its fingerprint; raise RunError if it is not the one at the start."""
        return self._engine.close()


def groups_of(survey: Survey, points: Collection[Point]) -> list[tuple[Point, ...]]:
    """Return the groups of points measured together that hold the given points, in the order of measuring.

    Where weights are moved, each point is a group. With an unmerged adapter the origin is a group, as it has no
    adapter, and the other points of the line are cut into groups from its beginning. A group is complete even if some
    of its points are not wanted: an answer may depend on the batch that it is generated in.
    """
    if survey.adapter == "merged":
        return [(point,) for point in points]
    wanted, every = set(points), list(survey.points())
    away, most = [point for point in every if not point.is_origin], survey.points_together
    groups = [tuple(point for point in every if point.is_origin)]
    groups += [tuple(away[first : first + most]) for first in range(0, len(away), most)]
    return [group for group in groups if not wanted.isdisjoint(group)]


def ask(
    voice: Voice,
    chats: Sequence[str | None],
    prompts: Sequence[str],
    judges: Mapping[str, Judge],
    *,
    max_new_tokens: int,
    whole_answers: bool = False,
    noise: NoiseTest | None = None,
    thinking: Thinking | None = None,
) -> list[Answer]:
    """Answer prompts, and return one judged answer each, in their order.

    Args:
        voice: Generates the answers.
        chats: By prompt, the text that the model reads; None: an attack found no prompt, and nothing is asked.
        prompts: As the judges read them.
        judges: By name; empty if all of them judge later.
        max_new_tokens: Maximum number of tokens of an answer.
        whole_answers: Generate every answer to its end, even if the judges can tell earlier.
        noise: Ends an answer as noise; None: noise is written on.
        thinking: How thoughts are told from answers; None: all that is written is the answer.

    """
    stop = () if whole_answers else common_stop([judge.stop for judge in judges.values()])
    asked = [chat for chat in chats if chat is not None]
    generated = (
        voice.respond(asked, max_new_tokens=max_new_tokens, stop=stop, noise=noise, thinking=thinking) if asked else ()
    )
    said = iter(generated)
    responses = [Response("", Finish.NO_PROMPT, 0) if chat is None else next(said) for chat in chats]
    unread = [verdict_unread(response.finish, is_unanswered=response.is_unanswered) for response in responses]
    given = zip(prompts, responses, unread, strict=True)
    exchanges = [Exchange(prompt, response.text) for prompt, response, verdict in given if verdict is None]
    read = {name: iter(judge.judge(exchanges)) for name, judge in judges.items()}
    return [
        Answer(response, {name: verdict or next(verdicts) for name, verdicts in read.items()})
        for response, verdict in zip(responses, unread, strict=True)
    ]


def score(voice: Voice, probe: ChoiceProbe | PerplexityProbe | HarnessProbe, *, max_new_tokens: int) -> list[Score]:
    """Score a capability probe's items, in their order.

    `max_new_tokens` limits the answers to a task of lm-eval that sets no limit of its own.
    """
    if isinstance(probe, HarnessProbe):
        return harness_scores(probe, _answering(voice, max_new_tokens))
    if isinstance(probe, PerplexityProbe):
        found = voice.loglikelihood([("", text) for text in probe.texts])
        return [Score(-likelihood.log_probability, likelihood.tokens) for likelihood in found]
    requests = [(question.context, option) for question in probe.questions for option in question.options]
    likelihoods = iter(voice.loglikelihood(requests))
    scores = []
    for question in probe.questions:
        options = [next(likelihoods).log_probability for _ in question.options]
        scores.append(Score(float(options.index(max(options)) == question.answer), 1))
    return scores


def margins(voice: ScoresOpenings, probe: MarginProbe, chats: Sequence[str]) -> list[Score]:
    """Return the refusal margin of every prompt of a probe, in their order.

    Args:
        voice: Scores the openings.
        probe: The prompts with their openings.
        chats: By prompt, the text after which an answer begins.

    """
    openings = probe.openings
    found = voice.openings(chats, [(*given.refusing, *given.complying) for given in openings])
    return [
        Score(margin_of(some[: len(given.refusing)], some[len(given.refusing) :]), 1)
        for some, given in zip(found, openings, strict=True)
    ]


def _answering(voice: Voice, max_new_tokens: int) -> Answering:
    """Wrap a voice in the calls that lm-eval makes."""

    def loglikelihood(requests: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        return [(found.log_probability, found.greedy) for found in voice.loglikelihood(requests)]

    def generate(text: str, tokens: int, stop: Sequence[str]) -> str:
        (response,) = voice.respond([text], max_new_tokens=tokens, stop=stop, raw=True)
        return response.text

    return Answering(loglikelihood, generate, max_new_tokens)
