"""Tensors that are kept between two moves."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Kept"]


class Kept:
    """Tensors of fp32 by name in one block of memory, which is there when the first of them is.

    One by one they would lie among tensors that are soon freed, and what is free between them is lost.
    """

    def __init__(self, numbers: int) -> None:
        self._numbers, self._end = numbers, 0
        self._tensors: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._tensors)

    def get(self, name: str) -> Tensor | None:
        """Return what was kept under a name."""
        return self._tensors.get(name)

    def keep(self, name: str, values: Tensor) -> Tensor:
        """Return a copy, which stays."""
        if not self._tensors:
            self._memory = torch.empty(self._numbers, dtype=torch.float32, device=values.device)
        place = self._memory[self._end : self._end + values.numel()].view(values.shape)
        self._end += values.numel()
        self._tensors[name] = place.copy_(values)
        return place
