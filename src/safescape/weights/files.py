"""The safetensors files of a model's directory: found as transformers finds them, and what their headers say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from safescape.errors import InputError

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Stored(NamedTuple):
    """One tensor of a safetensors file, by its header."""

    path: Path
    dtype: str
    """As safetensors names it, for example `BF16` or `F8_E4M3`."""
    shape: tuple[int, ...]


def stored_tensors(directory: Path) -> dict[str, Stored]:
    """Return every tensor of the files that transformers loads from a directory, by name.

    A single file is preferred to an index, and a file that config.json names (`transformers_weights`) to both.

    Raises:
        InputError: There is no safetensors file (pickled weights are refused), or a shard is missing, truncated, or
            holds other tensors than the index says.

    """
    chosen = _chosen(directory)
    if chosen is None:
        pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
        if pickles:
            raise InputError(
                f"{directory}: has pickled weights only ({pickles[0]}), which can run code when loaded; "
                "convert them with transformers' save_pretrained on a machine you can lose"
            )
        raise InputError(f"{directory}: no {_SINGLE} or {_INDEX} in it; give a directory with a safetensors checkpoint")
    return _sharded(chosen) if chosen.suffix == ".json" else tensors_of(chosen)


def tensors_of(path: Path) -> dict[str, Stored]:
    """Return the tensors of one safetensors file by name.

    Raises:
        InputError: The file is missing or damaged.

    """
    if not path.is_file():
        raise InputError(f"{path}: is missing, though the index names it; download the model again")
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            return {name: Stored(path, each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cut short or damaged ({error}); download it again") from error


def tensor_names(path: Path) -> set[str]:
    """Return the names of the tensors in one safetensors file; see `tensors_of`."""
    return set(tensors_of(path))


def _chosen(directory: Path) -> Path | None:
    """Return the file or the index that transformers loads."""
    named = _config(directory).get("transformers_weights")
    if isinstance(named, str) and (directory / named).is_file() and Path(named).name == named:
        return directory / named
    return next((directory / name for name in (_SINGLE, _INDEX) if (directory / name).is_file()), None)


def _config(directory: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # `resolve` refuses such a directory; a bare directory of tensors has no configuration.
        return {}
    return found if isinstance(found, dict) else {}


def _sharded(index: Path) -> dict[str, Stored]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        listed = {name: Path(shard).name for name, shard in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not an index of safetensors shards; download the model again") from error
    found: dict[str, Stored] = {}
    for shard in sorted(set(listed.values())):
        held = tensors_of(index.parent / shard)
        if twice := sorted(held.keys() & found.keys()):
            raise InputError(
                f"{index.parent / shard}: holds the tensor {twice[0]}, and so does {found[twice[0]].path.name}; "
                "save the model again in an empty directory"
            )
        if unlisted := sorted(held.keys() - listed.keys()):
            raise InputError(
                f"{index}: does not list the tensor {unlisted[0]} of {shard}, so it is another model's index; "
                "save or download the model again in an empty directory"
            )
        found |= held
    for name, shard in listed.items():
        if name not in found:
            raise InputError(f"{index.parent / shard}: lacks the tensor {name} of the index; download the model again")
    return found
