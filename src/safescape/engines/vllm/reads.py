"""Which values of a checkpoint's tensors vLLM's loaders read, found by watching them load.

How a tensor is divided among tensor-parallel ranks depends on the layer, the model's own code and the number of heads.
All loaders take views of a tensor (`narrow`, an expert, a transposition) and copy from the last of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from safescape.errors import RunError
from safescape.weights import Part
from safescape.weights.parts import Box, box_of, hull, narrowest, union, whole_box


class Reads(TorchDispatchMode):
    """Records what is read of some tensors by torch's operations while it is entered.

    An operation that is not a view is taken to read all of the view that it is given.
    """

    def __init__(self) -> None:
        super().__init__()
        # A weak reference keeps the address, so that no later tensor is taken for an earlier one.
        self._watched: dict[StorageWeakRef, tuple[str, torch.Size, torch.dtype]] = {}
        self._boxes: dict[str, tuple[torch.Size, Box]] = {}

    def watched(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield contiguous tensors, each alone in its memory, and record their reads from then on."""
        for name, tensor in tensors:
            self._watched[StorageWeakRef(tensor.untyped_storage())] = name, tensor.shape, tensor.dtype
            yield name, tensor

    def parts(self) -> dict[str, Part]:
        """Return the part that was read of each tensor, where that was not all of it."""
        found = {name: narrowest(box, shape) for name, (shape, box) in self._boxes.items()}
        return {name: part for name, part in found.items() if part is not None}

    def check(self, parts: Mapping[str, Part]) -> None:
        """Raise RunError if values outside of some parts were read."""
        for name, part in parts.items():
            box = self._boxes[name][1] if name in self._boxes else ()
            if box and union([*box[part.dim], *part.ranges]) != part.ranges:
                raise RunError(
                    f"vLLM read more of {name} than when it was loaded; report this with the model's name, and leave "
                    "--tensor-parallel out"
                )

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> Any:
        """Run an operation; record what it reads."""
        if not func.is_view:
            for given in tree_leaves((args, kwargs)):
                if isinstance(given, Tensor) and given.layout == torch.strided and given.numel():
                    self._read(given)
        return func(*args, **(kwargs or {}))

    def _read(self, view: Tensor) -> None:
        found = self._watched.get(StorageWeakRef(view.untyped_storage()))
        if found is None:
            return
        name, shape, dtype = found
        box = box_of(view, shape) if view.dtype == dtype else whole_box(shape)
        self._boxes[name] = shape, hull(self._boxes[name][1], box) if name in self._boxes else box
