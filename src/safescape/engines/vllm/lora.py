"""Points between a base and its LoRA finetune as adapters in vLLM, while the base's weights do not move.

Several points answer in one batch, each request with the adapter of its point. If that is impossible, `why_merged`
returns the reason; the adapter is then merged into the weights, which move.
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

_MERGED = "give --adapter merged, which moves the weights"
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM allows for `max_lora_rank`."""
_NOT_ADAPTED = ("lm_head", "embed_out", "embed_tokens", "wte")
"""Output heads and embeddings; with an adapted head, vLLM on a CPU cannot score a text."""


def why_merged(
    model: Model,
    subspace: Lines | Plane,
    through: Sequence[Waypoint],
    *,
    engine: str,
    dtype: str,
    device: str,
    trust_remote_code: bool = False,
) -> str | None:
    """Return why a survey's points cannot be scaled adapters beside the weights of the base, `model`; None if they can.

    The subspace must be the one line from the base to BASE+ADAPTER, without checkpoints (`through`) beside it.
    """
    if engine != "vllm":
        return f"--engine {engine} moves weights; only vLLM applies adapters beside them (--engine vllm)"
    axis = subspace.axes[0]
    if isinstance(subspace, Plane) or len(subspace.axes) > 1 or not isinstance(axis, InterpolationAxis):
        return "only on the one line from a base to BASE+ADAPTER is a point an adapter"
    if through:
        return f"{through[0].model} of --through lies beside the line, so it is not a scaled adapter"
    other = resolve(axis.toward, trust_remote_code=trust_remote_code).weights
    if not isinstance(other, Adapted):
        return f"{axis.toward} is a model of its own, not BASE+ADAPTER; finetunes of all weights have no adapter"
    if isinstance(model.weights, Adapted):
        return f"{model.name} has an adapter on it already; merge that one into its base first"
    if not (isinstance(model.weights, Checkpoint) and model.weights.is_same_as(other.base)):
        return f"{axis.toward} is an adapter on other files than those of {model.name}; type the same base in both"
    if beyond := other.other_changes():
        return f"{axis.toward} changes {beyond[0]} otherwise than by a pair on a linear layer; vLLM applies no more"
    adapter = ScaledAdapter(other)
    if head := [module for module in adapter.modules if module.rpartition(".")[2] in _NOT_ADAPTED]:
        return f"{axis.toward} changes {head[0]}; vLLM applies only pairs on the layers between embedding and head"
    if adapter.rank > _RANKS[-1]:
        return f"{axis.toward} has rank {adapter.rank}; vLLM takes adapters up to rank {_RANKS[-1]}"
    if device != "cpu" and dtype == "float32":
        return "on a GPU vLLM's kernels for adapters take no float32; give --dtype bfloat16"
    return None


class LoadedAdapters:
    """The adapters, loaded in vLLM, of at most `most` points of the line along an axis.

    A point scales the adapter by its coordinate. Every scaled adapter gets a number and a name that were never used
    before, because vLLM identifies adapters, and the prefixes cached for them, by these. `why_merged` must return None.
    """

    def __init__(
        self, axis: InterpolationAxis, most: int, dtype: torch.dtype, *, trust_remote_code: bool = False
    ) -> None:
        weights = resolve(axis.toward, trust_remote_code=trust_remote_code).weights
        assert isinstance(weights, Adapted)
        self._name, self._adapter, self._most, self._dtype = axis.toward, ScaledAdapter(weights), most, dtype
        self._loaded: dict[Point, _Loaded] = {}
        self._number = 0

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `vllm.LLM` that adapters need."""
        return {
            "enable_lora": True,
            "max_loras": self._most,
            "max_lora_rank": next(rank for rank in _RANKS if rank >= self._adapter.rank),
            # By default vLLM adapts the head as well, and then cannot score a text on a CPU.
            "lora_target_modules": sorted({module.rpartition(".")[2] for module in self._adapter.modules}),
        }

    def load(self, llm: Any, points: Sequence[Point]) -> list[Position]:
        """Load the adapters of at most `most` points; return the position of each, with its adapter as rounded.

        Adapters of other points may be removed for them. InputError is raised if vLLM cannot load an adapter.
        """
        wanted = [point for point in points if not point.is_origin]
        for point in [loaded for loaded in self._loaded if loaded not in wanted]:
            if len(self._loaded) + len(set(wanted) - set(self._loaded)) > self._most:
                llm.llm_engine.remove_lora(self._loaded.pop(point).request.lora_int_id)
        for point in wanted:
            if point not in self._loaded:
                self._loaded[point] = self._load(llm, point)
        return [Position(point.coords, 0.0) if point.is_origin else self._loaded[point].position for point in points]

    def request(self, point: Point) -> Any:
        """Return the LoRARequest of a loaded point; None at the origin."""
        return None if point.is_origin else self._loaded[point].request

    def _load(self, llm: Any, point: Point) -> _Loaded:
        from vllm.lora.request import LoRARequest

        self._number += 1
        with tempfile.TemporaryDirectory(prefix="safescape-adapter-") as directory:
            effective = self._adapter.write(Path(directory), point.coords[0], self._dtype)
            request = LoRARequest(f"point-{self._number}", self._number, directory)
            try:
                # vLLM reads the files now and never again.
                llm.llm_engine.add_lora(request)
            except ValueError as error:
                raise InputError(f"{self._name}: vLLM cannot take the adapter ({error}); {_MERGED}") from error
        (ignored, *_) = llm.collective_rpc("safescape_ignored_modules", args=(self._number,))
        if ignored:
            raise InputError(f"{self._name}: vLLM adds no adapter to {ignored[0]} of this model; {_MERGED}")
        return _Loaded(request, Position((effective,), 0.0))


class _Loaded(NamedTuple):
    request: Any
    position: Position
