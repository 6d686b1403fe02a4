"""The points between a base and its LoRA finetune as adapters that vLLM holds; the base's weights stay where they are.

Several of them answer in one batch, each request by the adapter of its point. Where that cannot be, `why_merged` says
why, and the adapter is merged into the weights, which are moved.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from safescape.errors import InputError
from safescape.survey import InterpolationAxis, Lines, Plane, Point, Position, Waypoint
from safescape.weights import Adapted, Checkpoint, Model, ScaledAdapter, resolve

__all__ = ["Adapters", "adapters_of", "why_merged"]

_MERGED = "give --adapter merged, which moves the weights"
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM has room for in an adapter: one of these."""
_NOT_ADAPTED = ("lm_head", "embed_out", "embed_tokens", "wte")
"""Heads and embeddings; with an adapted head vLLM on a CPU cannot score a text."""


def why_merged(
    model: Model,
    subspace: Lines | Plane,
    through: Sequence[Waypoint],
    *,
    engine: str,
    dtype: str,
    device: str,
) -> str | None:
    """Return why a survey's points cannot be scaled adapters on a base that stays, in one line; None if they can."""
    if engine != "vllm":
        return f"--engine {engine} moves weights; adapters side by side are vLLM's (--engine vllm)"
    axis = subspace.axes[0]
    if isinstance(subspace, Plane) or len(subspace.axes) > 1 or not isinstance(axis, InterpolationAxis):
        return "only on the one line from a base to BASE+ADAPTER is a point an adapter"
    if through:
        return f"{through[0].model} of --through lies beside the line, and no scaled adapter is it"
    other = resolve(axis.toward).weights
    if not isinstance(other, Adapted):
        return f"{axis.toward} is a model of its own, not BASE+ADAPTER; finetunes of all weights have no adapter"
    if isinstance(model.weights, Adapted):
        return f"{model.name} has an adapter on it already; merge that one into its base first"
    if not (isinstance(model.weights, Checkpoint) and model.weights.is_same_as(other.base)):
        return f"{axis.toward} is an adapter on other files than those of {model.name}; type the same base in both"
    if beyond := other.other_changes():
        return f"{axis.toward} holds {beyond[0]} whole or as an embedding's; vLLM adds pairs to linear layers alone"
    adapter = ScaledAdapter(other)
    if head := [module for module in adapter.modules if module.rpartition(".")[2] in _NOT_ADAPTED]:
        return f"{axis.toward} changes {head[0]}; vLLM adds pairs to the layers between embedding and head alone"
    if adapter.rank > _RANKS[-1]:
        return f"{axis.toward} has rank {adapter.rank}; vLLM takes adapters up to rank {_RANKS[-1]}"
    if device != "cpu" and dtype == "float32":
        return "on a GPU vLLM's kernels for adapters take no float32; give --dtype bfloat16"
    return None


class Adapters:
    """What vLLM holds of a line's points.

    An adapter has a number and a name that no other one ever had, because vLLM knows adapters, and what of their
    prefixes it has computed, by these.

    Args:
        name: Of the finetune, for messages.
        adapter: What a point has α times.
        most: How many points it may hold at a time.
        dtype: Of the adapters.

    """

    def __init__(self, name: str, adapter: ScaledAdapter, most: int, dtype: torch.dtype) -> None:
        self._name, self._adapter, self._most, self._dtype = name, adapter, most, dtype
        self._held: dict[Point, _Held] = {}
        self._number = 0

    @property
    def settings(self) -> dict[str, Any]:
        """What vLLM must be opened with."""
        return {
            "enable_lora": True,
            "max_loras": self._most,
            "max_lora_rank": next(rank for rank in _RANKS if rank >= self._adapter.rank),
            # with all layers it would also take the head, and could then score no text on a CPU
            "lora_target_modules": sorted({module.rpartition(".")[2] for module in self._adapter.modules}),
        }

    def hold(self, llm: Any, points: Sequence[Point]) -> list[Position]:
        """Let vLLM hold the adapters of some points, at most as many as it has room for; others may have to go.

        Returns:
            Where each point stands, as its adapter is rounded.

        Raises:
            InputError: vLLM does not take the adapter.

        """
        wanted = [point for point in points if not point.is_origin]
        for point in [held for held in self._held if held not in wanted]:
            if len(self._held) + len(set(wanted) - set(self._held)) > self._most:
                llm.llm_engine.remove_lora(self._held.pop(point).request.lora_int_id)
        for point in wanted:
            if point not in self._held:
                self._held[point] = self._load(llm, point)
        return [Position(point.coords, 0.0) if point.is_origin else self._held[point].position for point in points]

    def request(self, point: Point) -> Any:
        """Return what tells vLLM which adapter answers: that of a point it holds; None at the origin."""
        return None if point.is_origin else self._held[point].request

    def _load(self, llm: Any, point: Point) -> _Held:
        from vllm.lora.request import LoRARequest

        self._number += 1
        with tempfile.TemporaryDirectory(prefix="safescape-adapter-") as directory:
            effective = self._adapter.write(Path(directory), point.coords[0], self._dtype)
            request = LoRARequest(f"point-{self._number}", self._number, directory)
            try:
                # it reads the files now, and never again
                llm.llm_engine.add_lora(request)
            except ValueError as error:
                raise InputError(f"{self._name}: vLLM cannot take the adapter ({error}); {_MERGED}") from error
        (forgotten, *_) = llm.collective_rpc("safescape_forgotten", args=(self._number,))
        if forgotten:
            raise InputError(f"{self._name}: vLLM adds no adapter to {forgotten[0]} of this model; {_MERGED}")
        return _Held(request, Position((effective,), 0.0))


class _Held(NamedTuple):
    request: Any
    position: Position


def adapters_of(axis: InterpolationAxis, most: int, dtype: torch.dtype) -> Adapters:
    """Return the adapters of the line along an axis; `why_merged` must have nothing against it."""
    weights = resolve(axis.toward).weights
    assert isinstance(weights, Adapted)
    return Adapters(axis.toward, ScaledAdapter(weights), most, dtype)
