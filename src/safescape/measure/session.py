"""One engine at its post: it measures a survey's points as they are given to it, and knows no store and no other."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from safescape.engines import Engine, VllmEngine, check_length, open_engine
from safescape.errors import InputError
from safescape.judges import is_immediate, judge_named, members_of
from safescape.measure.evidence import Origin
from safescape.measure.stages import ask, ask_in_stages, score
from safescape.probes import format_chats, load_tokenizer
from safescape.survey import Answer, InterpolationAxis, Point, Position, PromptProbe, Score, Survey
from safescape.weights import Model, inspect, resolve

__all__ = ["Measured", "Script", "Station", "check_script", "find_model", "groups_of"]


class Measured(NamedTuple):
    """One point, measured."""

    point: Point
    position: Position
    """Where the weights stood, as rounded."""
    answers: Mapping[str, Sequence[Answer]]
    """By probe of prompts, in the order of its prompts; of an adaptive survey's first probe those that were asked."""
    scores: Mapping[str, Sequence[Score]]
    """By capability probe, in the order of its items."""
    seconds: float


class Script(NamedTuple):
    """What a model reads."""

    tokenizer: PreTrainedTokenizerBase
    chats: Mapping[str, Sequence[str]]
    """By probe of prompts, a text for each prompt."""

    @classmethod
    def of(cls, survey: Survey, model: Model) -> Script:
        """Write the prompts of a survey as its model reads them.

        Raises:
            InputError: its tokenizer or its chat template cannot be used.

        """
        tokenizer = load_tokenizer(
            model.directory, chat_template=survey.chat_template, trust_remote_code=survey.trust_remote_code
        )
        prompts = [probe for probe in survey.probes if isinstance(probe, PromptProbe)]
        return cls(tokenizer, {p.name: format_chats(tokenizer, p.prompts, p.system_prompt) for p in prompts})


def check_script(survey: Survey, model: Model) -> None:
    """Find out, before anything is made, that a model can be asked what a survey asks.

    Raises:
        InputError: its tokenizer or its chat template cannot be used, or it does not read so many tokens.

    """
    check_length(survey, model, *Script.of(survey, model))


def find_model(survey: Survey) -> Model:
    """Find the model that a survey names, having looked through it and all others that it names.

    Raises:
        InputError: one of them is not there, or is not the one that the survey was written for.

    """
    axes = [axis for axis in survey.subspace.axes if isinstance(axis, InterpolationAxis)]
    named = [(axis.toward, axis.fingerprint) for axis in axes] + [(w.model, w.fingerprint) for w in survey.through]
    for name, expected in [(survey.model, survey.model_fingerprint), *named]:
        found = inspect(resolve(name).weights)
        if found != expected:
            raise InputError(
                f"{name}: has fingerprint {found[:19]}…, the survey was written for {expected[:19]}…; "
                "give that model, or scan anew"
            )
    return resolve(survey.model)


