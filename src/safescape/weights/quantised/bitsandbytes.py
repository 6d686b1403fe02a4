"""bitsandbytes weights: rows of 8-bit integers, or blocks of 4-bit codes (NF4, FP4) whose scales may be quantised too.

Computed in fp32, as bitsandbytes' kernels compute them before they round to the dtype of the layer. Layouts, by
bitsandbytes' `functional.py`:

- 8 bits: `weight` int8 [outputs, inputs] and `SCB` fp32 [outputs], the largest magnitude of each row. A weight is
  `integer * SCB / 127`.
- 4 bits: `weight` uint8, two codes in a byte, the higher bits first, row after row; `weight.quant_map`, the 16 values
  of the codes; `weight.absmax`, the scale of each block; and `weight.quant_state.bitsandbytes__nf4` (or `fp4`), JSON
  with shape and block size. If there is `weight.nested_absmax`, then `absmax` holds codes itself, of the 256 values in
  `weight.nested_quant_map`, in blocks of their own, and `nested_offset` is added to each scale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.weights.quantised.recipes import GIVE, Quantised, Recipe, groups

_PER_127 = 7.874015718698502e-3
"""1 / 127, as bitsandbytes writes it."""


def bitsandbytes_recipes(files: Quantised) -> dict[str, Recipe]:
    """Return how each layer of a bitsandbytes checkpoint is dequantised.

    Raises:
        InputError: A tensor is missing, of another shape than the files say, or has an unknown layout.

    """
    return {**_rows(files), **_blocks(files)}


def _rows(files: Quantised) -> dict[str, Recipe]:
    found = {}
    for name, tensor in files.stored.items():
        if name.endswith(".weight") and tensor.dtype == "I8":
            layer = name.removesuffix("weight")
            scales = files.companion(name, f"{layer}SCB")
            outputs, inputs = (*tensor.shape, 0, 0)[:2]
            files.check(name, [(outputs, inputs)], {"I8"}, "its two dimensions")
            files.check(scales, [(outputs,)], {"F32"}, f"{name} of shape {list(tensor.shape)}")
            sources = [name, scales]
            if (layout := f"{layer}weight_format") in files.stored:
                files.check(layout, [(), (1,)], {"U8"}, "the layout of a layer")
                if int(files.read(layout)):
                    raise InputError(
                        f"{files.given}: {layout} is {int(files.read(layout))}, and only rows (0) can be dequantised; "
                        f"save it with a newer bitsandbytes, or {GIVE}"
                    )
                sources.append(layout)
            found[name] = Recipe(tuple(sources), tensor.shape, _from_rows)
    return found


def _blocks(files: Quantised) -> dict[str, Recipe]:
    found = {}
    for name, tensor in files.stored.items():
        if not name.endswith(".weight") or tensor.dtype != "U8":
            continue
        kinds = [f"{name}.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4")]
        described = files.companion(name, *kinds)
        absmax, codes = files.companion(name, f"{name}.absmax"), files.companion(name, f"{name}.quant_map")
        state = _state(files, described)
        shape = tuple(state["shape"])
        size = math.prod(shape)
        block = state["blocksize"]
        blocks = groups(size, block)
        files.check(name, [(groups(size, 2), 1), (1, groups(size, 2))], {"U8"}, f"{described}: {list(shape)}")
        files.check(codes, [(16,)], {"F32"}, "16 values of 4 bits")
        sources = [name, described, codes, absmax]
        nested = f"{name}.nested_absmax"
        if nested in files.stored or "nested_blocksize" in state:
            sources += [files.companion(name, nested), files.companion(name, f"{name}.nested_quant_map")]
            count = groups(blocks, state["nested_blocksize"])
            files.check(absmax, [(blocks,)], {"U8"}, f"{described}: blocks of {block}")
            files.check(nested, [(count,)], {"F32"}, f"{described}: blocks of {state['nested_blocksize']}")
            files.check(sources[-1], [(256,)], {"F32"}, "256 values of 8 bits")
        else:
            files.check(absmax, [(blocks,)], {"F32"}, f"{described}: blocks of {block}")
        found[name] = Recipe(tuple(sources), shape, partial(_from_blocks, state=state))
    return found


def _state(files: Quantised, name: str) -> Mapping[str, Any]:
    """Return what a quant_state says; raise InputError if it does not say what a layer needs."""
    nested = f"{name.partition('.quant_state.')[0]}.nested_absmax" in files.stored
    try:
        state = json.loads(bytes(files.read(name).tolist()).decode("utf-8"))
        numbers = [*state["shape"], state["blocksize"], *([state["nested_blocksize"]] if nested else [])]
        is_known = all(type(each) is int and each > 0 for each in numbers) and len(state["shape"]) > 0
        is_known = is_known and (not nested or type(state["nested_offset"]) is float)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{files.given}: {name} is not a quant_state of bitsandbytes ({type(error).__name__}: {error}); download "
            f"the model again, or {GIVE}"
        ) from error
    if not is_known:
        raise InputError(f"{files.given}: {name} is not a quant_state of bitsandbytes ({state}); {GIVE}")
    return state


def _from_rows(integers: Tensor, scales: Tensor, _layout: Tensor | None = None) -> Tensor:
    return integers.float() * scales.view(-1, 1) * _PER_127


def _from_blocks(
    packed: Tensor,
    _described: Tensor,
    codes: Tensor,
    absmax: Tensor,
    nested: Tensor | None = None,
    nested_codes: Tensor | None = None,
    *,
    state: Mapping[str, Any],
) -> Tensor:
    scales = absmax
    if nested is not None and nested_codes is not None:
        fine = nested_codes[absmax.long()] * _spread(nested, state["nested_blocksize"], len(absmax))
        scales = fine + torch.tensor(state["nested_offset"], dtype=torch.float32)
    flat = packed.flatten()
    size = math.prod(state["shape"])
    values = codes[torch.stack((flat >> 4, flat & 15), dim=1).flatten().long()[:size]]
    return (values * _spread(scales, state["blocksize"], size)).view(state["shape"])


def _spread(scales: Tensor, block: int, size: int) -> Tensor:
    """Return the scale of each of `size` values."""
    return scales.repeat_interleave(min(block, size))[:size]
