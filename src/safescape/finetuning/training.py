"""Finetuning on TRL's SFTTrainer and PEFT with the paper's settings; an interrupted training resumes.

Only this module imports TRL, which comes with the extra `finetuning`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars, enable_progress_bars
from peft import LoraConfig
from pydantic import JsonValue
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer

from safescape.engines import check_vocabulary, load_model, parameters_of
from safescape.errors import InputError, RunError
from safescape.finetuning.conversations import Conversation, render
from safescape.finetuning.directory import (
    Finetune,
    Finetuned,
    Step,
    checkpoints,
    claim,
    delete_optimizer,
    finish,
    finished,
    latest,
    locked,
    set_base_name,
    written,
)
from safescape.probes import check_variables
from safescape.weights import Checkpoint, Model, layer_of, quiet


def train(
    finetune: Finetune,
    model: Model,
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    *,
    report_to: Sequence[str] = (),
    callbacks: Sequence[TrainerCallback] = (),
    on_step: Callable[[Step], None] | None = None,
) -> Finetuned:
    """Train, or resume a training that was interrupted in `directory`.

    The checkpoints and the finetuned model are written there. `report_to` names the Trainer's integrations to log to:
    `tensorboard`, `wandb`, `mlflow`.

    Raises:
        InputError: The data does not fit the chat template or the token limit, or the directory has other files.
        RunError: The loss or a weight became NaN or infinite; the last good checkpoint is kept.

    """
    variables = finetune.template_vars
    check_variables(tokenizer, variables)
    check_vocabulary(model, tokenizer, _check(conversations, tokenizer, finetune.max_tokens, variables))
    with locked(directory, "training"):
        claim(directory, finetune)
        if done := finished(directory):
            return done
        rows = [[message._asdict() for message in conversation.messages] for conversation in conversations]
        # Arrow stores no struct without fields.
        given = {"chat_template_kwargs": variables} if variables else {}
        lora = LoraConfig(
            r=finetune.rank, lora_alpha=2 * finetune.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        with quiet(), _silent_datasets():
            trainer = _Trainer(
                model=_loaded(model, finetune),
                args=_settings(finetune, directory, report_to),
                train_dataset=Dataset.from_list(
                    [{"prompt": turns[:-1], "completion": turns[-1:], **given} for turns in rows]
                ),
                processing_class=tokenizer,
                peft_config=lora if finetune.method == "lora" else None,
                callbacks=[*callbacks, _Progress(directory, model.name, on_step)],
            )
            trainer.finetune = finetune
            # It prints every log on stdout, which is for results.
            trainer.remove_callback(PrinterCallback)
            newest = latest(directory)
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
            with written(directory):
                trainer.save_model(str(directory))
            set_base_name(directory, model.name)
        return finish(directory, finetune, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def _check(
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    variables: Mapping[str, JsonValue],
) -> list[str]:
    """Return the rendered conversations.

    Checks that the template renders a request alike with and without its answer, and that no answer is cut off.
    """
    cut, rendered = [], []
    for conversation in conversations:
        row, messages = conversation
        advice = "mend the row, or give --chat-template FILE (Jinja)"
        request, whole = render(conversation, tokenizer, variables, advice=advice)
        between, answer, _ = whole.removeprefix(request).partition(messages[-1].content.strip())
        rendered.append(whole)
        if not whole.startswith(request) or not answer:
            raise InputError(
                f"--data row {row}: the chat template renders this conversation differently with and without its "
                "answer; give another one with --chat-template FILE (Jinja)"
            )
        if between.strip():
            raise InputError(
                f"the chat template has no generation prompt: it writes {between.strip()[:40]!r} before an answer "
                "only when the answer is there; give one that has with --chat-template FILE (Jinja)"
            )
        if len(tokenizer(request + between, add_special_tokens=False)["input_ids"]) >= max_tokens:
            cut.append(row)
    if cut:
        some = ", ".join(map(str, cut[:5])) + ("…" if len(cut) > 5 else "")
        raise InputError(
            f"--max-tokens {max_tokens}: nothing is left of {len(cut)} of {len(conversations)} answers (rows {some}); "
            "raise it, or take these rows out"
        )
    return rendered


class _Progress(TrainerCallback):
    """Reports the progress, stops when the loss is NaN or infinite, and keeps only the newest optimizer state."""

    def __init__(self, directory: Path, base: str, on_step: Callable[[Step], None] | None) -> None:
        self._directory, self._base, self._on_step = directory, base, on_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Check and report the loss of every step."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise _not_a_number(self._directory, state.global_step)
        if self._on_step is not None:
            self._on_step(Step(state.global_step, state.max_steps, loss))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Delete the optimizer states of older checkpoints."""
        set_base_name(self._directory / f"checkpoint-{state.global_step}", self._base)
        for path in self._directory.glob("checkpoint-*"):
            if path.name != f"checkpoint-{state.global_step}":
                delete_optimizer(path)


