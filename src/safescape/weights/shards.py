"""Writing a checkpoint that is computed tensor by tensor: as many safetensors files as its size needs, and an index."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from safescape.errors import InputError, first_line

_SHARD = "2GB"
"""The largest file of a checkpoint, and so the memory that writing one needs."""


def save_shards(directory: Path, empty: Mapping[str, Tensor], tensor: Callable[[str], Tensor], given: str) -> None:
    """Write a checkpoint's tensors into a directory.

    Args:
        directory: Where.
        empty: A tensor on the meta device, of the right shape and dtype, for each name.
        tensor: Computes the tensor of a name, contiguous.
        given: The model's name in messages.

    Raises:
        InputError: The files cannot be written.

    """
    shards = split_torch_state_dict_into_shards(dict(empty), max_shard_size=_SHARD)
    for file, names in shards.filename_to_tensors.items():
        try:
            save_file({name: tensor(name) for name in names}, directory / file, metadata={"format": "pt"})
        except SafetensorError as error:
            raise InputError(
                f"{given}: its checkpoint cannot be written ({first_line(error)}); free space or set SAFESCAPE_HOME"
            ) from error
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
