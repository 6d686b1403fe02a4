"""Placing a loaded model on its device, or its layers on several GPUs."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from safescape.errors import InputError
from safescape.weights import free_memory

_log = logging.getLogger(__name__)

_SHARE = 0.8
"""Share of a GPU's free memory that weights may take; keys and values, activations and moved tensors take the rest."""


def place(model: PreTrainedModel, device: str, name: str) -> None:
    """Move a loaded model to a device; with `cuda`, distribute its layers if the first GPU is too small for all.

    A model that fits on one GPU, or is given a GPU by its number, is not distributed. Nothing is offloaded to the
    CPU: each token would wait for all of the weights to be copied.

    Raises:
        InputError: The visible GPUs together are too small, or accelerate is not installed.

    """
    target, gpus = torch.device(device), torch.cuda.device_count()
    if target.type == "cuda" and target.index is None and gpus > 1:
        devices = [torch.device("cuda", number) for number in range(gpus)]
        room = [int(_SHARE * free_memory(each)) for each in devices]
        if _size(model) > room[0]:
            distribute(model, devices, room, name)
            return
    torch.nn.Module.to(model, target)


def distribute(model: PreTrainedModel, devices: Sequence[torch.device], room: Sequence[int], name: str) -> None:
    """Place the layers of a model on several devices, of which each has room for so many bytes of weights.

    The devices get equal shares if they have the room, so that each keeps memory for the keys and values of its
    layers. Tied parameters stay together.

    Raises:
        InputError: The devices together are too small, or accelerate is not installed.

    """
    if importlib.util.find_spec("accelerate") is None:
        raise InputError(
            f"{name}: is too large for one GPU, and layers are distributed by accelerate, which is not installed; "
            "type pip install accelerate"
        )
    from accelerate import dispatch_model, infer_auto_device_map

    size, whole = _size(model), list(model._no_split_modules or ())
    largest = max((_size(each) for each in model.modules() if type(each).__name__ in whole), default=0)
    # Accelerate keeps room for a copy of the largest layer on the first device.
    equal = [min(most, size // len(devices) + 2 * largest) for most in room]
    for limits in (equal, room):
        places = infer_auto_device_map(model, dict(enumerate(limits)), no_split_module_classes=whole)
        if not {"cpu", "disk"} & set(places.values()):
            break
    else:
        less = "--dtype bfloat16, " if model.dtype == torch.float32 else ""
        raise InputError(
            f"{name}: its weights take {_gigabytes(size)}, and {len(devices)} GPUs have room for "
            f"{_gigabytes(sum(room))} ({_SHARE:.0%} of their free memory, in whole layers); give {less}"
            "more GPUs, or --device cpu; layers are not offloaded"
        )
    by_device = {module: devices[number] for module, number in places.items()}
    _log.info("layers on %s", ", ".join(f"{each}: {list(by_device.values()).count(each)}" for each in devices))
    dispatch_model(model, by_device, skip_keys=model._skip_keys_device_placement, force_hooks=True)


def _size(module: torch.nn.Module) -> int:
    """Return the bytes of the parameters and buffers of a module."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
