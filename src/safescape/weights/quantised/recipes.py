"""How each tensor of a model is computed from the tensors of its quantised files, and the checks that formats share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from safescape.errors import InputError, either
from safescape.weights.files import Stored

SCALES = frozenset({"F32", "F16", "BF16"})
"""The dtypes of scales, as safetensors names them."""
GIVE = "give the unquantised model or a GGUF"


class Recipe(NamedTuple):
    """How one tensor of the model is computed."""

    sources: tuple[str, ...]
    """The stored tensors that it is computed from."""
    shape: tuple[int, ...]
    compute: Callable[..., Tensor]
    """Takes the sources, in order."""
    dtype: torch.dtype = torch.float32


class Quantised(NamedTuple):
    """A quantised checkpoint."""

    given: str
    """The model's name in messages."""
    settings: Mapping[str, Any]
    """The section of config.json that describes the quantised weights."""
    stored: Mapping[str, Stored]
    read: Callable[[str], Tensor]

    def companion(self, name: str, *others: str) -> str:
        """Return the first of `others` that is stored beside the quantised tensor `name`.

        Raises:
            InputError: None is.

        """
        for other in others:
            if other in self.stored:
                return other
        raise InputError(
            f"{self.given}: the quantised tensor {name} lacks its {either(others)}; download the model again, or {GIVE}"
        )

    def check(self, name: str, shapes: Iterable[tuple[int, ...]], dtypes: Iterable[str], reason: str) -> None:
        """Check that a tensor has one of some shapes and one of some dtypes; `reason` says what these follow from.

        Raises:
            InputError: It has not.

        """
        tensor = self.stored[name]
        if tensor.shape not in shapes or tensor.dtype not in dtypes:
            expected = either([f"{list(shape)}" for shape in shapes])
            raise InputError(
                f"{self.given}: {name} is {tensor.dtype} of shape {list(tensor.shape)}, and by {reason} it would be "
                f"{either(sorted(dtypes))} of shape {expected}; download the model again, or {GIVE}"
            )

    def setting(self, key: str, expected: Iterable[Any], default: Any) -> Any:
        """Return a setting of the section; raise InputError if it is none of those that can be dequantised."""
        value = self.settings.get(key, default)
        # 4.0 and true are equal to numbers that are expected, and mean something else
        if not any(type(value) is type(each) and value == each for each in expected):
            raise InputError(
                f"{self.given}: its weights are quantised with {key} = {value}, and can be dequantised with "
                f"{either([str(each) for each in expected])}; {GIVE}"
            )
        return value


def groups(length: int, size: int) -> int:
    """Return into how many groups of `size` a length is divided; the last one may be shorter."""
    return math.ceil(length / size)


def unpacked(packed: Tensor, bits: int, dimension: int) -> Tensor:
    """Return the unsigned integers that int32 words hold along a dimension, the lowest bits first."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    values = (packed.unsqueeze(-1) >> shifts) & (2**bits - 1)
    return values.movedim(-1, dimension + 1).flatten(dimension, dimension + 1)
