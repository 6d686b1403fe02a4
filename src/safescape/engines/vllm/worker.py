"""Methods that this project adds to vLLM's workers, so that each computes the weights of a point and loads its shard.

vLLM imports the class by its name, given in `launch`, in every process that holds a part of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from safescape.engines.loading import trim_memory
from safescape.survey import Point, Position
from safescape.weights import Moving, Space, Weights, fingerprint_of_stream, mover_of


class MovingWorker:
    """Methods of a vLLM worker, called by `collective_rpc`."""

    device: torch.device
    model_runner: Any

    def safescape_prepare(
        self, origin: Weights, subspace: Space, shapes: Mapping[str, torch.Size], dtype: torch.dtype
    ) -> None:
        """Create the mover; see `mover_of` for the arguments."""
        self._safescape_mover = mover_of(origin, subspace, shapes, dtype=dtype, device=self.device)

    def safescape_move(self, point: Point) -> Position:
        """Load the weights of a point and return their position as rounded."""
        moving = self._safescape_mover.moving(point)
        self.model_runner.reload_weights(weights_iterator=_copies(moving))
        _repack_tied_heads(self.model_runner.get_model())
        trim_memory()
        return moving.position

    def safescape_fingerprint(self, point: Point) -> str:
        """Return the fingerprint of the weights of a point."""
        return fingerprint_of_stream(self._safescape_mover.moving(point))

    def safescape_ignored_modules(self, adapter: int) -> list[str]:
        """Return the modules of an adapter that vLLM does not apply it to, sorted."""
        manager = self.model_runner.lora_manager._adapter_manager
        return sorted(set(manager.get_adapter(adapter).loras) - set(manager.modules))


def _copies(moving: Moving) -> Iterator[tuple[str, Tensor]]:
    """Yield copies, because vLLM keeps tensors until it has all of a layer."""
    for name, values in moving:
        yield name, values.clone()


def _repack_tied_heads(model: Module) -> None:
    """Pack the weights of output heads that are tied to the embedding again.

    On a CPU, vLLM multiplies with a packed copy of a head's weight, and does not update it when it reloads the tied
    embedding.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    embeddings = [layer for layer in model.modules() if hasattr(layer, "num_embeddings")]
    shared = {id(layer.weight) for layer in embeddings if not isinstance(layer, ParallelLMHead)}
    for layer in embeddings:
        if isinstance(layer, ParallelLMHead) and id(layer.weight) in shared and hasattr(layer, "cpu_linear"):
            layer.quant_method.process_weights_after_loading(layer)
