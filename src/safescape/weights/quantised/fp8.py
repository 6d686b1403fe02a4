"""FP8 weights with scales (`quant_method: fp8`): per block, as DeepSeek V3 and Qwen3-FP8 have them, or per tensor.

Each value is multiplied by its scale in fp32, as transformers' `Fp8Dequantize` does. Files call such a scale an
inverse. A block's size is the one in config.json, and blocks at the edges are cut off, as in DeepSeek's own code.
transformers derives the size from the number of scales: the same where no block is cut off, and an error or other
values otherwise.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.weights.quantised.recipes import GIVE, SCALES, Quantised, Recipe, groups

_BLOCK = [128, 128]
"""What transformers takes if config.json names no block size."""


def fp8_recipes(files: Quantised) -> dict[str, Recipe]:
    """Return how each FP8 tensor is dequantised.

    Raises:
        InputError: A scale is missing or does not fit its tensor and the block size.

    """
    block = _block_size(files)
    found = {}
    for name, tensor in files.stored.items():
        if tensor.dtype in ("F8_E4M3", "F8_E5M2"):
            files.check(name, [tensor.shape], {"F8_E4M3"}, "quant_method = fp8")
            scale = files.companion(name, f"{name}_scale_inv", f"{name}_scale")
            *leading, rows, columns = (1, 1, *tensor.shape)[-max(2, len(tensor.shape)) :]
            held = files.stored[scale].shape
            one = [(), (1,), (*leading, 1, 1)]
            if block is None or ("weight_block_size" not in files.settings and held in one):
                files.check(scale, one, {*SCALES, "F8_E8M0", "U8"}, f"one scale for {name}")
                size = (rows, columns)
            else:
                grid = (*leading, groups(rows, block[0]), groups(columns, block[1]))
                reason = f"weight_block_size = {block} for {name} of shape {list(tensor.shape)}"
                files.check(scale, [grid], {*SCALES, "F8_E8M0", "U8"}, reason)
                size = (min(block[0], rows), min(block[1], columns))
            found[name] = Recipe((name, scale), tensor.shape, partial(_scaled, block=size))
    return found


def _block_size(files: Quantised) -> tuple[int, int] | None:
    given = files.settings.get("weight_block_size", _BLOCK)
    if given is None:
        return None
    if not (isinstance(given, list) and len(given) == 2 and all(type(each) is int and each > 0 for each in given)):
        raise InputError(
            f"{files.given}: its weights are quantised with weight_block_size = {given}, expected two numbers or "
            f"null; {GIVE}"
        )
    return given[0], given[1]


def _scaled(values: Tensor, scale: Tensor, *, block: tuple[int, int]) -> Tensor:
    # uint8 holds the exponents of powers of two, as F8_E8M0 does
    factor = (scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float()
    if scale.dim() >= 2:
        factor = factor.repeat_interleave(block[0], -2)[..., : values.shape[-2], :]
        factor = factor.repeat_interleave(block[1], -1)[..., : values.shape[-1]]
    return values.float() * factor
