"""What several commands settle from their options: the device, how judges run, and the chat template."""

from __future__ import annotations

from pathlib import Path

import torch

from safescape.errors import InputError
from safescape.judge_runtime import JudgeSettings
from safescape.options import FinetuneOptions, InspectOptions, JudgeOptions, MeasureOptions
from safescape.placement import Placement, check_placement
from safescape.probes import read_text


def settings_of(options: MeasureOptions | JudgeOptions) -> JudgeSettings:
    """Return how judges run, and where: on the device and the workers that also measure, if anything is measured.

    Raises:
        InputError: there is no such device, or the workers cannot be had.

    """
    placement = Placement(options.workers, options.ray, options.gpus_per_worker)
    # the machines of a Ray cluster may have GPUs although this one has none; workers check theirs when they start
    given = options.device
    device = given if given is not None and placement.ray is not None else device_of(given)
    check_placement(placement, device, options.tensor_parallel if isinstance(options, MeasureOptions) else 1)
    limits = options.model_dump(include={"base_url", "max_requests", "requests_per_minute", "concurrency"})
    return JudgeSettings(device=device, placement=placement, **limits)


def device_of(given: str | None) -> str:
    """Return the device to use, given as on the command line.

    Raises:
        InputError: this machine has no such device.

    """
    if given is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.device(given).type
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "xpu": torch.xpu.device_count()}
    count = int(torch.backends.mps.is_available()) if kind == "mps" else counts[kind]
    if (torch.device(given).index or 0) >= count:
        what = "GPUs" if kind == "cuda" else f"{kind} devices"
        raise InputError(f"--device {given}: torch sees {count} {what} here; give cpu or another one")
    return given


def chat_template_of(options: MeasureOptions | FinetuneOptions | InspectOptions) -> str | None:
    """Return the text of the chat template that is given as a file; None if none is.

    Raises:
        InputError: the file cannot be read, or is empty.

    """
    path = options.chat_template
    if path is None:
        return None
    text = read_text(Path(path), f"--chat-template {path}")
    if not text.strip():
        raise InputError(f"--chat-template {path}: is empty; give a Jinja template")
    return text
