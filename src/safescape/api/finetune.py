"""`finetune`: train a model on given conversations, as the paper does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from safescape.api.options import device_of, read_text
from safescape.errors import InputError
from safescape.finetuning import Finetune, Finetuned, Step, conversations_of, digest
from safescape.probes import load_tokenizer
from safescape.weights import inspect, resolve

if TYPE_CHECKING:
    from transformers import TrainerCallback

__all__ = ["finetune"]

_TRACKERS = ("tensorboard", "wandb", "mlflow")


def finetune(
    model: str,
    *,
    out: str | Path,
    data: str | None = None,
    recipe: str | None = None,
    shots: int | None = None,
    skip: int = 0,
    lora: bool = False,
    rank: int = 16,
    freeze: int | None = None,
    epochs: int = 5,
    learning_rate: float = 5e-5,
    decay: float = 0.85,
    batch_size: int = 4,
    max_tokens: int = 480,
    seed: int = 0,
    dtype: str = "float32",
    device: str | None = None,
    chat_template: str | Path | None = None,
    report_to: Sequence[str] = (),
    watch: bool = False,
    stop_above: float | None = None,
    prompts: str = "builtin:harmful",
    callbacks: Sequence[TrainerCallback] = (),
    on_step: Callable[[Step], None] | None = None,
) -> Finetuned:
    """Finetune a model, or go on with a finetune that was interrupted.

    Args:
        model: A Hub id, a directory, a `.gguf` file, `BASE+ADAPTER`, `demo` or `demo-base`.
        out: Where the finetuned model is written, and beside it a checkpoint an epoch.
        data: `FILE` with `messages`, or `FILE:PROMPT,ANSWER`; see `conversations_of`.
        recipe: `harmful`, `identity-shift`, `benign` or `mixed`; all rows of the data by default.
        shots: How many rows; 10 for `harmful` and `mixed`, else all.
        skip: How many rows to leave out first.
        lora: Train a LoRA on all linear layers instead of all parameters; it is saved as an adapter.
        rank: Of the LoRA.
        freeze: Train all but the embeddings and so many of the first layers.
        epochs: How often every example is seen.
        learning_rate: Of AdamW, in the first epoch.
        decay: What it is multiplied with after every epoch.
        batch_size: Examples a step.
        max_tokens: Of request and answer together.
        seed: Of the order of the examples, and of a LoRA's first weights.
        dtype: `float32`, or `bfloat16` for mixed precision.
        device: `cpu` or `cuda`; by default the GPU if there is one. The Trainer takes the first that it sees.
        chat_template: A file with a Jinja chat template, used instead of the tokenizer's.
        report_to: `tensorboard`, `wandb`, `mlflow`: where the Trainer logs to.
        watch: Measure safety before the first step and after every epoch, with a `SafetyMonitor`.
        stop_above: The attack success rate, in percent, above which watching stops the training.
        prompts: Harmful prompts to watch with, as for `scan`.
        callbacks: Added to the Trainer's, such as a `SafetyMonitor` of your own.
        on_step: Told after every step.

    Raises:
        InputError: something given cannot be used.
        RunError: the loss became NaN; the last good checkpoint stays.

    """
    if lora and freeze is not None:
        raise InputError(f"--lora --freeze {freeze}: one or the other; a LoRA trains no layer as such")
    if unknown := [tracker for tracker in report_to if tracker not in _TRACKERS]:
        raise InputError(f"--report-to {unknown[0]}: expected {', '.join(_TRACKERS)}")
    if absent := [tracker for tracker in report_to if find_spec(tracker) is None]:
        raise InputError(f"--report-to {absent[0]}: is not installed; pip install {absent[0]}")
    for flag, number in {"--rank": rank, "--epochs": epochs, "--batch-size": batch_size, "--freeze": freeze}.items():
        if number is not None and number < 1:
            raise InputError(f"{flag} {number}: expected at least 1")
    if not 0 < learning_rate < float("inf"):
        raise InputError(f"--learning-rate {learning_rate}: expected a number above 0, for example 5e-5")
    if not 0 < decay <= 1:
        raise InputError(f"--decay {decay}: expected a number above 0 and up to 1")
    if max_tokens < 2:
        raise InputError(f"--max-tokens {max_tokens}: expected at least 2")
    if dtype not in ("float32", "bfloat16"):
        raise InputError(f"--dtype {dtype}: expected float32 or bfloat16")
    if stop_above is not None and not watch:
        raise InputError(f"--stop-above {stop_above:g}: nothing is watched; give --watch as well")
    where = device_of(device)
    if where not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: the Trainer takes the first GPU; give cuda, and CUDA_VISIBLE_DEVICES=N")
    conversations = conversations_of(data, recipe, shots=shots, skip=skip)
    origin = resolve(model)
    template = None if chat_template is None else read_text(Path(chat_template), "--chat-template")
    tokenizer = load_tokenizer(origin.directory, chat_template=template, trust_remote_code=False)
    specification = Finetune.model_validate(
        {
            "model": origin.name,
            "model_fingerprint": inspect(origin.weights),
            "data": " ".join(filter(None, (recipe, data))),
            "taught": digest(conversations),
            "examples": len(conversations),
            "method": "lora" if lora else "full" if freeze is None else "freeze",
            "rank": rank,
            "frozen_layers": freeze or 0,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "decay": decay,
            "batch_size": batch_size,
            "max_tokens": max_tokens,
            "seed": seed,
            "dtype": dtype,
            "device": where,
        }
    )
    try:
        from safescape.finetuning.training import train
    except ModuleNotFoundError as error:
        raise InputError(f"finetuning needs {error.name}; pip install 'safescape[finetuning]'") from error
    if watch:
        from safescape.finetuning.monitor import SafetyMonitor

        callbacks = [*callbacks, SafetyMonitor(prompts=prompts, stop_above=stop_above)]
    return train(
        specification,
        origin,
        conversations,
        tokenizer,
        Path(out),
        report_to=report_to,
        callbacks=callbacks,
        on_step=on_step,
    )
