"""`SafetyMonitor`: a Trainer callback that measures a model's safety during training."""

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
from safescape.finetuning.distance import Basin
from safescape.finetuning.measurements import Measurement, Questions, Watch
from safescape.judges import immediate_judge
from safescape.landscape import is_above
from safescape.probes import further_probes, load_set, template_variables
from safescape.probes import system_prompt as system_prompt_text
from safescape.survey import PromptProbe


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
        self._questions = Questions([harmful, *further], *asks)
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
        """Record the initial weights, and measure."""
        tokenizer = kwargs.get("processing_class")
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise InputError("SafetyMonitor needs the tokenizer; give the Trainer processing_class=tokenizer")
        self._history = []

        def begin() -> Measurement:
            precision = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
            self._watch = Watch(kwargs["model"], tokenizer, self._questions, self._basin, precision)
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
