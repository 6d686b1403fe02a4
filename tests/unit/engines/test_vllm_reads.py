"""What loaders like vLLM's read of a tensor, and what reads outside of a part lead to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from safescape.engines.vllm.reads import Reads
from safescape.errors import RunError
from safescape.weights import Part

SHAPE = torch.Size((4, 8, 6))


def columns(parameter: Tensor, loaded: Tensor) -> None:
    parameter[..., :3].data.copy_(loaded.narrow(2, 3, 3))


def heads(parameter: Tensor, loaded: Tensor) -> None:
    """Load the queries, keys and values of a rank from one tensor."""
    for place, projection in enumerate(loaded.split([4, 2, 2], 1)):
        parameter[:, place].copy_(projection[:, 0])


def experts(parameter: Tensor, loaded: Tensor) -> None:
    for expert in range(4):
        parameter[expert, 2:5].copy_(loaded[expert].narrow(0, 2, 3))


def transposed(parameter: Tensor, loaded: Tensor) -> None:
    parameter.transpose(1, 2)[:, :2].copy_(loaded.detach().permute(0, 2, 1).chunk(3, 1)[1])


def converted(parameter: Tensor, loaded: Tensor) -> None:
    parameter[:, 4:].copy_(loaded.narrow(1, 4, 4).to(torch.bfloat16))


def on_meta(parameter: Tensor, loaded: Tensor) -> None:
    """Load on the meta device, as vLLM does to count what a loader writes."""
    torch.empty_like(parameter[:1], device="meta").copy_(loaded.narrow(0, 0, 1))


def whole(parameter: Tensor, loaded: Tensor) -> None:
    parameter.copy_(loaded)


def reinterpreted(parameter: Tensor, loaded: Tensor) -> None:
    parameter[0, 0].copy_(loaded.view(torch.int32)[0, 0])


def nothing(parameter: Tensor, loaded: Tensor) -> None:
    assert loaded.narrow(0, 1, 2).transpose(0, 1).shape == (8, 2, 6)


LOADERS: dict[Callable[[Tensor, Tensor], None], Part | None] = {
    columns: Part(SHAPE, 2, ((3, 6),)),
    heads: Part(SHAPE, 1, ((0, 1), (4, 5), (6, 7))),
    experts: Part(SHAPE, 1, ((2, 5),)),
    transposed: Part(SHAPE, 2, ((2, 4),)),
    converted: Part(SHAPE, 1, ((4, 8),)),
    on_meta: Part(SHAPE, 0, ((0, 1),)),
    whole: None,
    reinterpreted: None,
    nothing: None,
}


def reads_of(*loaders: Callable[[Tensor, Tensor], None]) -> Reads:
    """Load a tensor with each loader, as vLLM pulls tensors and loads one after another."""
    with Reads() as reads:
        for loader in loaders:
            for _, loaded in reads.watched(iter([("w", torch.randn(SHAPE))])):
                loader(torch.zeros(SHAPE), loaded)
    return reads


@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: loader.__name__)
def test_the_part_is_what_a_loader_reads(loader: Callable[[Tensor, Tensor], None]) -> None:
    part = LOADERS[loader]
    assert reads_of(loader).parts() == ({} if part is None else {"w": part})


def test_reads_add_up() -> None:
    assert reads_of(experts, converted).parts() == {"w": Part(SHAPE, 1, ((2, 8),))}


@pytest.mark.parametrize("loader", [experts, nothing], ids=lambda loader: loader.__name__)
def test_the_same_reads_or_fewer_are_within_the_part(loader: Callable[[Tensor, Tensor], None]) -> None:
    reads_of(loader).check({"w": Part(SHAPE, 1, ((2, 5),))})


@pytest.mark.parametrize("loader", [columns, converted, whole, reinterpreted], ids=lambda loader: loader.__name__)
def test_reads_outside_of_the_part_end_the_run(loader: Callable[[Tensor, Tensor], None]) -> None:
    with pytest.raises(RunError, match="vLLM read more of w than when it was loaded"):
        reads_of(loader).check({"w": Part(SHAPE, 1, ((2, 5),))})


def test_tensors_that_are_not_watched_are_not_taken_for_those_that_were() -> None:
    """Memory is used again after a tensor is dropped."""
    with Reads() as reads:
        for _ in reads.watched((f"w{number}", torch.randn(SHAPE)) for number in range(50)):
            torch.randn(SHAPE).clone()
    assert reads.parts() == {}
    assert reads._boxes == {}
