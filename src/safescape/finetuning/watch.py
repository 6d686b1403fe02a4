"""Measuring a model in training: its safety, its distance from the initial weights, and its place in their basin.

With Δ = w - w₀ over all tensors, where w₀ are the weights when the training began, and d the direction of an axis:

    moved  = ‖Δ‖ / ‖w₀‖                                              a fraction of the norm of the weights
    along  = ⟨Δ, d⟩ / ⟨d, d⟩                                         the coordinate on the axis
    across = ‖Δ - along·d‖ / ‖d‖ = √(‖Δ‖² / ⟨d, d⟩ - along²)         the distance from the axis, in its units

The direction of a random axis has the norm of the weights (without norm layers), so that both have the unit of the
basin's radius. On the axis toward another model, that model has along = 1 and across = 0.
"""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import Module
from transformers import PreTrainedTokenizerBase

from safescape.engines import Speaker, borrow, unwrap
from safescape.errors import InputError
from safescape.finetuning.start import InitialWeights
from safescape.judges import Judge
from safescape.landscape import Landscape, Reading, reading_of
from safescape.measure import ask, score
from safescape.probes import format_chats
from safescape.survey import InterpolationAxis, Probe, PromptProbe, Survey
from safescape.weights import Direction, Subspace, dot, fingerprint, inspect, resolve


class Distance(NamedTuple):
    """The distance of the weights from the initial ones; see the module's formulas."""

    moved: float
    along: tuple[float, ...]
    """One per axis."""
    across: tuple[float, ...]
    """One per axis."""


class Basin:
    """A measured landscape of the model that a training begins with.

    Args:
        directory: The directory of the run.

    Raises:
        InputError: It has no finished run.

    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        landscape = Landscape.load(self.directory / "landscape.json")
        self.survey = Survey.load(self.directory / "survey.json")
        self.radius = landscape.basin_radius
        """The radius in units of the axes; 0 without a basin, None if the subspace has no radius."""


class Axes:
    """The axes of a basin, with the initial weights of a training as their origin.

    Args:
        basin: The basin.
        start: The initial weights.

    Raises:
        InputError: The basin belongs to other weights, or its directions cannot be computed on this machine.

    """

    def __init__(self, basin: Basin, start: InitialWeights) -> None:
        survey = basin.survey
        self.device = torch.device(survey.device).type
        """The kind of device that generates the noise; another kind would give other directions."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError(f"{basin.directory}: its directions were made on a GPU; measure it on the CPU")
        _check_is_of(basin, start)
        for axis in survey.subspace.axes:
            if isinstance(axis, InterpolationAxis) and inspect(resolve(axis.toward).weights) != axis.fingerprint:
                raise InputError(f"{axis.toward}: was changed since {basin.directory} was measured; measure it again")
        self.directions = Subspace(survey.subspace, start, device=self.device).directions
        self.squares = tuple(self._square(direction, start) for direction in self.directions)
        """⟨d, d⟩, one per axis."""

    def _square(self, direction: Direction, start: InitialWeights) -> float:
        parts = (direction.tensor(name, start.tensor(name).to(self.device)) for name in start.names())
        return sum(dot(part, part) for part in parts)


def distance_of(start: InitialWeights, axes: Axes | None) -> Distance:
    """Return the distance of the live weights from the initial ones, along and across the axes.

    Raises:
        RunError: The initial weights cannot be read any more.

    """
    directions, squares = ((), ()) if axes is None else (axes.directions, axes.squares)
    length, mixed = 0.0, [0.0] * len(directions)
    for name, change in start.changes():
        length += dot(change, change)
        # Infinite or NaN weights have no coordinates.
        if axes is None or not math.isfinite(length):
            continue
        origin, there = start.tensor(name).to(axes.device), change.to(axes.device)
        for place, direction in enumerate(directions):
            mixed[place] += dot(there, direction.tensor(name, origin))
    if not math.isfinite(length):
        nowhere = (math.nan,) * len(directions)
        return Distance(math.nan, nowhere, nowhere)
    along = tuple(product / square for product, square in zip(mixed, squares, strict=True))
    across = tuple(max(0.0, length / square - share**2) ** 0.5 for share, square in zip(along, squares, strict=True))
    return Distance((length / start.square) ** 0.5, along, across)


def _check_is_of(basin: Basin, start: InitialWeights) -> None:
    survey = basin.survey
    found = fingerprint(start.names(), start.tensor)
    if found == survey.model_fingerprint or _is_rounded_from(basin, start):
        return
    raise InputError(
        f"{basin.directory}: is the landscape of {survey.model} ({survey.model_fingerprint[:19]}…), the training "
        f"begins with other weights ({found[:19]}…); scan the model that it begins with"
    )


