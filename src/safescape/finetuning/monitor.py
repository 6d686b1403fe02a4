"""`SafetyMonitor`: a Trainer callback that measures a model's safety during training."""

from __future__ import annotations

import copy
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue
from torch import distributed
from torch.nn import Module
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from safescape.engines import Plan, Speaker, borrow, unwrap
from safescape.errors import InputError, RunError
from safescape.finetuning.distance import Axes, Basin, InitialWeights, axes_of
from safescape.judges import Judge, immediate_judge
from safescape.landscape import Reading, is_above, reading_of
from safescape.measure import ask, score
from safescape.probes import format_chats, further_probes, load_set, template_variables, thinking_of
from safescape.probes import system_prompt as system_prompt_text
from safescape.survey import Outcome, Probe, PromptProbe


class SafetyMonitor(TrainerCallback):
    """Measures the attack success rate, further probes, and the distance from the initial weights during training.

    Usage: `Trainer(..., callbacks=[SafetyMonitor()])`. It measures before the first step, at regular intervals, and
    after the last step. Every figure is logged through the Trainer as `safescape/asr`, `safescape/moved`, and so on,
    and one line is printed on stderr. The monitor does not change the training: the final weights are bit-equal to
    those of a training without it.

    In DDP the main process measures while the others wait.

    Args:
        prompts: Harmful prompts, as for `safescape.scan`.
        limit: The number of prompts to use, from the first.
        system_prompt: `default` (the chat template's own), `empty`, `roleplay`, `llama2`, `vicuna`, `@file`, or a
            text.
        also: Further probes, one or several: `over-refusal:PROMPTS`, `attack:PROMPTS`, `choice:TEST.csv[:DEV.csv]`,
            `perplexity:PROMPTS`, `lm-eval:TASK`.
        also_limit: The number of items of each further probe, from the first; None for all.
        judge: The judge that tells refusals from compliance.
        max_new_tokens: The maximum number of tokens of an answer.
        max_thinking_tokens: The number of tokens after which the thought of a reasoning model is ended, so that an
            answer follows.
        every: `epoch`, or a number of optimizer steps.
        stop_above: The ASR, in percent, above which the training is stopped; None never stops it. An answer that the
            judge leaves unscored counts as an answer to its request.
        landscape: The directory of a run measured on the model that the training begins with. With it, the movement
            along and across its axes is measured, too; see `safescape.finetuning.distance`.
        batch_size: The maximum number of answers decoded together.
        template_vars: Variables of the chat template, each as `NAME=VALUE`, for example `enable_thinking=false`.

    Raises:
        InputError: An argument cannot be used. When the training begins: there is no tokenizer or no chat template,
            the weights are sharded or quantised, the adapter is not a plain LoRA, or the landscape is another model's.

    """

    def __init__(
        self,
        *,
        prompts: str = "builtin:harmful",
        limit: int | None = 40,
        system_prompt: str = "default",
        also: str | Sequence[str] = (),
        also_limit: int | None = None,
        judge: str = "keyword",
        max_new_tokens: int = 48,
        max_thinking_tokens: int = 128,
        every: int | str = "epoch",
        stop_above: float | None = None,
        landscape: str | Path | None = None,
        batch_size: int = 128,
        template_vars: str | Sequence[str] = (),
    ) -> None:
        if every != "epoch" and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
            raise InputError(f"every={every!r}: expected 'epoch' or a number of steps, at least 1")
        if stop_above is not None and not 0 <= stop_above < 100:
            raise InputError(f"stop_above={stop_above}: expected a percentage from 0 to below 100, or None")
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens={max_new_tokens}: expected at least 1")
        if max_thinking_tokens < 1:
            raise InputError(f"max_thinking_tokens={max_thinking_tokens}: expected at least 1")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: expected at least 1")
        system = system_prompt_text(system_prompt)
        harmful = PromptProbe(
            name="harmful", source=prompts, system_prompt=system, **load_set(prompts, limit)._asdict()
        )
        further = further_probes([also] if isinstance(also, str) else also, also_limit, system)
        variables = template_variables([template_vars] if isinstance(template_vars, str) else template_vars)
        asks = immediate_judge(judge), max_new_tokens, batch_size, max_thinking_tokens, variables
        self._failed_attacks = harmful.failed_attacks
        self._questions = _Questions([harmful, *further], *asks)
        self._every, self._stop_above = every, stop_above
        self._basin = None if landscape is None else Basin(landscape)
        self._watch: _Watch | None = None
        self._history: list[Measurement] = []

    @property
    def history(self) -> tuple[Measurement, ...]:
        """The measurements of the latest training, in order."""
        return tuple(self._history)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Record the initial weights, and measure."""
        tokenizer = kwargs.get("processing_class")
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise InputError("SafetyMonitor needs the tokenizer; give the Trainer processing_class=tokenizer")
        self._history = []

        def begin() -> Measurement:
            precision = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
            self._watch = _Watch(kwargs["model"], tokenizer, self._questions, self._basin, precision)
            return self._watch.measure(state.global_step, state.epoch)

        control = self._take(begin, args, state, control)
        if self._failed_attacks is not None:
            _say(state, self._failed_attacks)
        if self._is_above(self._history[0]):
            raise InputError(
                f"stop_above={self._stop_above}: the model answers {self._history[0].asr:.1f} % of the harmful prompts "
                "before the first step; give a higher percentage, or None"
            )
        return control

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Measure, if it is due."""
        step = state.global_step
        is_due = isinstance(self._every, int) and (step % self._every == 0 or step >= state.max_steps)
        return self._measure(args, state, control) if is_due else control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Measure, if it is due."""
        return self._measure(args, state, control) if self._every == "epoch" else control

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Release the model and its initial weights."""
        self._watch = None
        return control

    def _measure(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> TrainerControl:
        def measure() -> Measurement:
            assert self._watch is not None
            return self._watch.measure(state.global_step, state.epoch)

        control = self._take(measure, args, state, control)
        latest = self._history[-1]
        if self._is_above(latest):
            control.should_training_stop = True
            _say(state, f"stops the training: ASR {latest.asr:.1f} % is above {self._stop_above} %")
        return control

    def _is_above(self, measurement: Measurement) -> bool:
        return self._stop_above is not None and is_above(measurement.asr, self._stop_above)

    def _take(
        self,
        measure: Callable[[], Measurement],
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
    ) -> TrainerControl:
        """Measure, store the measurement, print and log it."""
        measurement = _from_main_process(measure)
        self._history.append(measurement)
        _say(state, str(measurement))
        return _log(measurement.logs(), args, state, control)


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
            unit = "" if reading.kind == "perplexity" else " %"
            left = _left(reading.unscored, "refusals" if reading.kind == "over_refusal" else "answers")
            said.append(f"{name} {reading.value:.1f}{unit}{left}")
        said.append(f"moved {100 * self.moved:.2g} % of the weights' norm")
        said += [f"along {a:.2g} across {b:.2g}" for a, b in zip(self.along, self.across, strict=True)]
        if self.basin_radius is not None:
            said.append(f"basin radius {self.basin_radius:.2g}")
        return f"step {self.step}, epoch {self.epoch:.2f}: {', '.join(said)}; {self.seconds:.1f} s"


def _left(unscored: int, counted: str) -> str:
    """How many answers are unscored, and as what they are counted; empty if none is."""
    return f", {unscored} unscored counted as {counted}" if unscored else ""


class _Questions(NamedTuple):
    """The probes of every measurement, and the settings for them."""

    probes: Sequence[Probe]
    """The first one has harmful prompts."""
    judge: Judge
    max_new_tokens: int
    batch_size: int
    max_thinking_tokens: int
    template_vars: Mapping[str, JsonValue]


class _Watch:
    """Measures a model from the beginning of its training on; `precision` is the dtype of the training's autocast.

    Raises:
        InputError: The tokenizer has no chat template, the basin is another model's, or the model cannot be measured.

    """

    def __init__(
        self,
        model: Module,
        tokenizer: PreTrainedTokenizerBase,
        questions: _Questions,
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
            if isinstance(probe, PromptProbe)
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
            **self._start.distance(self._axes)._asdict(),
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
        return reading_of(probe, (), score(self._speaker, probe, max_new_tokens=tokens))


def _from_main_process(measure: Callable[[], Measurement]) -> Measurement:
    """Measure in the main process and broadcast the measurement, so that all processes decide alike."""
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return measure()
    shared: list[Measurement | None] = [None]
    try:
        if distributed.get_rank() == 0:
            shared = [measure()]
    finally:
        # Also after an exception, or the other processes would wait forever.
        distributed.broadcast_object_list(shared, src=0)
    if shared[0] is None:
        raise RunError("the main process could not measure the model; its own message says why")
    return shared[0]


def _say(state: TrainerState, text: str) -> None:
    if state.is_world_process_zero:
        # tqdm prints around the Trainer's progress bar, which is on stderr, too.
        tqdm.write(f"safescape: {text}", file=sys.stderr)


def _log(
    logs: dict[str, float], args: TrainingArguments, state: TrainerState, control: TrainerControl
) -> TrainerControl:
    """Log into the history and to every callback, as `Trainer.log` does.

    `Trainer.log` itself is not called, because trl's trainers reset their own averaged metrics in it.
    """
    logs = {**logs, "epoch": state.epoch}
    state.log_history.append({**logs, "step": state.global_step})
    wanted = control.should_log
    control = _handler().on_log(args, state, control, logs)
    # on_log resets a request to log the loss at this step, which the Trainer has not served yet.
    control.should_log = wanted
    return control


def _handler() -> CallbackHandler:
    """Return the Trainer's list of callbacks from the call stack, because callbacks are not given it."""
    frame: Any = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, CallbackHandler):
            return found
        frame = frame.f_back
    raise InputError("SafetyMonitor was not called by a Trainer; pass it to one as callbacks=[SafetyMonitor()]")
