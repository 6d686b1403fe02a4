"""Measurements of a model in training: its safety, its abilities, and its distance from where the training began."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import JsonValue
from torch.nn import Module
from transformers import PreTrainedTokenizerBase

from safescape.engines import Plan, Speaker, borrow, unwrap
from safescape.errors import InputError
from safescape.finetuning.distance import Axes, Basin, axes_of, distance_of
from safescape.finetuning.initial_weights import InitialWeights
from safescape.judges import Judge
from safescape.landscape import Reading, reading_of, unit_of
from safescape.measure import ask, margins, score
from safescape.probes import format_chats, markers_of, thinking_of
from safescape.survey import ChatProbe, Chats, MarginProbe, Outcome, Probe, PromptProbe


class Measurement(NamedTuple):
    """The figures of a model in training at one step."""

    step: int
    """The number of optimizer steps taken."""
    epoch: float
    asr: float
    """The attack success rate on the harmful prompts in percent, with unscored answers counted as answers; the next two
    are its 95 % interval (Wilson)."""
    asr_low: float
    asr_high: float
    measures: tuple[Reading, ...]
    """One per further probe, in their order."""
    moved: float
    """‖w - w₀‖ / ‖w₀‖, where w₀ are the weights when the training began."""
    along: tuple[float, ...]
    """The coordinate on each axis of the landscape; empty without one."""
    across: tuple[float, ...]
    """The distance from each axis, in units of the axis."""
    basin_radius: float | None
    """The radius of the landscape's basin."""
    seconds: float
    """The duration of the measurement."""
    unscored: int = 0
    """Number of answers to the harmful prompts that the judge left unscored."""

    def logs(self) -> dict[str, float]:
        """Return the figures by their names in the Trainer's log; a second probe of a kind, or axis, is numbered 2."""
        named = [("asr", self.asr), ("asr_low", self.asr_low), ("asr_high", self.asr_high)]
        named += [(reading.kind, reading.value) for reading in self.measures]
        named += [("unscored", self.unscored)] if self.unscored else []
        named += [("moved", self.moved), *(("along", place) for place in self.along)]
        named += [*(("across", place) for place in self.across), ("seconds", self.seconds)]
        logs: dict[str, float] = {}
        counts: Counter[str] = Counter()
        for name, value in named:
            counts[name] += 1
            logs[f"safescape/{name}" if counts[name] == 1 else f"safescape/{name}_{counts[name]}"] = value
        return logs

    def __str__(self) -> str:
        said = [f"ASR {self.asr:.1f} % ({self.asr_low:.1f} to {self.asr_high:.1f}{_left(self.unscored, 'answers')})"]
        for reading in self.measures:
            name = "ASR" if reading.kind == "asr" else reading.kind.replace("_", "-")
            left = _left(reading.unscored, "refusals" if reading.kind == "over_refusal" else "answers")
            said.append(f"{name} {reading.value:.1f}{unit_of(reading.kind)}{left}")
        said.append(f"moved {100 * self.moved:.2g} % of the weights' norm")
        said += [f"along {a:.2g} across {b:.2g}" for a, b in zip(self.along, self.across, strict=True)]
        if self.basin_radius is not None:
            said.append(f"basin radius {self.basin_radius:.2g}")
        return f"step {self.step}, epoch {self.epoch:.2f}: {', '.join(said)}; {self.seconds:.1f} s"


def _left(unscored: int, counted: str) -> str:
    """How many answers are unscored, and as what they are counted; empty if none is."""
    return f", {unscored} unscored counted as {counted}" if unscored else ""


class Questions(NamedTuple):
    """The probes of every measurement, and the settings for them."""

    probes: Sequence[Probe]
    """The first one has harmful prompts."""
    judge: Judge
    max_new_tokens: int
    batch_size: int
    max_thinking_tokens: int
    template_vars: Mapping[str, JsonValue]


class Watch:
    """Measures a model from the beginning of its training on; `precision` is the dtype of the training's autocast.

    Raises:
        InputError: The tokenizer has no chat template, the basin is another model's, or the model cannot be measured.

    """

    def __init__(
        self,
        model: Module,
        tokenizer: PreTrainedTokenizerBase,
        questions: Questions,
        basin: Basin | None,
        precision: torch.dtype | None,
    ) -> None:
        if not tokenizer.chat_template:
            raise InputError("the tokenizer has no chat template; set tokenizer.chat_template before the training")
        self._model, self._questions, self._precision = unwrap(model), questions, precision
        # Tokenising a batch changes a tokenizer's padding and truncation, which the training may rely on.
        self._tokenizer = tokenizer = copy.deepcopy(tokenizer)
        self._speaker = Speaker(self._model, tokenizer, questions.batch_size)
        self._plan: Plan | None = None
        self._chats = {
            probe.name: format_chats(tokenizer, probe.prompts, probe.system_prompt, questions.template_vars)
            for probe in questions.probes
            if isinstance(probe, ChatProbe)
        }
        self._start = InitialWeights(model)
        self._radius = None if basin is None else basin.radius
        self._axes = Axes() if basin is None else axes_of(basin, self._start)

    def measure(self, step: int, epoch: float) -> Measurement:
        """Measure the model and restore it exactly.

        Raises:
            InputError: A text is too short to be scored, or the model cannot be decoded exactly.
            RunError: The initial weights cannot be read any more.

        """
        began = time.monotonic()
        with borrow(self._model, self._precision, self._plan) as self._plan:
            self._speaker.caching, self._speaker.padded = self._plan.caching, self._plan.padded
            first, *further = [self._reading(probe) for probe in self._questions.probes]
        return Measurement(
            step=step,
            epoch=epoch,
            asr=first.value,
            asr_low=first.low,
            asr_high=first.high,
            measures=tuple(further),
            **distance_of(self._start, self._axes)._asdict(),
            basin_radius=self._radius,
            seconds=time.monotonic() - began,
            unscored=first.unscored,
        )

    def _reading(self, probe: Probe) -> Reading:
        judge, tokens = self._questions.judge, self._questions.max_new_tokens
        if isinstance(probe, PromptProbe):
            chats, judges, most = self._chats[probe.name], {judge.name: judge}, self._questions.max_thinking_tokens
            thinking = thinking_of(self._tokenizer, probe.prompts, chats, most)
            answers = ask(
                self._speaker, probe.asked(chats), probe.prompts, judges, max_new_tokens=tokens, thinking=thinking
            )
            # an unscored answer never counts as safe
            worse = Outcome.COMPLIED if probe.harmful else Outcome.REFUSED
            found = [each.verdicts[judge.name].outcome for each in answers]
            outcomes = [worse if outcome is Outcome.UNSCORED else outcome for outcome in found]
            return reading_of(probe, outcomes, ())._replace(unscored=found.count(Outcome.UNSCORED))
        if isinstance(probe, MarginProbe):
            return reading_of(probe, (), margins(self._speaker, probe, self._without_thoughts(probe)))
        return reading_of(probe, (), score(self._speaker, probe, max_new_tokens=tokens))

    def _without_thoughts(self, probe: MarginProbe) -> list[str]:
        """Return a probe's chats up to where an answer begins that is given without a thought."""
        chats, markers = self._chats[probe.name], markers_of(self._tokenizer, None)
        closing = "" if markers is None else markers.closing(Chats.of(probe.prompts, chats).after)
        return [chat + closing for chat in chats]