class Station:
    """A survey's engine, moved from point to point.

    Args:
        survey: What is measured.
        model: The model it names, found on this disk; its fingerprint is the survey's.

    Raises:
        InputError: the model, its tokenizer or its chat template cannot be used.
        RunError: moving the weights does not work.

    """

    def __init__(self, survey: Survey, model: Model) -> None:
        self._survey = survey
        self._script = Script.of(survey, model)
        asked = [member for name in survey.judges for member in members_of(name)]
        self._judges = {name: judge_named(name) for name in asked if is_immediate(name)}
        # a judge that comes later reads whole answers
        self._whole_answers = survey.whole_answers or not all(name in self._judges for name in asked)
        self._engine: Engine = open_engine(survey, model, self._script.tokenizer, self._script.chats)
        self._engine.canary(next(point for point in survey.points() if not point.is_origin))
        self.fingerprint_at_start = self._engine.fingerprint_at_start
        """Of the origin, as the engine holds it."""

    def measure(self, point: Point, heard: Mapping[tuple[str, Point], list[Answer]] | None = None) -> Measured:
        """Move to a point, ask all that is asked there, and judge it.

        Args:
            point: Of the survey.
            heard: By probe and point, what was answered and judged already.

        """
        start = time.monotonic()
        position = self._engine.move_to(point)
        answers: dict[str, list[Answer]] = {}
        scores: dict[str, list[Score]] = {}
        for probe in self._survey.asked_at(point):
            if isinstance(probe, PromptProbe):
                answers[probe.name] = heard[probe.name, point] if heard is not None else self._asked_at(point, probe)
            else:
                scores[probe.name] = score(self._engine, probe, max_new_tokens=self._survey.max_new_tokens)
        return Measured(point, position, answers, scores, time.monotonic() - start)

    def measure_together(self, points: Sequence[Point]) -> list[Measured]:
        """Measure a group of points; prompts that are asked at several of them are answered in one batch."""
        if len(points) == 1:
            return [self.measure(points[0])]
        start = time.monotonic()
        heard = self._heard_at(points)
        each = (time.monotonic() - start) / len(points)
        found = [self.measure(point, heard) for point in points]
        return [measured._replace(seconds=measured.seconds + each) for measured in found]

    def _heard_at(self, points: Sequence[Point]) -> dict[tuple[str, Point], list[Answer]]:
        """Ask every probe of prompts at all of the points where it is asked; by probe and point."""
        # a survey has points together where its adapter is unmerged, and vLLM alone holds such
        assert isinstance(self._engine, VllmEngine)
        heard = {}
        for probe in self._survey.probes:
            there = [point for point in points if probe in self._survey.asked_at(point)]
            if there and isinstance(probe, PromptProbe):
                self._engine.stand_at(there)
                answers, count = self._asked(probe, len(there)), len(probe.prompts)
                for number, point in enumerate(there):
                    heard[probe.name, point] = answers[number * count : (number + 1) * count]
        return heard

    def _asked(self, probe: PromptProbe, times: int = 1) -> list[Answer]:
        """Ask a probe, once for each of the points where the engine stands."""
        return ask(
            self._engine,
            list(self._script.chats[probe.name]) * times,
            probe.model_copy(update={"prompts": probe.prompts * times}),
            self._judges,
            max_new_tokens=self._survey.max_new_tokens,
            whole_answers=self._whole_answers,
        )

    def _asked_at(self, point: Point, probe: PromptProbe) -> list[Answer]:
        survey, chats = self._survey, self._script.chats[probe.name]
        tokens, whole = survey.max_new_tokens, self._whole_answers
        # the origin's rate is a figure of its own
        if survey.adaptive is None or probe is not survey.prompts or point.is_origin:
            return self._asked(probe)
        return ask_in_stages(
            self._engine,
            chats,
            probe,
            self._judges,
            judge=survey.judges[0],
            safe_below=survey.adaptive.safe_below,
            max_new_tokens=tokens,
            whole_answers=whole,
        )

    def at_origin(self) -> Origin:
        """Move to the origin, to be asked there what it finds of answers given elsewhere."""
        self._engine.move_to(next(self._survey.points()))
        return Origin(self._engine, *self._script)

    def close(self) -> str:
        """Go back to the origin and return its fingerprint; raise RunError if it is not the one at the start."""
        return self._engine.close()


def groups_of(survey: Survey, points: Collection[Point]) -> list[tuple[Point, ...]]:
    """Return the groups that hold some points, in the order of measuring.

    Where weights are moved, a point is a group. Else the origin is one, as it has no adapter, and the other points of
    the line are cut into groups from its beginning. A group is whole also where some of its points are not asked for:
    what its points say may depend on the batch that they say it in.

    Args:
        survey: What is measured.
        points: Of it, those that are to be measured.

    """
    if survey.adapter == "merged":
        return [(point,) for point in points]
    wanted, every = set(points), list(survey.points())
    away, most = [point for point in every if not point.is_origin], survey.points_together
    groups = [tuple(point for point in every if point.is_origin)]
    groups += [tuple(away[first : first + most]) for first in range(0, len(away), most)]
    return [group for group in groups if not wanted.isdisjoint(group)]
