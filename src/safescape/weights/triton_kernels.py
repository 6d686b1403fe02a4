"""Triton kernels that generate a random direction's noise, add it, or interpolate, in one pass over a tensor.

torch's own generator gives other noise on a GPU with another number of multiprocessors. Here a value depends on the
seed and on its place in the tensor only (Philox 4x32-10, Salmon et al. 2011, as Triton implements it), so a direction
is the same on every NVIDIA GPU and need not be kept in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from safescape.weights.parts import Part

_LANES = 1024
"""Lanes of a program; each generates four values. The noise at a position depends on it, so it must never change."""
_VALUES = 4 * _LANES


class Noise(NamedTuple):
    """Standard normal noise times a factor."""

    seed: int
    """Under 2**63."""
    factor: float


def standard_normal(seed: int, shape: torch.Size, device: torch.device) -> Tensor:
    """Return standard normal values, fp32, on a device."""
    values = torch.empty(shape, dtype=torch.float32, device=device)
    # Triton launches kernels on torch's current device.
    with torch.cuda.device_of(values):
        _fill[(triton.cdiv(values.numel(), _VALUES),)](values, values.numel(), seed, LANES=_LANES, num_warps=8)
    return values


def add_noise(
    origin: Tensor, noises: Sequence[Noise], into: Tensor, *, measured: bool, part: Part | None = None
) -> Tensor | None:
    """Write origin + Σ factor·noise into a tensor, computed in fp32 and rounded once.

    Args:
        origin: A contiguous tensor of any floating dtype.
        noises: One or two.
        into: A contiguous tensor of the origin's shape; the result is rounded to its dtype.
        measured: Whether to return the inner products.
        part: Of a whole tensor, if both are its parts; the noise is that of the whole tensor.

    Returns:
        ⟨into - origin as rounded, noise⟩ for each noise without its factor: fp64 and on the device, so that the CPU
        does not wait for it. None unless measured.

    """
    windows = [_Window(0, triton.cdiv(origin.numel(), _VALUES))] if part is None else _windows(part)
    count = origin.numel() if part is None else part.whole.numel()
    first, second, found = noises[0], noises[-1], []
    for window in windows:
        sums = torch.empty((window.programs, 2) if measured else 1, dtype=torch.float32, device=origin.device)
        with torch.cuda.device_of(origin):
            _add[(window.programs,)](
                origin,
                into,
                sums,
                count,
                first.seed,
                second.seed,
                first.factor,
                second.factor,
                *window[:1],
                *window[2:],
                IS_ONE=len(noises) == 1,
                IS_MEASURED=measured,
                IS_PART=part is not None,
                LANES=_LANES,
                num_warps=8,
            )
        found.append(sums)
    return torch.cat(found).double().sum(dim=0)[: len(noises)] if measured else None


class _Window(NamedTuple):
    """Programs of a kernel, and where the values of one range of a part lie in the whole tensor and in the part.

    By their places in the whole tensor, values form runs of `inner` values for each index of the part's dimension.
    """

    first: int
    """The first program that has values of the range."""
    programs: int
    extent: int = 1
    """The size of the part's dimension in the whole tensor."""
    inner: int = 1
    start: int = 0
    stop: int = 0
    length: int = 0
    """The size of the dimension in the part."""
    shift: int = 0
    """The index in the part of the range's start."""


def _windows(part: Part) -> Iterator[_Window]:
    outer, inner = math.prod(part.whole[: part.dim]), math.prod(part.whole[part.dim + 1 :])
    shift = 0
    for start, stop in part.ranges:
        # rows lie in a part of the programs; columns have values in all of them
        first = start * inner // _VALUES if outer == 1 else 0
        end = triton.cdiv(stop * inner if outer == 1 else part.whole.numel(), _VALUES)
        yield _Window(first, end - first, part.whole[part.dim], inner, start, stop, part.length, shift)
        shift += stop - start


def interpolate(origin: Tensor, other: Tensor, coordinate: float, into: Tensor) -> Tensor:
    """Write origin + coordinate·(other - origin) into a tensor, computed in fp32 and rounded once.

    Args:
        origin: A contiguous tensor of any floating dtype.
        other: A contiguous tensor of the same shape.
        coordinate: 0 is `origin`, 1 is `other`.
        into: A contiguous tensor of the same shape; the result is rounded to its dtype.

    Returns:
        ⟨into - origin as rounded, other - origin⟩ and ⟨other - origin, other - origin⟩, fp64 and on the device.

    """
    programs = triton.cdiv(origin.numel(), _VALUES)
    sums = torch.empty((programs, 2), dtype=torch.float32, device=origin.device)
    with torch.cuda.device_of(origin):
        _blend[(programs,)](origin, other, into, sums, origin.numel(), coordinate, VALUES=_VALUES, num_warps=8)
    return sums.double().sum(dim=0)


