"""What moves the weights inside of vLLM's workers.

Each worker computes the weights of a point itself. Workers that hold a model together compute only what they need of
each tensor, which is found by watching vLLM load the origin.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from safescape.engines.loading import trim_memory
from safescape.engines.vllm.reads import Reads
from safescape.survey import Point
from safescape.weights import Mover, Part, Share, Space, Sums, Weights, fingerprint_of_stream, mover_of


class MovingWorker:
    """Methods that this project adds to vLLM's workers, called by `collective_rpc`.

    vLLM imports the class by its name in every process that holds a part of the model.
    """

    device: torch.device
    rank: int
    model_runner: Any
    _safescape_mover_of: Callable[..., Mover]
    _safescape_mover: Mover
    _safescape_share: Share | None

    def safescape_prepare(
        self, origin: Weights, subspace: Space, shapes: Mapping[str, torch.Size], dtype: torch.dtype
    ) -> None:
        """Create the mover; see `mover_of`."""
        self._safescape_mover_of = functools.partial(
            mover_of, origin, subspace, shapes, dtype=dtype, device=self.device
        )
        self._safescape_mover, self._safescape_share = self._safescape_mover_of(), None

    def safescape_needed(self, point: Point) -> tuple[int, dict[str, Part]]:
        """Load whole tensors of a point; return this rank and, of those it does not need whole, the parts it does."""
        with Reads() as reads:
            self._safescape_load(reads.watched(_copies(self._safescape_mover.move(point))))
        return self.rank, reads.parts()

    def safescape_divide(self, shares: Mapping[int, Share]) -> None:
        """Compute this rank's share of the weights from now on."""
        self._safescape_share = shares[self.rank]
        self._safescape_mover = self._safescape_mover_of(share=self._safescape_share)

    def safescape_move(self, point: Point) -> Sums | None:
        """Load the weights of a point and return this rank's sums of their position; see `position_of`."""
        moving = self._safescape_mover.move(point)
        if self._safescape_share is None:
            self._safescape_load(_copies(moving))
        else:
            parts = self._safescape_share.parts
            with Reads() as reads:
                self._safescape_load(reads.watched(_in_place(moving, parts)))
            reads.check(parts)
        return moving.sums

    def safescape_fingerprint(self, point: Point) -> str:
        """Return the fingerprint of the weights of a point, which is that of whole tensors on every rank."""
        mover = self._safescape_mover if self._safescape_share is None else self._safescape_mover_of()
        return fingerprint_of_stream(mover.move(point))

    def safescape_ignored_modules(self, adapter: int) -> list[str]:
        """Return the modules of an adapter that vLLM does not apply it to, sorted."""
        manager = self.model_runner.lora_manager._adapter_manager
        return sorted(set(manager.get_adapter(adapter).loras) - set(manager.modules))

    def _safescape_load(self, tensors: Iterator[tuple[str, Tensor]]) -> None:
        self.model_runner.reload_weights(weights_iterator=tensors)
        _repack_tied_heads(self.model_runner.get_model())
        trim_memory()


def _copies(moving: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yield copies, because vLLM keeps tensors until it has all of a layer."""
    for name, values in moving:
        yield name, values.clone()


def _in_place(moving: Iterable[tuple[str, Tensor]], parts: Mapping[str, Part]) -> Iterator[tuple[str, Tensor]]:
    """Yield copies of parts in tensors of the whole shape, whose other values are not initialised."""
    for name, values in moving:
        if name in parts:
            whole = torch.empty(parts[name].whole, dtype=values.dtype, device=values.device)
            parts[name].put(values, whole)
            yield name, whole
        else:
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
