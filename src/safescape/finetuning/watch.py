"""How far a training has moved the weights, and where that lies in the basin of the model that it began with.

With Δ = w - w₀ over all tensors, w₀ being the weights when the training began, and d the direction of an axis:

    moved  = ‖Δ‖ / ‖w₀‖                                              a share; 0.01 is a hundredth of the weights' norm
    along  = ⟨Δ, d⟩ / ⟨d, d⟩                                         the coordinate on the axis
    across = ‖Δ - along·d‖ / ‖d‖ = √(‖Δ‖² / ⟨d, d⟩ - along²)         the rest, in units of the axis too

On a random axis the norm of d is that of the weights (norm layers aside), and both are in units of the basin's radius.
On the axis toward another model, along = 1 and across = 0 is that model.
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
from safescape.finetuning.start import Start
from safescape.judges import Judge
from safescape.landscape import Landscape, Reading, reading_of
from safescape.measure import ask, score
from safescape.probes import format_chats
from safescape.survey import InterpolationAxis, Probe, PromptProbe, Survey
from safescape.weights import Direction, Subspace, dot, fingerprint, inspect, resolve

__all__ = ["Asked", "Axes", "Basin", "Measurement", "Travelled", "Watch", "travelled"]


class Travelled(NamedTuple):
    """Where the weights stand; see the module's formulas."""

    moved: float
    along: tuple[float, ...]
    """One an axis, as `across`."""
    across: tuple[float, ...]


class Basin:
    """A measured landscape of the model that a training begins with.

    Args:
        directory: Of the run.

    Raises:
        InputError: it holds no finished run.

    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        landscape = Landscape.load(self.directory / "landscape.json")
        self.survey = Survey.load(self.directory / "survey.json")
        self.radius = landscape.basin_radius
        """In units of its axes; 0 without a basin, None where no radius has a meaning."""


class Axes:
    """The axes of a basin, laid at the start of a training.

    Args:
        basin: Whose axes.
        start: Where they are laid.

    Raises:
        InputError: the basin is that of other weights, or its directions cannot be computed here.

    """

    def __init__(self, basin: Basin, start: Start) -> None:
        survey = basin.survey
        self.device = torch.device(survey.device).type
        """The kind whose generator makes the noise: on another kind the directions would be others."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError(f"{basin.directory}: its directions were made on a GPU; measure it on the CPU")
        _check_is_of(basin, start)
        for axis in survey.subspace.axes:
            if isinstance(axis, InterpolationAxis) and inspect(resolve(axis.toward).weights) != axis.fingerprint:
                raise InputError(f"{axis.toward}: was changed since {basin.directory} was measured; measure it again")
        self.directions = Subspace(survey.subspace, start, device=self.device).directions
        self.squares = tuple(self._square(direction, start) for direction in self.directions)
        """⟨d, d⟩, one an axis."""

    def _square(self, direction: Direction, start: Start) -> float:
        parts = (direction.tensor(name, start.tensor(name).to(self.device)) for name in start.names())
        return sum(dot(part, part) for part in parts)


def travelled(start: Start, axes: Axes | None) -> Travelled:
    """Return how far the live weights are from the start, and where on the axes.

    Raises:
        RunError: the start cannot be read any more.

    """
    directions, squares = ((), ()) if axes is None else (axes.directions, axes.squares)
    length, mixed = 0.0, [0.0] * len(directions)
    for name, step in start.steps():
        length += dot(step, step)
        # weights that have become infinite or NaN have no coordinates
        if axes is None or not math.isfinite(length):
            continue
        origin, there = start.tensor(name).to(axes.device), step.to(axes.device)
        for place, direction in enumerate(directions):
            mixed[place] += dot(there, direction.tensor(name, origin))
    if not math.isfinite(length):
        nowhere = (math.nan,) * len(directions)
        return Travelled(math.nan, nowhere, nowhere)
    along = tuple(product / square for product, square in zip(mixed, squares, strict=True))
    across = tuple(max(0.0, length / square - share**2) ** 0.5 for share, square in zip(along, squares, strict=True))
    return Travelled((length / start.square) ** 0.5, along, across)


