"""GPTQ and AWQ weights: integers of 4 or 8 bits in int32 words, with a scale and a zero point for each group of inputs.

A weight is `scale * (integer - zero)`. The scales are fp16, so that fp32 holds each product exactly; the libraries that
serve such models round it to fp16.

Layouts, for a layer with `inputs` and `outputs`, by GPTQModel's and AutoAWQ's documentation and code:

- GPTQ: `qweight` [inputs · bits / 32, outputs], packed along the inputs; `qzeros` [groups, outputs · bits / 32];
  `scales` [groups, outputs]; `g_idx` [inputs], the group of each input. Zero points are stored less 1, but not in the
  newer `checkpoint_format: gptq_v2`.
- AWQ (`version: gemm`): `qweight` [inputs, outputs / 8] and `qzeros` [groups, outputs / 8], both packed along the
  outputs in the order 0 2 4 6 1 3 5 7; `scales` [groups, outputs].
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from safescape.errors import InputError
from safescape.weights.quantised.recipes import GIVE, SCALES, Quantised, Recipe, groups, unpacked

_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where the outputs 0 to 7 are in a word of AWQ's."""


def gptq_recipes(files: Quantised) -> dict[str, Recipe]:
    """Return how each layer of a GPTQ checkpoint is dequantised.

    Raises:
        InputError: A tensor is missing, of another shape than the settings say, or has an unknown layout.

    """
    bits = files.setting("bits", (4, 8), None)
    layout = files.setting(_key(files, "checkpoint_format"), ("gptq", "gptq_v2"), "gptq")
    is_ordered = files.setting("desc_act", (True, False), False)
    size = _group_size(files)
    found = {}
    for prefix, name, zeros, scales, (words, outputs) in _layers(files):
        inputs = words * 32 // bits
        count = groups(inputs, size or inputs or 1)
        reason = f"bits = {bits} and group_size = {size or -1} for {name} of shape {[words, outputs]}"
        files.check(scales, [(count, outputs)], SCALES, reason)
        files.check(zeros, [(count, outputs * bits // 32)], {"I32"}, reason)
        sources = [name, zeros, scales]
        index = f"{prefix}g_idx"
        if index in files.stored:
            files.check(index, [(inputs,)], {"I32", "I64"}, reason)
            _check_groups(files, index, count, None if is_ordered else size or inputs)
            sources.append(index)
        elif is_ordered:
            files.companion(name, index)
        if layout == "gptq":
            _check_zeros(files, zeros, bits)
        compute = partial(_gptq, bits=bits, less=layout == "gptq", size=size or inputs)
        found[f"{prefix}weight"] = Recipe(tuple(sources), (outputs, inputs), compute)
    return found


def awq_recipes(files: Quantised) -> dict[str, Recipe]:
    """Return how each layer of an AWQ checkpoint is dequantised; raises what `gptq_recipes` raises."""
    files.setting("bits", (4,), 4)
    files.setting(_key(files, "version"), ("gemm", "GEMM"), "gemm")
    files.setting("zero_point", (True,), True)
    size = _group_size(files)
    found = {}
    for prefix, name, zeros, scales, (inputs, words) in _layers(files):
        count = groups(inputs, size or inputs or 1)
        reason = f"bits = 4 and group_size = {size or -1} for {name} of shape {[inputs, words]}"
        files.check(scales, [(count, words * 8)], SCALES, reason)
        files.check(zeros, [(count, words)], {"I32"}, reason)
        compute = partial(_awq, size=size or inputs)
        found[f"{prefix}weight"] = Recipe((name, zeros, scales), (words * 8, inputs), compute)
    return found


class _Layer(NamedTuple):
    """The tensors of a quantised layer."""

    prefix: str
    """Of their names."""
    packed: str
    zeros: str
    scales: str
    shape: tuple[int, int]
    """Of the packed integers."""


def _layers(files: Quantised) -> Iterator[_Layer]:
    """Yield the quantised layers; raise InputError if one lacks a tensor, or its integers are no matrix of words."""
    for name, tensor in files.stored.items():
        if name.endswith(".qweight"):
            prefix = name.removesuffix("qweight")
            scales, zeros = files.companion(name, f"{prefix}scales"), files.companion(name, f"{prefix}qzeros")
            rows, columns = (*tensor.shape, 0, 0)[:2]
            files.check(name, [(rows, columns)], {"I32"}, "its two dimensions")
            yield _Layer(prefix, name, zeros, scales, (rows, columns))


def _key(files: Quantised, older: str) -> str:
    """Return the key of the layout, which newer files call `format`; transformers prefers the older one, too."""
    return "format" if files.settings.get(older) is None else older


def _group_size(files: Quantised) -> int | None:
    """Return how many inputs share a scale; None if all do."""
    size = files.settings.get("group_size", 128)
    if type(size) is not int or (size < 1 and size != -1):
        raise InputError(
            f"{files.given}: its weights are quantised with group_size = {size}, expected a number of inputs or -1; "
            f"{GIVE}"
        )
    return size if size > 0 else None


def _check_groups(files: Quantised, index: str, count: int, size: int | None) -> None:
    """Check that each input's group exists and, unless `size` is None, that groups are in order."""
    found = files.read(index).long()
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < count:
        raise InputError(
            f"{files.given}: {index} names the group {int(found.max())} or {int(found.min())}, and there are {count}; "
            "download the model again"
        )
    if size is not None and not torch.equal(found, torch.arange(len(found)) // size):
        raise InputError(
            f"{files.given}: {index} does not have the inputs in order, though desc_act is not set in config.json; set "
            "it to true if the model was quantised so"
        )


def _check_zeros(files: Quantised, zeros: str, bits: int) -> None:
    """Refuse the zero point that is stored as the largest integer: some libraries read it as 0, some as 2**bits."""
    if bool((unpacked(files.read(zeros), bits, 1) == 2**bits - 1).any()):
        raise InputError(
            f"{files.given}: {zeros} has a zero point of 0 in the layout gptq, which libraries read in different ways; "
            f"give it in the layout gptq_v2, or {GIVE}"
        )


def _gptq(
    packed: Tensor, zeros: Tensor, scales: Tensor, index: Tensor | None = None, *, bits: int, less: bool, size: int
) -> Tensor:
    integers = unpacked(packed, bits, 0)
    group = torch.arange(len(integers)) // size if index is None else index.long()
    origins = unpacked(zeros, bits, 1) + int(less)
    return ((integers - origins[group]).float() * scales.float()[group]).T


def _awq(packed: Tensor, zeros: Tensor, scales: Tensor, *, size: int) -> Tensor:
    integers, origins = (_in_order(unpacked(each, 4, 1)) for each in (packed, zeros))
    group = torch.arange(len(integers)) // size
    return ((integers - origins[group]).float() * scales.float()[group]).T


def _in_order(integers: Tensor) -> Tensor:
    return integers.unflatten(1, (-1, 8))[..., _ORDER].flatten(1)
