"""The scaling of rotary frequencies that a GGUF file describes, in metadata or in tensors, as transformers names it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from safescape.errors import InputError
from safescape.weights.gguf.file import Gguf

ROPE_TENSORS = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
"""Tensors that become part of the configuration; llama.cpp divides the frequencies by them."""
_ORIGINAL_CONTEXT = 8192
"""The context that Llama 3 was trained on. Frequencies only fix its ratio to the other two numbers."""
_PRECISION = 1e-5
"""Relative. The converter computes the factors from frequencies in fp32, raised to a power of up to 128."""


def rope_of(gguf: Gguf, width: int) -> dict[str, Any]:
    """Return transformers' `rope_parameters` for heads of which `width` dimensions are rotated.

    Raises:
        InputError: The scaling is of a kind that transformers does not know, or lacks one of its numbers.

    """
    prefix = f"{gguf.architecture}.rope."
    base = gguf.metadata.get(f"{prefix}freq_base", 10000.0)
    factor = gguf.metadata.get(f"{prefix}scaling.factor")
    # llama.cpp scales linearly where only a factor is given.
    kind = gguf.metadata.get(f"{prefix}scaling.type", "linear" if factor else "none")
    original = gguf.metadata.get(f"{prefix}scaling.original_context_length")
    attention = gguf.metadata.get(f"{prefix}scaling.attn_factor")
    if not isinstance(base, int | float) or not all(isinstance(n, int | float | None) for n in (factor, attention)):
        raise _refused(gguf, "its numbers are no numbers")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(base)}
    factors = {name: _factors(gguf, name, width) for name in sorted(ROPE_TENSORS & gguf.tensors.keys())}
    if "rope_freqs.weight" in factors:
        if len(factors) > 1 or factor not in {None, 1.0}:
            raise _refused(gguf, "it is scaled in two ways")
        return rope | _scaling_of(gguf, float(base), factors["rope_freqs.weight"], original)
    if factors:
        if len(factors) < 2 or original is None:
            raise _refused(gguf, "it lacks rope_factors_long, rope_factors_short or the original context length")
        rope |= {
            "rope_type": "longrope",
            "long_factor": factors["rope_factors_long.weight"],
            "short_factor": factors["rope_factors_short.weight"],
            "original_max_position_embeddings": original,
        }
        return rope if attention is None else rope | {"attention_factor": attention}
    if attention not in {None, 1.0}:
        raise _refused(gguf, f"an attention factor of {attention}")
    if kind == "none" or (kind == "linear" and factor in {None, 0.0, 1.0}):
        return rope
    if kind == "linear":
        return rope | {"rope_type": "linear", "factor": factor}
    if kind == "yarn" and factor and original:
        rope |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
        for name in ("beta_fast", "beta_slow"):
            if (given := gguf.metadata.get(f"{prefix}scaling.yarn_{name}")) is not None:
                rope[name] = given
        return rope
    raise _refused(gguf, f"of type {kind}, factor {factor}, original context length {original}")


def llama3_factors(
    base: float, width: int, factor: float, low: float, high: float, original: float
) -> npt.NDArray[np.float64]:
    """Return what each frequency is divided by, in Llama 3.1's scaling: `width / 2` numbers.

    Long waves are divided by `factor`, short ones by 1, and those between by a mean, as in llama.cpp's converter and
    in Meta's `apply_scaling`.
    """
    waves = 2 * math.pi * base ** (np.arange(0, width, 2) / width)
    smooth = np.clip((original / waves - low) / (high - low), 0.0, 1.0)
    return np.asarray(1 / ((1 - smooth) / factor + smooth), dtype=np.float64)


def _scaling_of(gguf: Gguf, base: float, factors: Sequence[float], original: object) -> dict[str, Any]:
    """Return the scaling that divides the frequencies by `factors`.

    Only ratios of the three lengths can be seen in them, so that the original context is the metadata's or Llama 3's.
    """
    given = np.asarray(factors)
    if (given == given[0]).all():
        return {} if given[0] == 1 else {"rope_type": "linear", "factor": float(given[0])}
    context = original if isinstance(original, int) and original > 0 else _ORIGINAL_CONTEXT
    largest = float(given.max())
    candidates = [(1.0, 4.0)]
    # Between the two ends, the share of the unscaled frequency is a straight line in the frequency.
    shares = (1 / given - 1 / largest) / (1 - 1 / largest)
    between = (shares > _PRECISION) & (shares < 1 - _PRECISION)
    if between.sum() >= 2:
        waves = 2 * math.pi * base ** (np.arange(len(given)) / len(given))
        slope, start = np.polyfit(1 / waves[between], shares[between], 1)
        low, high = -start * context / slope, (1 - start) * context / slope
        candidates += [(round(low, digits), round(high, digits)) for digits in (0, 1, 2, 3)]
    for low, high in candidates:
        if 0 < low < high:
            found = llama3_factors(base, 2 * len(given), largest, low, high, context)
            if np.allclose(found, given, rtol=_PRECISION, atol=0):
                return {
                    "rope_type": "llama3",
                    "factor": largest,
                    "low_freq_factor": low,
                    "high_freq_factor": high,
                    "original_max_position_embeddings": context,
                }
    raise InputError(
        f"{gguf.paths[0]}: the factors in rope_freqs.weight are not those of Llama 3's scaling; give its safetensors "
        "version"
    )


def _factors(gguf: Gguf, name: str, width: int) -> list[float]:
    found = [float(number) for number in gguf.tensors[name].values().ravel()]
    if len(found) * 2 != width or not all(math.isfinite(number) and number > 0 for number in found):
        raise _refused(gguf, f"{name} has {len(found)} factors, expected {width // 2} positive numbers")
    return found


def _refused(gguf: Gguf, reason: str) -> InputError:
    return InputError(
        f"{gguf.paths[0]}: the scaling of its rotary frequencies cannot be represented ({reason}); give its "
        "safetensors version"
    )
