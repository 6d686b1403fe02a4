"""Weights that are stored quantised, recognised by the configuration and by the tensors themselves.

Such weights are integers or 8-bit floats with scales beside them, so no direction can be added to them until they are
dequantised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from safescape.weights.files import Stored

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""The dtypes, as safetensors names them, of weights that can be moved."""

_SECTIONS = {"quantization": "MLX", "compression_config": "compressed-tensors", "quantization_config": ""}
"""The keys of config.json that describe quantised weights, with the format that a key alone implies."""


class _Mark(NamedTuple):
    """The name and dtype of a tensor that only quantised weights have."""

    name: str
    dtype: str
    format: str


_MARKS = (
    _Mark(r"\.qweight$", r"[IU]\d+", "GPTQ or AWQ"),
    _Mark(r"\.weight_packed$", r"[IU]\d+", "compressed-tensors"),
    _Mark(r"\.weight\.(absmax|quant_state\.\w+)$", r".+", "bitsandbytes, 4 bits"),
    _Mark(r"\.SCB$", r".+", "bitsandbytes, 8 bits"),
    _Mark(r"_blocks$", r"U8", "MXFP4"),
    _Mark(r"\.weight$", r"U32", "MLX"),
    _Mark(r"", r"F8_\w+", "FP8"),
    _Mark(r"", r"F4|F6_\w+", "FP4 or FP6"),
    _Mark(r"\.weight$", r"[IU]\d+", "integers"),
)
"""In the order of looking: the formats with the most particular names come first."""


def quantised_format(config: Mapping[str, Any], stored: Mapping[str, Stored]) -> str | None:
    """Return the format that a model's weights are quantised in and what shows it; None if they are plain floats."""
    for section in sections(config):
        for key, implied in _SECTIONS.items():
            if section.get(key):
                return f"{_described(section[key], implied)}, by {key} in config.json"
    for mark in _MARKS:
        for name, tensor in sorted(stored.items()):
            if re.fullmatch(mark.dtype, tensor.dtype) and re.search(mark.name, name):
                return f"{mark.format}, by the tensor {name} of dtype {tensor.dtype}"
    return None


def sections(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a configuration and the configurations inside it, such as a multimodal model's of its text model."""
    yield config
    for part in config.values():
        if isinstance(part, dict) and "model_type" in part:
            yield from sections(part)


def _described(section: Any, implied: str) -> str:
    settings = section if isinstance(section, dict) else {}
    bits = settings.get("bits")
    for width in (4, 8):
        if settings.get(f"load_in_{width}bit") or settings.get(f"_load_in_{width}bit"):
            bits = width
    words = [implied or str(settings.get("quant_method") or "a format that it does not name")]
    words += [settings["format"]] if isinstance(settings.get("format"), str) else []
    return ", ".join([*words, *([f"{bits} bits"] if isinstance(bits, int) else [])])
