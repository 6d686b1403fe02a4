"""Weights of which a tensor-parallel rank reads its own parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from safescape.weights.checkpoint import Weights
from safescape.weights.inner_product import square_of
from safescape.weights.parts import Part


class DividedWeights:
    """The parts of a model's tensors; tensors without a part are whole."""

    def __init__(self, weights: Weights, parts: Mapping[str, Part]) -> None:
        self._weights, self.parts = weights, parts
        self._squares: dict[str, float] = {}

    def names(self) -> Sequence[str]:
        """Return the names of all tensors."""
        return self._weights.names()

    def tensor(self, name: str) -> Tensor:
        """Read the part of one tensor; of a tensor with fewer rows than the part's, those that it has."""
        if name not in self.parts:
            return self._weights.tensor(name)
        return self._weights.part(name, self.parts[name])

    def part(self, name: str, part: Part) -> Tensor:
        """Read a part of the part of one tensor."""
        return part.of(self.tensor(name))

    def of(self, name: str, whole: Tensor) -> Tensor:
        """Return the part of a tensor that has the shape of a whole one."""
        return self.parts[name].of(whole) if name in self.parts else whole

    def shape(self, name: str, values: Tensor) -> torch.Size:
        """Return the shape of the whole tensor whose part has some values."""
        return self.parts[name].whole if name in self.parts else values.shape

    def square(self, name: str, values: Tensor) -> float:
        """Return ⟨w, w⟩ of a whole tensor, computed on the device of its part, `values`.

        The first call for a tensor reads it whole; its square is kept.
        """
        if name not in self.parts:
            return square_of(values)
        if name not in self._squares:
            self._squares[name] = square_of(self._weights.tensor(name).to(values.device))
        return self._squares[name]
