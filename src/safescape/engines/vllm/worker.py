"""What this project adds to vLLM's own workers: each computes the weights of a point itself and takes its share.

Loaded by vLLM, by the name of the class, in every process that holds a part of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from safescape.engines.loading import give_back
from safescape.survey import Point, Position
from safescape.weights import Moving, Space, Weights, fingerprint_of_stream, mover_of

__all__ = ["MovingWorker"]


class MovingWorker:
    """Methods of a vLLM worker, called over `collective_rpc`."""

    device: torch.device
    model_runner: Any

    def safescape_hold(
        self, origin: Weights, subspace: Space, shapes: Mapping[str, torch.Size], dtype: torch.dtype
    ) -> None:
        """Keep what a move needs; see `mover_of`."""
        self._safescape_mover = mover_of(origin, subspace, shapes, dtype=dtype, device=self.device)

    def safescape_move(self, point: Point) -> Position:
        """Write the weights of a point and return where they stand."""
        moving = self._safescape_mover.moving(point)
        self.model_runner.reload_weights(weights_iterator=_kept(moving))
        _repack_tied_heads(self.model_runner.get_model())
        give_back()
        return moving.position

    def safescape_fingerprint(self, point: Point) -> str:
        """Return the fingerprint of the weights that a move to a point writes."""
        return fingerprint_of_stream(self._safescape_mover.moving(point))

    def safescape_forgotten(self, adapter: int) -> list[str]:
        """Return the modules that an adapter changes and vLLM does not, sorted."""
        manager = self.model_runner.lora_manager._adapter_manager
        return sorted(set(manager.get_adapter(adapter).loras) - set(manager.modules))


def _kept(moving: Moving) -> Iterator[tuple[str, Tensor]]:
    """Copies: vLLM holds tensors back until it has all of a layer."""
    for name, values in moving:
        yield name, values.clone()


def _repack_tied_heads(model: Module) -> None:
    """Let heads that share the embedding's weight see it as it is now.

    On a CPU vLLM multiplies with a packed copy of a head's weight, and reloading an embedding packs no head anew.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    embeddings = [layer for layer in model.modules() if hasattr(layer, "num_embeddings")]
    shared = {id(layer.weight) for layer in embeddings if not isinstance(layer, ParallelLMHead)}
    for layer in embeddings:
        if isinstance(layer, ParallelLMHead) and id(layer.weight) in shared and hasattr(layer, "cpu_linear"):
            layer.quant_method.process_weights_after_loading(layer)
