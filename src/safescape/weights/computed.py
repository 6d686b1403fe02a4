"""Directions that were computed from the origin, such as a gradient: files in the cache, one for each recipe.

A file has the tensors that move, in fp32. It is written once and read by every engine of this machine; its fingerprint
is in the survey, so that a run never mixes two of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from safescape.cache import cached_directory, home
from safescape.errors import InputError, first_line
from safescape.survey import ComputedAxis
from safescape.weights.checkpoint import ModelWeights, fingerprint
from safescape.weights.inner_product import square_of

_FILE = "direction.safetensors"
_VERSION = "1"
"""Of how recipes are computed; files of another version are not read."""


class StoredDirection(NamedTuple):
    """A direction that is read from a file; tensors that are not in it do not move."""

    path: Path
    resting: frozenset[str] = frozenset()
    """Parameters that do not move although the file has their tensors."""

    def tensor(self, name: str, origin: Tensor) -> Tensor:
        """Return the direction of one tensor."""
        with safe_open(self.path, framework="pt", device=str(origin.device)) as file:
            if name in self.resting or name not in file.keys():  # noqa: SIM118 - it is no mapping
                return torch.zeros_like(origin, dtype=torch.float32)
            found: Tensor = file.get_tensor(name)
            return found


def stored_direction(axis: ComputedAxis, origin: str, resting: frozenset[str]) -> StoredDirection:
    """Return the direction of an axis.

    Args:
        axis: Computed, so that it has a fingerprint.
        origin: The fingerprint of the model that it was computed from.
        resting: Parameters that do not move.

    Raises:
        InputError: its file is not on this machine.

    """
    path = home() / _entry(axis, origin) / _FILE
    if not path.is_file():
        raise InputError(
            f"{path}: {axis.recipe.label} is not on this machine; run the same command without --ray, which computes it"
        )
    return StoredDirection(path, resting)


def is_computed(axis: ComputedAxis, origin: str) -> bool:
    """Whether the direction of an axis lies in the cache; `origin` is the fingerprint of the model."""
    return (home() / _entry(axis, origin) / _FILE).is_file()


class Computed(NamedTuple):
    """A direction that was computed."""

    tensors: Mapping[str, Tensor]
    """Those that move, fp32, by the checkpoint's names."""
    found: str | None = None
    """What was found out on the way, in words."""


def compute_direction(axis: ComputedAxis, origin: str, compute: Callable[[], Computed]) -> tuple[str, str | None]:
    """Return the fingerprint of an axis's direction, and what was found out when it was computed.

    Its file is written first if it is not there.

    Args:
        axis: With its recipe.
        origin: The fingerprint of the model.
        compute: Returns the direction.

    Raises:
        InputError: the cache cannot be written, or the file is damaged.

    """

    def fill(directory: Path) -> None:
        computed = compute()
        tensors = {name: tensor.contiguous() for name, tensor in computed.tensors.items()}
        try:
            save_file(tensors, directory / _FILE, metadata={"found": computed.found or ""})
        except SafetensorError as error:
            raise InputError(
                f"{directory}: the direction cannot be written ({first_line(error)}); free space or set SAFESCAPE_HOME"
            ) from error

    path = cached_directory(_entry(axis, origin), fill) / _FILE
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("found") or None
            return fingerprint(list(file.keys()), file.get_tensor), found
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read ({first_line(error)}); remove {path.parent} to have it computed again"
        ) from error


def at_the_norm_of(origin: ModelWeights, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors scaled to the norms of the origin's, as those of a random direction are; zeros are left out.

    Raises:
        InputError: a tensor has values that are not finite, or all are zero.

    """
    scaled = {}
    for name, tensor in tensors.items():
        length = math.sqrt(square_of(tensor))
        if not math.isfinite(length):
            raise InputError(f"the tensor {name} of the direction holds NaN or infinity; no landscape can be drawn")
        if length:
            scaled[name] = tensor.float() * (math.sqrt(square_of(origin.tensor(name))) / length)
    if not scaled:
        raise InputError("the direction is zero in every tensor: nothing moves, so there is no landscape")
    return scaled


def _entry(axis: ComputedAxis, origin: str) -> str:
    parts = (_VERSION, origin, axis.norm, axis.recipe.model_dump_json())
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"directions/{digest[:32]}"
