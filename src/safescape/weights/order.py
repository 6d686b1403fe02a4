"""The order in which a live model holds the values of a matrix, where it is not row by row.

Arithmetic on single values can be done in any order. A mover that keeps origin and directions in the live order writes
the weights in one pass; otherwise each weight would be computed row by row and then put into order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class RowBlocks(NamedTuple):
    """Blocks of `height` rows one after another, each of them column by column.

    oneDNN has the weights of a linear layer in this order, in fp32.
    """

    rows: int
    """Of the matrix; a multiple of `height`."""
    columns: int
    height: int

    def ordered(self, matrix: Tensor) -> Tensor:
        """Return the values of a matrix in this order: (rows · columns,), a copy."""
        return self._blocks(matrix).reshape(-1)

    def write(self, matrix: Tensor, memory: Tensor) -> None:
        """Write the values of a matrix into memory of shape (rows · columns,)."""
        memory.view(-1, self.columns, self.height).copy_(self._blocks(matrix))

    def matrix(self, values: Tensor) -> Tensor:
        """Return the matrix whose values in this order are given: (rows, columns), a copy."""
        return values.view(-1, self.columns, self.height).transpose(1, 2).reshape(self.rows, self.columns)

    def _blocks(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(-1, self.height, self.columns).transpose(1, 2)


Orders = Mapping[str, RowBlocks]
"""By name, the order of a tensor; tensors that are not there are held row by row."""
