"""Quantised checkpoints with random integers, written by each format's layout, and the values in fp64 that they mean.

Written apart from the package: integer by integer with numpy, not with its unpacking.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LAYERS = r"model\.layers\.\d+\..*_proj"
"""The linear layers of a Llama."""
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which output each group of 4 bits of AWQ's words holds, the lowest first."""

Integers = npt.NDArray[np.int64]


class Layer(NamedTuple):
    """A quantised layer."""

    tensors: Mapping[str, Tensor]
    """By what follows the layer's name and a dot."""
    values: Tensor
    """The weight that they mean, in fp64."""


Quantiser = Callable[[int, int, torch.Generator], Layer]
"""From the outputs and inputs of a layer."""


def quantise(
    source: Path, target: Path, layer: Quantiser, section: Mapping[str, Any], *, layers: str = LAYERS, skip: str = "$^"
) -> dict[str, Tensor]:
    """Write a model whose layers have random quantised weights; return the weights that they mean, in fp64.

    Args:
        source: The model in a single file.
        target: Where.
        layer: Makes each layer.
        section: The `quantization_config`.
        layers: A pattern of the names of layers that are quantised.
        skip: A pattern of those that are not.

    """
    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (target / path.name).write_bytes(path.read_bytes())
    edit_config(target, quantization_config=dict(section))
    generator = torch.Generator().manual_seed(11)
    tensors: dict[str, Tensor] = {}
    values = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        stem, _, last = name.rpartition(".")
        if last == "weight" and re.fullmatch(layers, stem) and not re.search(skip, stem):
            made = layer(tensor.shape[0], tensor.shape[1], generator)
            tensors |= {f"{stem}.{key}": each.contiguous().clone() for key, each in made.tensors.items()}
            values[name] = made.values
        else:
            tensors[name] = tensor.clone()
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return values


