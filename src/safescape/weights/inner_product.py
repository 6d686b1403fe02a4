"""Inner products of tensors, with the same bits on every machine.

A plain reduction is split among threads, which changes its rounding. Here one thread adds each row of fixed length in
fp32, and the row sums are added in order in fp64. A GPU adds the row sums itself, in a fixed order.
"""

from __future__ import annotations

import math

from torch import Tensor

_ROW = 4096
"""Numbers that one thread adds in fp32; changing it changes the rounding of every norm."""
_BLOCK = 256 * _ROW
"""Numbers multiplied at a time on a CPU: 4 MiB in fp32."""
_GPU_BLOCK = 2**14 * _ROW


def dot(a: Tensor, b: Tensor) -> float:
    """Return ⟨a, b⟩ of two tensors, with the same bits for any number of threads."""
    total = 0.0
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    block = _BLOCK if a.device.type == "cpu" else _GPU_BLOCK
    for start in range(0, flat_a.numel(), block):
        product = flat_a[start : start + block].float() * flat_b[start : start + block].float()
        whole = product.numel() // _ROW * _ROW
        total += _sum(product[:whole].view(-1, _ROW).sum(dim=1))
        total += _sum(product[whole:])
    return total


def square_of(tensor: Tensor) -> float:
    """Return ⟨tensor, tensor⟩, the square of its Frobenius norm, computed from fp32."""
    wide = tensor.float()
    return dot(wide, wide)


def _sum(values: Tensor) -> float:
    return math.fsum(values.tolist()) if values.device.type == "cpu" else float(values.double().sum())
