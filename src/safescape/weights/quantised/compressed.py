"""compressed-tensors weights, decompressed by the library that wrote them.

`unpack_from_int32` and `dequantize` of the library compute the values. The scales are widened to fp32 first: the result
then is the exact product of an integer or FP8 value and its scale, and rounded to the dtype of the scales it is what
the library gives without that. The strategy is the one in config.json; the library's decompression of a whole model
guesses it from the shapes, which is wrong for blocks that are cut off at the edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from safescape.errors import InputError, first_line
from safescape.weights.quantised.recipes import GIVE, SCALES, Quantised, Recipe, groups

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme

_PACKED, _PLAIN = ("pack-quantized",), ("float-quantized", "int-quantized", "naive-quantized")
_CLASSES = ("Linear", "Embedding")


def compressed_recipes(files: Quantised) -> dict[str, Recipe]:
    """Return how each compressed layer is decompressed.

    Raises:
        InputError: compressed-tensors is not installed, config.json describes something else than the files hold, or
            the format is none that a layer's weights alone are decompressed from.

    """
    config = _config(files)
    found = {}
    for name, tensor in files.stored.items():
        layer, _, kind = name.rpartition(".")
        is_packed = kind == "weight_packed"
        if not is_packed and not (kind == "weight" and tensor.dtype in ("I8", "F8_E4M3")):
            continue
        scheme = _scheme(files, config, layer, name)
        weights: Any = scheme.weights
        stored_as = _format(scheme, config)
        if stored_as not in (_PACKED if is_packed else _PLAIN):
            raise InputError(
                f"{files.given}: by config.json {layer} is compressed as {stored_as}, and {name} is {tensor.dtype} of "
                f"shape {list(tensor.shape)}; such weights cannot be decompressed: {GIVE}"
            )
        found[f"{layer}.weight"] = (_packed if is_packed else _plain)(files, layer, weights)
    return found


def _packed(files: Quantised, layer: str, weights: QuantizationArgs) -> Recipe:
    name = f"{layer}.weight_packed"
    shape = files.companion(name, f"{layer}.weight_shape")
    files.check(shape, [(2,)], {"I64", "I32"}, "two dimensions")
    outputs, inputs = (int(length) for length in files.read(shape))
    if weights.type != "int" or not 2 <= weights.num_bits <= 8:
        raise InputError(
            f"{files.given}: by config.json {layer} is packed with {weights.type} of {weights.num_bits} bits, expected "
            f"int of 2 to 8; {GIVE}"
        )
    words = 32 // weights.num_bits
    reason = f"{weights.num_bits} bits for {layer}.weight of shape [{outputs}, {inputs}]"
    files.check(name, [(outputs, groups(inputs, words))], {"I32"}, reason)
    scale, count = _scale(files, layer, name, (outputs, inputs), weights)
    sources = [name, scale, shape]
    zero = _zero(files, layer, name, weights)
    if zero:
        files.check(zero, [(groups(outputs, words), count)], {"I32"}, f"{reason}, not symmetric")
        sources.append(zero)
    index = _index(files, layer, weights, inputs)
    sources += [index] if index else []
    bits = weights.num_bits

    def compute(packed: Tensor, scale: Tensor, _shape: Tensor, *others: Tensor) -> Tensor:
        from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

        integers = unpack_from_int32(packed, bits, torch.Size((outputs, inputs)))
        origin = unpack_from_int32(others[0], bits, torch.Size((outputs, count)), packed_dim=0) if zero else None
        return _dequantized(integers, scale, origin, others[-1] if index else None, weights)

    return Recipe(tuple(sources), (outputs, inputs), compute)


def _plain(files: Quantised, layer: str, weights: QuantizationArgs) -> Recipe:
    name = f"{layer}.weight"
    outputs, inputs, *_ = (*files.stored[name].shape, 0, 0)
    shape = (outputs, inputs)
    dtype = {("int", 8): "I8", ("float", 8): "F8_E4M3"}.get((str(weights.type), weights.num_bits))
    if dtype is None:
        raise InputError(
            f"{files.given}: by config.json {layer} has weights of {weights.type} with {weights.num_bits} bits, "
            f"expected int or float with 8; {GIVE}"
        )
    files.check(name, [shape], {dtype}, f"{weights.type} with 8 bits")
    scale, _ = _scale(files, layer, name, shape, weights)
    sources = [name, scale]
    zero = _zero(files, layer, name, weights)
    if zero:
        files.check(zero, [files.stored[scale].shape], {dtype}, f"{scale} of shape {list(files.stored[scale].shape)}")
        sources.append(zero)
    index = _index(files, layer, weights, inputs)
    sources += [index] if index else []

    def compute(values: Tensor, scale: Tensor, *others: Tensor) -> Tensor:
        return _dequantized(values, scale, others[0] if zero else None, others[-1] if index else None, weights)

    return Recipe(tuple(sources), (outputs, inputs), compute)


def _dequantized(
    values: Tensor, scale: Tensor, zero: Tensor | None, index: Tensor | None, weights: QuantizationArgs
) -> Tensor:
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    return dequantize(values, scale.float(), zero, weights, torch.float32, index)


def _scale(
    files: Quantised, layer: str, name: str, shape: tuple[int, int], weights: QuantizationArgs
) -> tuple[str, int]:
    """Return the name of a layer's scales and how many columns they have."""
    outputs, inputs = shape
    scale = files.companion(name, f"{layer}.weight_scale")
    strategy = str(weights.strategy)
    match strategy:
        case "tensor":
            shapes, count = [(), (1,), (1, 1)], 1
        case "channel":
            shapes, count = [(outputs, 1)], 1
        case "group" if weights.group_size and inputs % weights.group_size == 0:
            count = groups(inputs, weights.group_size)
            shapes = [(outputs, count)]
        case "block" if weights.block_structure:
            height, width = weights.block_structure
            count = groups(inputs, width)
            shapes = [(groups(outputs, height), count)]
        case _:
            raise InputError(
                f"{files.given}: by config.json {layer} has scales by {strategy} for {inputs} inputs, expected tensor, "
                f"channel, group (of equal size) or block; {GIVE}"
            )
    files.check(scale, shapes, SCALES, f"scales by {strategy} for {layer}.weight of shape {list(shape)}")
    return scale, count