@triton.jit  # type: ignore[untyped-decorator]
def _fill(values, count, seed, LANES: tl.constexpr):  # noqa: N803
    program = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, LANES)
    n0, n1, n2, n3 = tl.randn4x(seed, program * LANES + lanes)
    places = program * (4 * LANES) + lanes
    tl.store(values + places, n0, mask=places < count)
    tl.store(values + places + LANES, n1, mask=places + LANES < count)
    tl.store(values + places + 2 * LANES, n2, mask=places + 2 * LANES < count)
    tl.store(values + places + 3 * LANES, n3, mask=places + 3 * LANES < count)


@triton.jit  # type: ignore[untyped-decorator]
def _add(
    origin,
    into,
    sums,
    count,
    seed_a,
    seed_b,
    factor_a,
    factor_b,
    first,
    extent,
    inner,
    start,
    stop,
    length,
    shift,
    IS_ONE: tl.constexpr,  # noqa: N803
    IS_MEASURED: tl.constexpr,  # noqa: N803
    IS_PART: tl.constexpr,  # noqa: N803
    LANES: tl.constexpr,  # noqa: N803
):
    program = tl.program_id(0).to(tl.int64)
    block = program + first
    lanes = tl.arange(0, LANES)
    a0, a1, a2, a3 = tl.randn4x(seed_a, block * LANES + lanes)
    if IS_ONE:
        b0, b1, b2, b3 = a0, a1, a2, a3
    else:
        b0, b1, b2, b3 = tl.randn4x(seed_b, block * LANES + lanes)
    places = block * (4 * LANES) + lanes
    p0, i0 = _place(places, count, extent, inner, start, stop, length, shift, IS_PART)
    p1, i1 = _place(places + LANES, count, extent, inner, start, stop, length, shift, IS_PART)
    p2, i2 = _place(places + 2 * LANES, count, extent, inner, start, stop, length, shift, IS_PART)
    p3, i3 = _place(places + 3 * LANES, count, extent, inner, start, stop, length, shift, IS_PART)
    t0 = _moved(origin, into, p0, i0, a0, b0, factor_a, factor_b, IS_ONE)
    t1 = _moved(origin, into, p1, i1, a1, b1, factor_a, factor_b, IS_ONE)
    t2 = _moved(origin, into, p2, i2, a2, b2, factor_a, factor_b, IS_ONE)
    t3 = _moved(origin, into, p3, i3, a3, b3, factor_a, factor_b, IS_ONE)
    if IS_MEASURED:
        tl.store(sums + 2 * program, tl.sum(t0 * a0 + t1 * a1 + t2 * a2 + t3 * a3, axis=0))
        tl.store(sums + 2 * program + 1, tl.sum(t0 * b0 + t1 * b1 + t2 * b2 + t3 * b3, axis=0))


@triton.jit  # type: ignore[untyped-decorator]
def _place(places, count, extent, inner, start, stop, length, shift, IS_PART: tl.constexpr):  # noqa: N803
    """Return where values lie in a part, from their places in the whole tensor, and which of them it has."""
    inside = places < count
    if IS_PART:
        runs = places // inner
        index = runs % extent
        inside = inside & (index >= start) & (index < stop)
        places = ((runs // extent) * length + (index - start + shift)) * inner + places % inner
    return places, inside


@triton.jit  # type: ignore[untyped-decorator]
def _moved(origin, into, places, inside, a, b, factor_a, factor_b, IS_ONE: tl.constexpr):  # noqa: N803
    """Write a block of values and return their differences from the origin as rounded."""
    start = tl.load(origin + places, mask=inside, other=0.0)
    moved = start.to(tl.float32) + factor_a * a
    if not IS_ONE:
        moved += factor_b * b
    dtype = into.dtype.element_ty
    rounded = moved.to(dtype)
    tl.store(into + places, rounded, mask=inside)
    taken = rounded.to(tl.float32) - start.to(dtype).to(tl.float32)
    return tl.where(inside, taken, 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _blend(origin, other, into, sums, count, coordinate, VALUES: tl.constexpr):  # noqa: N803
    program = tl.program_id(0).to(tl.int64)
    places = program * VALUES + tl.arange(0, VALUES)
    inside = places < count
    start = tl.load(origin + places, mask=inside, other=0.0)
    way = tl.load(other + places, mask=inside, other=0.0).to(tl.float32) - start.to(tl.float32)
    dtype = into.dtype.element_ty
    rounded = (start.to(tl.float32) + coordinate * way).to(dtype)
    tl.store(into + places, rounded, mask=inside)
    taken = rounded.to(tl.float32) - start.to(dtype).to(tl.float32)
    tl.store(sums + 2 * program, tl.sum(tl.where(inside, taken * way, 0.0), axis=0))
    tl.store(sums + 2 * program + 1, tl.sum(way * way, axis=0))