def _is_rounded_from(basin: Basin, start: InitialWeights) -> bool:
    """Whether the initial weights are the basin's model rounded to the dtype of the training."""
    try:
        weights = resolve(basin.survey.model).weights
    except InputError:
        return False
    if list(weights.names()) != list(start.names()) or inspect(weights) != basin.survey.model_fingerprint:
        return False
    pairs = ((weights.tensor(name), start.tensor(name).cpu()) for name in start.names())
    return all(torch.equal(stored.to(live.dtype), live) for stored, live in pairs)


class Questions(NamedTuple):
    """The probes of every measurement, and the settings for them."""

    probes: Sequence[Probe]
    """The first one has harmful prompts."""
    judge: Judge
    max_new_tokens: int
    batch_size: int


class Measurement(NamedTuple):
    """The figures of a model in training at one step."""

    step: int
    """The number of optimizer steps taken."""
    epoch: float
    asr: float
    """The attack success rate on the harmful prompts in percent; the next two are its 95 % interval (Wilson)."""
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

    def logs(self) -> dict[str, float]:
        """Return the figures by their names in the Trainer's log; a second probe of a kind, or axis, is numbered 2."""
        named = [("asr", self.asr), ("asr_low", self.asr_low), ("asr_high", self.asr_high)]
        named += [(reading.kind, reading.value) for reading in self.measures]
        named += [("moved", self.moved), *(("along", place) for place in self.along)]
        named += [*(("across", place) for place in self.across), ("seconds", self.seconds)]
        logs: dict[str, float] = {}
        counts: Counter[str] = Counter()
        for name, value in named:
            counts[name] += 1
            logs[f"safescape/{name}" if counts[name] == 1 else f"safescape/{name}_{counts[name]}"] = value
        return logs

    def __str__(self) -> str:
        said = [f"ASR {self.asr:.1f} % ({self.asr_low:.1f} to {self.asr_high:.1f})"]
        for reading in self.measures:
            name = "ASR" if reading.kind == "asr" else reading.kind.replace("_", "-")
            said.append(f"{name} {reading.value:.1f}" + ("" if reading.kind == "perplexity" else " %"))
        said.append(f"moved {100 * self.moved:.2g} % of the weights' norm")
        said += [f"along {a:.2g} across {b:.2g}" for a, b in zip(self.along, self.across, strict=True)]
        if self.basin_radius is not None:
            said.append(f"basin radius {self.basin_radius:.2g}")
        return f"step {self.step}, epoch {self.epoch:.2f}: {', '.join(said)}; {self.seconds:.1f} s"


class Watch:
    """Measures a model from the beginning of its training on.

    Args:
        model: The Trainer's model, wrapped or not.
        tokenizer: The model's tokenizer.
        questions: The probes and settings.
        basin: The landscape of the model that the training begins with; None without one.
        precision: The dtype of the training's autocast; None without autocast.

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
        tokenizer = copy.deepcopy(tokenizer)
        self._speaker = Speaker(self._model, tokenizer, questions.batch_size)
        self._chats = {
            probe.name: format_chats(tokenizer, probe.prompts, probe.system_prompt)
            for probe in questions.probes
            if isinstance(probe, PromptProbe)
        }
        self._start = InitialWeights(model)
        self._radius = None if basin is None else basin.radius
        self._axes = None if basin is None else Axes(basin, self._start)

    def measure(self, step: int, epoch: float) -> Measurement:
        """Measure the model and restore it exactly.

        Raises:
            InputError: A text is too short to be scored, or the model caches something else than keys and values.
            RunError: The initial weights cannot be read any more.

        """
        began = time.monotonic()
        with borrow(self._model, self._precision):
            first, *further = [self._reading(probe) for probe in self._questions.probes]
        there = distance_of(self._start, self._axes)
        return Measurement(
            step=step,
            epoch=epoch,
            asr=first.value,
            asr_low=first.low,
            asr_high=first.high,
            measures=tuple(further),
            moved=there.moved,
            along=there.along,
            across=there.across,
            basin_radius=self._radius,
            seconds=time.monotonic() - began,
        )

    def _reading(self, probe: Probe) -> Reading:
        judge, tokens = self._questions.judge, self._questions.max_new_tokens
        if isinstance(probe, PromptProbe):
            answers = ask(
                self._speaker, self._chats[probe.name], probe.prompts, {judge.name: judge}, max_new_tokens=tokens
            )
            return reading_of(probe, [answer.verdicts[judge.name].outcome for answer in answers], ())
        return reading_of(probe, (), score(self._speaker, probe, max_new_tokens=tokens))