def _zero(files: Quantised, layer: str, name: str, weights: QuantizationArgs) -> str | None:
    """Return the name of a layer's zero points, if it has any."""
    zero = f"{layer}.weight_zero_point"
    return files.companion(name, zero) if not weights.symmetric else None


def _index(files: Quantised, layer: str, weights: QuantizationArgs, inputs: int) -> str | None:
    """Return the name of the tensor with the group of each input, if there is one."""
    name = f"{layer}.weight_g_idx"
    if weights.actorder in ("group", "dynamic"):
        files.companion(f"{layer}.weight_scale", name)
    if name not in files.stored:
        return None
    files.check(name, [(inputs,)], {"I32", "I64"}, f"{inputs} inputs")
    held = files.read(name).long()
    size = weights.group_size or inputs
    # The library sorts the inputs by group and then divides them evenly. It takes -1 for groups that are in order.
    if -1 not in held and (inputs % size or not torch.equal(held.sort().values, torch.arange(inputs) // size)):
        raise InputError(
            f"{files.given}: {name} does not name {inputs // size} groups of {size} inputs; download the model again, "
            f"or {GIVE}"
        )
    return name


def _config(files: Quantised) -> QuantizationConfig:
    try:
        # What is imported where it is used is imported here too, so that a version without it is known at once.
        from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32  # noqa: F401
        from compressed_tensors.quantization import QuantizationConfig
        from compressed_tensors.quantization.lifecycle.forward import dequantize  # noqa: F401
        from compressed_tensors.utils.match import match_name  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{files.given}: its weights are quantised by compressed-tensors, and compressed-tensors 0.17 or newer is "
            f"not installed; type pip install 'safescape[quantised]', or {GIVE}"
        ) from error
    for section in ("transform_config", "sparsity_config"):
        held = files.settings.get(section)
        if held and not (isinstance(held, dict) and held.get("format") == "dense"):
            raise InputError(
                f"{files.given}: its compressed weights have a {section} in config.json, which cannot be undone; {GIVE}"
            )
    try:
        config = QuantizationConfig.model_validate(dict(files.settings))
    except (ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"{files.given}: compressed-tensors cannot read the quantization_config ({first_line(error)}); {GIVE}"
        ) from error
    return config


def _scheme(files: Quantised, config: QuantizationConfig, layer: str, name: str) -> QuantizationScheme:
    """Return how a layer is compressed: by its own name, else by a pattern, else by the class of its module."""
    from compressed_tensors.utils.match import match_name

    schemes = [each for each in config.config_groups.values() if not isinstance(each, list) and each.weights]
    if not any(match_name(layer, pattern) for pattern in config.ignore or ()):
        for is_pattern in (False, True):
            for scheme in schemes:
                targets = [target for target in scheme.targets if target.startswith("re:") == is_pattern]
                if any(match_name(layer, target) for target in targets):
                    return scheme
        for scheme in schemes:
            if any(target in _CLASSES for target in scheme.targets):
                return scheme
    raise InputError(
        f"{files.given}: {name} is compressed, but by config.json {layer} is not; download the model again, or {GIVE}"
    )


def _format(scheme: QuantizationScheme, config: QuantizationConfig) -> str:
    return str(getattr(scheme.format, "value", scheme.format) or config.format)
