"""A checkpoint that counts the bytes that are read of it."""

from __future__ import annotations

from torch import Tensor

from safescape.weights import Checkpoint, Part


class CountedCheckpoint(Checkpoint):
    """Counts the bytes of the tensors, or parts of tensors, that were asked for."""

    bytes_read = 0

    def tensor(self, name: str) -> Tensor:
        """Read one tensor."""
        return self._counted(super().tensor(name))

    def part(self, name: str, part: Part) -> Tensor:
        """Read a part of one tensor."""
        return self._counted(super().part(name, part))

    def _counted(self, values: Tensor) -> Tensor:
        self.bytes_read += values.nbytes
        return values
