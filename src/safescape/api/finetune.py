"""`finetune`: train a model on given conversations, as the paper does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from safescape.api.settings import chat_template_of, device_of
from safescape.errors import InputError, either
from safescape.finetuning import Finetune, Finetuned, Step, conversations_of, digest
from safescape.finetuning.directory import sha256_of
from safescape.measure import tokenizer_of_model
from safescape.options import FinetuneOptions, each_of, takes
from safescape.probes import template_variables
from safescape.weights import inspect, resolve

_TRACKERS = ("tensorboard", "wandb", "mlflow")


class _Arguments(FinetuneOptions):
    """The arguments of `finetune`."""

    # of transformers' TrainerCallback, which takes seconds to import
    callbacks: Sequence[Any] = ()
    """Callbacks of the Trainer, such as a SafetyMonitor."""
    on_step: Callable[[Step], None] | None = None
    """Called after every step."""


@takes(_Arguments)
def finetune(options: _Arguments) -> Finetuned:
    """Finetune a model, or resume a finetune that was interrupted.

    Raises:
        InputError: an argument cannot be used.
        RunError: the loss became NaN; the last good checkpoint stays.

    """
    freeze, report_to = options.freeze, each_of(options.report_to)
    if options.lora and freeze is not None:
        raise InputError(f"--lora --freeze {freeze}: one or the other; a LoRA trains no layer as such")
    if unknown := [tracker for tracker in report_to if tracker not in _TRACKERS]:
        raise InputError(f"--report-to {unknown[0]}: expected {either(_TRACKERS)}")
    if absent := [tracker for tracker in report_to if find_spec(tracker) is None]:
        raise InputError(f"--report-to {absent[0]}: is not installed; pip install {absent[0]}")
    if options.stop_above is not None and not options.watch:
        raise InputError(f"--stop-above {options.stop_above:g}: nothing is watched; give --watch as well")
    device = check_trainable(options.device)
    conversations = conversations_of(options.data, options.recipe, shots=options.shots, skip=options.skip)
    origin = resolve(options.model)
    template = chat_template_of(options)
    tokenizer = tokenizer_of_model(origin, chat_template=template, template_name=options.chat_template_name)
    variables = template_variables(each_of(options.template_vars))
    # The training data is an Arrow table, which stores no list or object of mixed types.
    if nested := next((name for name, value in variables.items() if isinstance(value, (list, dict))), None):
        raise InputError(f"--template-var {nested}: finetune takes texts, numbers, true, false and null")
    specification = Finetune.model_validate(
        {
            **options.model_dump(include=set(Finetune.model_fields)),
            "model": origin.name,
            "model_fingerprint": inspect(origin.weights),
            "data": " ".join(filter(None, (options.recipe, options.data))),
            "taught": digest(conversations),
            "examples": len(conversations),
            "method": "lora" if options.lora else "full" if freeze is None else "freeze",
            "frozen_layers": freeze or 0,
            "device": device,
            "chat_template": sha256_of(tokenizer.get_chat_template()),
            "template_vars": variables,
        }
    )
    try:
        from safescape.finetuning.training import train
    except ModuleNotFoundError as error:
        raise InputError(f"finetuning needs {error.name}; pip install 'safescape[finetuning]'") from error
    callbacks = [*options.callbacks]
    if options.watch:
        from safescape.finetuning.monitor import SafetyMonitor

        callbacks.append(
            SafetyMonitor(prompts=options.prompts, stop_above=options.stop_above, template_vars=options.template_vars)
        )
    return train(
        specification,
        origin,
        conversations,
        tokenizer,
        Path(options.out),
        report_to=report_to,
        callbacks=callbacks,
        on_step=options.on_step,
    )


def check_trainable(given: str | None) -> str:
    """Return the device to train on.

    Raises:
        InputError: there is no such device, or the Trainer cannot choose it.

    """
    device = device_of(given)
    if torch.device(device).type not in ("cpu", "cuda"):
        raise InputError(f"--device {given}: training runs on cpu or cuda")
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {given}: the Trainer takes the first GPU; give cuda, and CUDA_VISIBLE_DEVICES=N")
    return device