class _Trainer(SFTTrainer):
    """SFTTrainer whose learning rate decays once per epoch."""

    finetune: Finetune

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LambdaLR:
        each, decay = self.finetune.steps_per_epoch, self.finetune.decay
        if self.lr_scheduler is None:
            given = optimizer or self.optimizer
            assert given is not None
            self.lr_scheduler = LambdaLR(given, lambda step: decay ** (step // each))
        return self.lr_scheduler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not all(bool(torch.isfinite(p.detach().sum())) for p in model.parameters() if p.requires_grad):
            raise _not_a_number(Path(str(self.args.output_dir)), self.state.global_step)
        with written(Path(str(self.args.output_dir))):
            super()._save_checkpoint(model, trial)


def _settings(finetune: Finetune, directory: Path, report_to: Sequence[str]) -> SFTConfig:
    on_cpu = finetune.device == "cpu"
    return SFTConfig(
        output_dir=str(directory),
        num_train_epochs=finetune.epochs,
        per_device_train_batch_size=finetune.batch_size,
        learning_rate=finetune.learning_rate,
        weight_decay=0.0,
        max_grad_norm=0.0,
        max_length=finetune.max_tokens,
        completion_only_loss=True,
        save_strategy="epoch",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=list(report_to) or "none",
        seed=finetune.seed,
        bf16=finetune.dtype == "bfloat16",
        gradient_checkpointing=False,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        disable_tqdm=True,
    )


def _loaded(model: Model, finetune: Finetune) -> PreTrainedModel:
    """Return the model in fp32, with its adapter merged and its frozen layers frozen."""
    loaded = load_model(model, torch.float32)
    if not isinstance(model.weights, Checkpoint):
        with torch.no_grad():
            for name, parameter in parameters_of(loaded, model.weights).items():
                parameter.copy_(model.weights.tensor(name))
    if finetune.method == "freeze":
        _freeze(loaded, finetune.frozen_layers)
    return loaded


def _freeze(model: PreTrainedModel, layers: int) -> None:
    by_layer = [(layer_of(name), parameter) for name, parameter in model.named_parameters()]
    there = len({layer for layer, _ in by_layer if layer is not None})
    if layers > there:
        raise InputError(f"--freeze {layers}: the model has {there} layers; give fewer")
    model.get_input_embeddings().requires_grad_(False)
    for layer, parameter in by_layer:
        if layer is not None and layer < layers:
            parameter.requires_grad_(False)


def _not_a_number(directory: Path, step: int) -> RunError:
    """Return the error of a training that diverged."""
    good = checkpoints(directory)
    kept = f"the last good checkpoint is {good[-1]}" if good else "no checkpoint was saved yet"
    return RunError(f"the loss is NaN or infinite at step {step}; {kept}; lower --learning-rate and give a new --out")


@contextlib.contextmanager
def _silent_datasets() -> Iterator[None]:
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
