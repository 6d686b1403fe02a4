"""Several devices on one CPU: their tensors compute on the CPU and refuse whatever such devices refuse.

A stand-in for GPUs, which the machines of these tests do not have. Tensors on `meta:0` and `meta:1` have values here.
As on GPUs, tensors of two devices cannot be combined, and nothing combines with a tensor of the CPU except a number and
an index; as on Apple's GPUs, there is no fp64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class Placed(Tensor):
    """A tensor on a fake device; `numbers` has its values, on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, values: Tensor, device: torch.device) -> Placed:
        made: Any = Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), dtype=values.dtype, device=device
        )
        made.numbers = values
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.tolist, Tensor.untyped_storage):
            return func(args[0].numbers)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Devices(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextlib.contextmanager
def fake_devices() -> Iterator[Sequence[torch.device]]:
    """Yield two devices on which tensors can be used within the context."""
    torch._C._set_only_lift_cpu_tensors(True)
    # A tensor of a subclass does not take the place of a plain one otherwise, and tied parameters would be untied.
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        # Views of wrapped tensors cannot be made in inference mode.
        with _Devices(), mock.patch.object(torch, "inference_mode", torch.no_grad):
            yield [torch.device("meta", 0), torch.device("meta", 1)]
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_swap_module_params_on_conversion(False)


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    placed = {each.device for each in tensors if isinstance(each, Placed)}
    name = func._schema.name
    if name not in ("aten::to", "aten::_to_copy", "aten::copy_"):
        others = [each for each in tensors if not isinstance(each, Placed) and each.dim() and name != "aten::index"]
        if len(placed) > 1 or (placed and others):
            raise RuntimeError(f"{name}: expected all tensors on one device, found {placed} and {len(others)} on cpu")
    asked = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.device)]
    given, named = tree_map(_on_cpu, args), tree_map(_on_cpu, kwargs)
    if name == "aten::histc":
        # CPUs count floats only.
        found = func(given[0].float(), *given[1:], **named).to(given[0].dtype)
    else:
        found = func(*given, **named)
    if func._schema.is_mutable and tensors:
        # What is written into keeps its device.
        return kwargs.get("out", args[0] if args else found)
    device = next(iter([*asked, *placed]), torch.device("cpu"))
    return found if device.type == "cpu" else tree_map(lambda each: _placed(each, device), found)


def _on_cpu(given: Any) -> Any:
    if isinstance(given, torch.device):
        return torch.device("cpu")
    return given.numbers if isinstance(given, Placed) else given


def _placed(found: Any, device: torch.device) -> Any:
    if not isinstance(found, Tensor):
        return found
    if found.dtype == torch.float64:
        raise TypeError(f"{device} has no float64")
    return Placed(found, device)
