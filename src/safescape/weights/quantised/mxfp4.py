"""MXFP4 weights (gpt-oss): 4-bit floats, two in a byte, with a power of two for every 32 of them.

transformers' own conversion computes the values. bf16 holds each of them exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from safescape.weights.quantised.recipes import Quantised, Recipe

_BYTES = 16
"""Bytes of a block of 32 values."""


def mxfp4_recipes(files: Quantised) -> dict[str, Recipe]:
    """Return how each tensor that is stored as `NAME_blocks` and `NAME_scales` is dequantised.

    Raises:
        InputError: One of the two is missing, or they do not fit each other.

    """
    found = {}
    for name, tensor in files.stored.items():
        if name.endswith("_blocks") and tensor.dtype == "U8":
            target = name.removesuffix("_blocks")
            scales = files.companion(name, f"{target}_scales")
            experts, rows, blocks = (*tensor.shape, 0, 0, 0)[:3]
            files.check(name, [(experts, rows, blocks, _BYTES)], {"U8"}, "experts of 32 values in a block")
            files.check(scales, [(experts, rows, blocks)], {"U8"}, f"{name} of shape {list(tensor.shape)}")
            shape = (experts, blocks * 2 * _BYTES, rows)
            found[target] = Recipe((name, scales), shape, _converted, torch.bfloat16)
    return found


def _converted(blocks: Tensor, scales: Tensor) -> Tensor:
    # Imported here because few checkpoints need it.
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    return convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16)