def _check_is_of(basin: Basin, start: Start) -> None:
    survey = basin.survey
    found = fingerprint(start.names(), start.tensor)
    if found == survey.model_fingerprint or _is_rounded_from(basin, start):
        return
    raise InputError(
        f"{basin.directory}: is the landscape of {survey.model} ({survey.model_fingerprint[:19]}…), the training "
        f"begins with other weights ({found[:19]}…); scan the model that it begins with"
    )


def _is_rounded_from(basin: Basin, start: Start) -> bool:
    """Whether the basin's model, rounded to the dtype of the training, is where the training starts."""
    try:
        weights = resolve(basin.survey.model).weights
    except InputError:
        return False
    if list(weights.names()) != list(start.names()) or inspect(weights) != basin.survey.model_fingerprint:
        return False
    pairs = ((weights.tensor(name), start.tensor(name).cpu()) for name in start.names())
    return all(torch.equal(stored.to(live.dtype), live) for stored, live in pairs)


class Asked(NamedTuple):
    """What is asked at every measurement, and how."""

    probes: Sequence[Probe]
    """The first one holds harmful prompts."""
    judge: Judge
    max_new_tokens: int
    batch_size: int


class Measurement(NamedTuple):
    """A model in training at one step."""

    step: int
    """Optimizer steps taken."""
    epoch: float
    asr: float
    """Attack success rate of the harmful prompts, percent; the next two are its 95 % interval (Wilson)."""
    asr_low: float
    asr_high: float
    measures: tuple[Reading, ...]
    """One for each further probe, in their order."""
    moved: float
    """‖w - w₀‖ / ‖w₀‖, w₀ being the weights when the training began."""
    along: tuple[float, ...]
    """The coordinate on each axis of the given landscape; empty without one."""
    across: tuple[float, ...]
    """How far beside each axis, in units of the axis."""
    basin_radius: float | None
    """Of the given landscape."""
    seconds: float
    """What the measurement took."""

    def logs(self) -> dict[str, float]:
        """Return the figures as a Trainer logs them. A second probe of a kind, and a second axis, are numbered 2."""
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
    """Measures one model from the moment that its training begins.

    Args:
        model: As the Trainer has it, wrapped or not.
        tokenizer: The model's.
        asked: What is asked.
        basin: The landscape of the model that the training begins with.
        precision: What the training computes in under autocast; None without autocast.

    Raises:
        InputError: the tokenizer has no chat template, the basin is another model's, or the model cannot be measured.

    """

    def __init__(
        self,
        model: Module,
        tokenizer: PreTrainedTokenizerBase,
        asked: Asked,
        basin: Basin | None,
        precision: torch.dtype | None,
    ) -> None:
        if not tokenizer.chat_template:
            raise InputError("the tokenizer has no chat template; set tokenizer.chat_template before the training")
        self._model, self._asked, self._precision = unwrap(model), asked, precision
        # asking changes a tokenizer's padding and truncation, which the training may rely on
        tokenizer = copy.deepcopy(tokenizer)
        self._speaker = Speaker(self._model, tokenizer, asked.batch_size)
        self._chats = {
            probe.name: format_chats(tokenizer, probe.prompts, probe.system_prompt)
            for probe in asked.probes
            if isinstance(probe, PromptProbe)
        }
        self._start = Start(model)
        self._radius = None if basin is None else basin.radius
        self._axes = None if basin is None else Axes(basin, self._start)

    def measure(self, step: int, epoch: float) -> Measurement:
        """Measure the model as it stands, and leave it exactly as it was.

        Raises:
            InputError: a text is too short to be scored, or the model keeps something else than keys and values.
            RunError: the start of the training cannot be read any more.

        """
        began = time.monotonic()
        with borrow(self._model, self._precision):
            first, *further = [self._reading(probe) for probe in self._asked.probes]
        there = travelled(self._start, self._axes)
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
        judge, tokens = self._asked.judge, self._asked.max_new_tokens
        if isinstance(probe, PromptProbe):
            answers = ask(self._speaker, self._chats[probe.name], probe, {judge.name: judge}, max_new_tokens=tokens)
            return reading_of(probe, [answer.verdicts[judge.name].outcome for answer in answers], ())
        return reading_of(probe, (), score(self._speaker, probe, max_new_tokens=tokens))
