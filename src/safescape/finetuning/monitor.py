"""`SafetyMonitor`: a Trainer's callback that measures a model's safety while it is trained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from safescape.errors import InputError, RunError
from safescape.finetuning.watch import Asked, Basin, Measurement, Watch
from safescape.judges import immediate_judge
from safescape.probes import further_probes, load_prompts
from safescape.probes import system_prompt as system_prompt_text
from safescape.survey import PromptProbe

__all__ = ["SafetyMonitor"]


class SafetyMonitor(TrainerCallback):
    """Measures attack success rate, further probes and the distance from the start while a Trainer trains.

    `Trainer(..., callbacks=[SafetyMonitor()])` is all. It measures before the first step, every so often, and after the
    last step; every figure goes through the Trainer's log to wherever that reports, as `safescape/asr`,
    `safescape/moved`, and so on, with one line on stderr. The training is left exactly as it was: its weights end
    bit-equal to those of a training without the monitor.

    In DDP the main process measures while the others wait.

    Args:
        prompts: Harmful ones, as `safescape.scan` takes them.
        limit: How many of them, from the first.
        system_prompt: `default` (the chat template's own), `empty`, `roleplay`, `llama2`, `@file`, or a text.
        also: Asked as well: `over-refusal:PROMPTS`, `attack:PROMPTS`, `choice:TEST.csv[:DEV.csv]`,
            `perplexity:PROMPTS`, `lm-eval:TASK`.
        also_limit: How many items of each of those, from the first; None for all.
        judge: Who tells refusals from compliance.
        max_new_tokens: The most tokens of an answer.
        every: `epoch`, or a number of optimizer steps.
        stop_above: The ASR, in percent, above which the training is stopped; None for never.
        landscape: The directory of a run measured on the model that the training begins with. How far along and
            across its axes the weights have moved is measured too; see `safescape.finetuning.watch`.
        batch_size: The most answers decoded together.

    Raises:
        InputError: something given cannot be used. What depends on the model is found when the training begins: there
            is no tokenizer or no chat template, the weights are sharded or quantised, the adapter is no plain LoRA,
            or the landscape is another model's.

    """

    def __init__(
        self,
        *,
        prompts: str = "builtin:harmful",
        limit: int | None = 40,
        system_prompt: str = "default",
        also: Sequence[str] = (),
        also_limit: int | None = None,
        judge: str = "keyword",
        max_new_tokens: int = 48,
        every: int | str = "epoch",
        stop_above: float | None = None,
        landscape: str | Path | None = None,
        batch_size: int = 128,
    ) -> None:
        if every != "epoch" and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
            raise InputError(f"every={every!r}: expected 'epoch' or a number of steps, at least 1")
        if stop_above is not None and not 0 <= stop_above < 100:
            raise InputError(f"stop_above={stop_above}: expected a percentage from 0 to below 100, or None")
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens={max_new_tokens}: expected at least 1")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: expected at least 1")
        system = system_prompt_text(system_prompt)
        harmful = PromptProbe(
            name="harmful", source=prompts, system_prompt=system, prompts=load_prompts(prompts, limit)
        )
        further = further_probes(also, also_limit, system)
        self._asked = Asked([harmful, *further], immediate_judge(judge), max_new_tokens, batch_size)
        self._every, self._stop_above = every, stop_above
        self._basin = None if landscape is None else Basin(landscape)
        self._watch: Watch | None = None
        self._history: list[Measurement] = []

    @property
    def history(self) -> tuple[Measurement, ...]:
        """The measurements of the latest training, in order."""
        return tuple(self._history)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Remember where the training begins, and measure there."""
        tokenizer = kwargs.get("processing_class")
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise InputError("SafetyMonitor needs the tokenizer; give the Trainer processing_class=tokenizer")
        self._history = []

        def begin() -> Measurement:
            precision = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
            self._watch = Watch(kwargs["model"], tokenizer, self._asked, self._basin, precision)
            return self._watch.measure(state.global_step, state.epoch)

        control = self._take(begin, args, state, control)
        if self._is_above(self._history[0]):
            raise InputError(
                f"stop_above={self._stop_above}: the model answers {self._history[0].asr:.1f} % of the harmful prompts "
                "before the first step; give a higher percentage, or None"
            )
        return control

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Measure, if it is time to."""
        step = state.global_step
        is_due = isinstance(self._every, int) and (step % self._every == 0 or step >= state.max_steps)
        return self._measure(args, state, control) if is_due else control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Measure, if it is time to."""
        return self._measure(args, state, control) if self._every == "epoch" else control

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Let go of the model, and of what was remembered of its start."""
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
        return self._stop_above is not None and measurement.asr > self._stop_above

    def _take(
        self,
        measure: Callable[[], Measurement],
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
    ) -> TrainerControl:
        """Measure, remember, tell and log."""
        measurement = _from_main_process(measure)
        self._history.append(measurement)
        _say(state, str(measurement))
        return _log(measurement.logs(), args, state, control)


def _from_main_process(measure: Callable[[], Measurement]) -> Measurement:
    """Measure in the main process, and give the measurement to all: the others wait, and decide alike."""
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return measure()
    shared: list[Measurement | None] = [None]
    try:
        if distributed.get_rank() == 0:
            shared = [measure()]
    finally:
        # also when it failed, or the others would wait for ever
        distributed.broadcast_object_list(shared, src=0)
    if shared[0] is None:
        raise RunError("the main process could not measure the model; its own message says why")
    return shared[0]


def _say(state: TrainerState, text: str) -> None:
    if state.is_world_process_zero:
        # between the lines of the Trainer's own bar, which is on stderr too
        tqdm.write(f"safescape: {text}", file=sys.stderr)


def _log(
    logs: dict[str, float], args: TrainingArguments, state: TrainerState, control: TrainerControl
) -> TrainerControl:
    """Log as `Trainer.log` does: into the history, and to every callback.

    `Trainer.log` itself is not called: trl's trainers empty the averages of their own metrics in it.
    """
    logs = {**logs, "epoch": state.epoch}
    state.log_history.append({**logs, "step": state.global_step})
    wanted = control.should_log
    control = _handler().on_log(args, state, control, logs)
    # logging takes back a request to log the loss at this very step, which was not met yet
    control.should_log = wanted
    return control


def _handler() -> CallbackHandler:
    """The Trainer's list of callbacks. It hands itself to none of them, so it is read off the call that led here."""
    frame: Any = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, CallbackHandler):
            return found
        frame = frame.f_back
    raise InputError("SafetyMonitor was called by nobody's Trainer; give it to one as callbacks=[SafetyMonitor()]")
