"""Directions that were computed from the origin, such as a gradient: files in the run directory.

A file has the tensors that move, in fp32. It is written once and read by every worker and whenever the run is resumed;
its fingerprint is in the survey, so that a run never mixes two of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from safescape.errors import InputError, first_line
from safescape.survey import ComputedAxis
from safescape.weights.checkpoint import ModelWeights, fingerprint
from safescape.weights.chosen import chosen
from safescape.weights.inner_product import square_of


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


def directions_of(run: Path) -> Path:
    """Return the folder of a run directory in which its computed directions lie."""
    return run / "directions"


def stored_direction(axis: ComputedAxis, directory: Path | None, resting: frozenset[str]) -> StoredDirection:
    """Return the direction of an axis.

    Args:
        axis: Computed, so that it has a fingerprint.
        directory: The folder with its file; see `directions_of`.
        resting: Parameters that do not move.

    Raises:
        InputError: its file is not there.

    """
    assert directory is not None, "a survey with computed directions is measured in a run directory"
    path = file_of(axis, directory)
    if not path.is_file():
        raise InputError(
            f"{path}: {axis.recipe.label} is not on this machine; give an --out that all machines of the cluster "
            "share, or leave out --ray"
        )
    return StoredDirection(path, resting)


def file_of(axis: ComputedAxis, directory: Path) -> Path:
    """Return the path of a computed axis's file in a folder of directions."""
    assert axis.fingerprint is not None
    return directory / f"{axis.recipe.kind}-{axis.fingerprint.removeprefix('sha256:')[:16]}.safetensors"


def fingerprint_of_file(path: Path) -> str:
    """Return the fingerprint of a direction in a file.

    Raises:
        InputError: the file is damaged.

    """
    try:
        with safe_open(path, framework="pt") as file:
            return fingerprint(list(file.keys()), file.get_tensor)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read ({first_line(error)}); remove it to have it computed again"
        ) from error


def save_direction(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write the tensors of a direction that move, by the checkpoint's names; the file is complete or absent.

    Raises:
        InputError: it cannot be written.

    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: the direction cannot be written ({first_line(error)}); free space, or give another --out"
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


def length_of(tensors: Mapping[str, Tensor], origin: ModelWeights, only: str | None) -> float:
    """Return the norm of a direction divided by that of the weights that it moves.

    Args:
        tensors: The direction's.
        origin: The model.
        only: Which of them move; see `chosen`.

    """
    moving = tensors.keys() if only is None else tensors.keys() & chosen(only, origin)
    if not moving:
        raise InputError(f"--only {only}: selects no tensor that this direction moves")
    squares = ((square_of(tensors[name]), square_of(origin.tensor(name))) for name in sorted(moving))
    direction, weights = map(sum, zip(*squares, strict=True))
    return float(round(math.sqrt(direction / weights), 6))