def edit_config(directory: Path, **changes: Any) -> None:
    """Set keys of config.json; None removes one."""
    path = directory / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def edit_tensors(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a model in a single file."""
    tensors = {name: tensor.clone() for name, tensor in load_file(directory / "model.safetensors").items()}
    change(tensors)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def fp8(
    block: tuple[int, int] | None,
    *,
    scale_name: str = "weight_scale_inv",
    scale_dtype: torch.dtype = torch.float32,
    shape: tuple[int, ...] = (),
) -> Quantiser:
    """FP8 values with a scale for each block, or one of a `shape` for all."""

    def make(outputs: int, inputs: int, generator: torch.Generator) -> Layer:
        values = torch.randn(outputs, inputs, generator=generator).mul(100).to(torch.float8_e4m3fn)
        height, width = block or (outputs, inputs)
        scales = torch.rand(-(-outputs // height), -(-inputs // width), generator=generator) * 4e-3 + 1e-3
        if scale_dtype in (torch.uint8, torch.float8_e8m0fnu):
            exponents = torch.randint(117, 121, scales.shape, generator=generator, dtype=torch.uint8)
            stored, scales = exponents.view(scale_dtype), torch.tensor(2.0, dtype=torch.float64) ** (exponents - 127.0)
        else:
            stored = scales.to(scale_dtype)
        exact = stored.double() if stored.is_floating_point() and stored.itemsize > 1 else scales.double()
        places = (torch.arange(outputs)[:, None] // height, torch.arange(inputs)[None, :] // width)
        meant = values.double() * exact[places]
        return Layer({"weight": values, scale_name: stored if block else stored.reshape(shape)}, meant)

    return make


def gptq(
    bits: int, group_size: int, *, is_ordered: bool = False, stored_less: int = 1, has_index: bool = True
) -> Quantiser:
    """GPTQ's layout; `is_ordered` (desc_act) gives the inputs their groups in random order."""

    def make(outputs: int, inputs: int, generator: torch.Generator) -> Layer:
        size = inputs if group_size == -1 else group_size
        count = -(-inputs // size)
        index = np.arange(inputs) // size
        if is_ordered:
            index = index[torch.randperm(inputs, generator=generator).numpy()]
        integers = torch.randint(2**bits, (inputs, outputs), generator=generator).numpy()
        zeros = torch.randint(1, 2**bits, (count, outputs), generator=generator).numpy()
        scales = (torch.rand(count, outputs, generator=generator) * 0.05 + 0.01).half()
        tensors = {
            "qweight": words_of(integers, bits, axis=0),
            "qzeros": words_of(zeros - stored_less, bits, axis=1),
            "scales": scales,
            **({"g_idx": torch.from_numpy(index.astype(np.int32))} if has_index else {}),
        }
        return Layer(tensors, torch.from_numpy((integers - zeros[index]) * scales.double().numpy()[index]).T)

    return make


def awq(group_size: int) -> Quantiser:
    """AWQ's layout of the version gemm."""

    def make(outputs: int, inputs: int, generator: torch.Generator) -> Layer:
        size = inputs if group_size == -1 else group_size
        index = np.arange(inputs) // size
        count = int(index[-1]) + 1
        integers = torch.randint(16, (inputs, outputs), generator=generator).numpy()
        zeros = torch.randint(16, (count, outputs), generator=generator).numpy()
        scales = (torch.rand(count, outputs, generator=generator) * 0.05 + 0.01).half()
        tensors = {
            "qweight": words_of(in_awq_order(integers), 4, axis=1),
            "qzeros": words_of(in_awq_order(zeros), 4, axis=1),
            "scales": scales,
        }
        return Layer(tensors, torch.from_numpy((integers - zeros[index]) * scales.double().numpy()[index]).T)

    return make


def compressed(
    bits: int,
    strategy: str,
    *,
    is_packed: bool = True,
    is_float: bool = False,
    has_zeros: bool = False,
    is_ordered: bool = False,
    size: tuple[int, int] = (16, 16),
    scale_dtype: torch.dtype = torch.bfloat16,
) -> Quantiser:
    """compressed-tensors' layouts; `size` is a block's, and its width a group's."""

    def make(outputs: int, inputs: int, generator: torch.Generator) -> Layer:
        rows = {"tensor": outputs, "block": size[0]}.get(strategy, 1)
        width = size[1] if strategy in ("block", "group") else inputs
        columns = np.arange(inputs) // width
        if is_ordered:
            columns = columns[torch.randperm(inputs, generator=generator).numpy()]
        places = (np.arange(outputs)[:, None] // rows, columns[None, :])
        grid = (-(-outputs // rows), -(-inputs // width))
        scales = (torch.rand(grid, generator=generator) * 0.02 + 0.005).to(scale_dtype)
        least = -(2 ** (bits - 1))
        integers = torch.randint(least, -least, (outputs, inputs), generator=generator)
        zeros = torch.randint(least, -least, grid, generator=generator) if has_zeros else torch.zeros(grid).long()
        held: Tensor = integers.to(torch.int8)
        if is_float:
            held = torch.randn(outputs, inputs, generator=generator).mul(100).to(torch.float8_e4m3fn)
        values = held.double().numpy() - zeros.numpy()[places]
        tensors = {"weight_scale": scales.reshape(1) if strategy == "tensor" else scales}
        if is_packed:
            tensors["weight_packed"] = padded_words_of(integers.numpy() - least, bits, axis=1)
            tensors["weight_shape"] = torch.tensor([outputs, inputs])
            if has_zeros:
                tensors["weight_zero_point"] = padded_words_of(zeros.numpy() - least, bits, axis=0)
        else:
            tensors["weight"] = held
            if has_zeros:
                tensors["weight_zero_point"] = zeros.to(torch.int8)
        if is_ordered:
            tensors["weight_g_idx"] = torch.from_numpy(columns.astype(np.int32))
        return Layer(tensors, torch.from_numpy(values * scales.double().numpy()[places]))

    return make


def mxfp4(blocks: Tensor, scales: Tensor) -> Tensor:
    """Return in fp64 what 4-bit floats mean (OCP Microscaling Formats 1.0), two in a byte, the lower bits first."""
    magnitudes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)
    codes = torch.stack((blocks & 15, blocks >> 4), dim=-1).flatten(-2).long()
    values = magnitudes[codes & 7] * torch.where(codes >= 8, -1.0, 1.0)
    return (values * torch.pow(2.0, scales.double() - 127)[..., None]).flatten(-2)


def int8_rows(*, has_format: bool = True) -> Quantiser:
    """Rows of bitsandbytes' 8-bit integers."""

    def make(outputs: int, inputs: int, generator: torch.Generator) -> Layer:
        integers = torch.randint(-127, 128, (outputs, inputs), generator=generator).to(torch.int8)
        largest = torch.rand(outputs, generator=generator) + 0.2
        tensors = {"weight": integers, "SCB": largest}
        if has_format:
            tensors["weight_format"] = torch.tensor(0, dtype=torch.uint8)
        return Layer(tensors, integers.double() * largest.double()[:, None] / 127)

    return make


NF4 = (
    "-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635 -0.18477343022823334 "
    "-0.09105003625154495 0.0 0.07958029955625534 0.16093020141124725 0.24611230194568634 0.33791524171829224 "
    "0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"
)
FP4 = tuple(value / 12 for value in (0, 0.0625, 8, 12, 4, 6, 2, 3))
CODES = {"nf4": [float(value) for value in NF4.split()], "fp4": [*FP4, *(-value for value in FP4)]}
"""The values of bitsandbytes' 4-bit codes."""


def four_bits(kind: str, *, block: int = 64, nested_block: int | None = None) -> Quantiser:
    """Blocks of bitsandbytes' 4-bit codes; with `nested_block`, the scales of blocks are quantised, too."""

    def make(outputs: int, inputs: int, generator: torch.Generator) -> Layer:
        size = outputs * inputs
        codes = torch.randint(16, (size,), generator=generator)
        count = -(-size // block)
        table = torch.tensor(CODES[kind])
        state: dict[str, Any] = {
            "quant_type": kind,
            "blocksize": block,
            "dtype": "bfloat16",
            "shape": [outputs, inputs],
        }
        tensors = {"weight": (codes[0::2] * 16 + codes[1::2]).to(torch.uint8)[:, None], "weight.quant_map": table}
        if nested_block is None:
            absmax = torch.rand(count, generator=generator) + 0.1
            tensors["weight.absmax"], scales = absmax, absmax.double()
        else:
            held = torch.randint(256, (count,), generator=generator)
            fine = torch.linspace(-1, 1, 256)
            outer = torch.rand(-(-count // nested_block), generator=generator) * 0.1
            offset = 0.2513427734375
            tensors |= {
                "weight.absmax": held.to(torch.uint8),
                "weight.nested_absmax": outer,
                "weight.nested_quant_map": fine,
            }
            state |= {"nested_blocksize": nested_block, "nested_dtype": "float32", "nested_offset": offset}
            places = torch.arange(count) // nested_block
            scales = fine.double()[held] * outer.double()[places] + offset
        described = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
        tensors[f"weight.quant_state.bitsandbytes__{kind}"] = described
        meant = table.double()[codes] * scales[torch.arange(size) // block]
        return Layer(tensors, meant.reshape(outputs, inputs))

    return make


def words_of(integers: Integers, bits: int, axis: int) -> Tensor:
    """Pack unsigned integers along an axis into int32 words, the lowest bits first."""
    rows = integers if axis == 1 else integers.T
    assert 0 <= rows.min() <= rows.max() < 2**bits
    each = 32 // bits
    words = [
        [sum(int(value) << (bits * place) for place, value in enumerate(row[start : start + each]))]
        for row in rows
        for start in range(0, len(row), each)
    ]
    packed = np.array(words, dtype=np.uint32).astype(np.int64).reshape(len(rows), -1)
    signed = torch.from_numpy(packed.astype(np.uint32).view(np.int32))
    return signed if axis == 1 else signed.T


def padded_words_of(integers: Integers, bits: int, axis: int) -> Tensor:
    """Pack unsigned integers of any number along an axis; what is left of the last word is 0."""
    missing = -integers.shape[axis] % (32 // bits)
    width = [(0, 0), (0, missing)] if axis == 1 else [(0, missing), (0, 0)]
    return words_of(np.pad(integers, width), bits, axis)


def in_awq_order(integers: Integers) -> Integers:
    """Return the columns as AWQ packs them."""
    places = [start + place for start in range(0, integers.shape[1], 8) for place in AWQ_ORDER]
    return integers[:, places]
