"""Ranks that share a model: together they have the bits of a process that has all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import tiny_models
from helpers.counted_checkpoint import CountedCheckpoint
from safescape.survey import InterpolationAxis, Lines, Plane, Point, RandomAxis
from safescape.weights import (
    BlockSpace,
    Checkpoint,
    Mover,
    Part,
    Share,
    Space,
    Subspace,
    Weights,
    position_of,
    resolve,
    shares_of,
)

CPU = torch.device("cpu")
RANDOM = RandomAxis(seed=0, span=0.5, steps=4)


def mover(weights: Weights, space: Space, dtype: torch.dtype, share: Share | None = None) -> Mover:
    shapes = {name: weights.tensor(name).shape for name in weights.names()}
    return Mover(weights, space, shapes, dtype=dtype, device=CPU, share=share)


def cut(shape: torch.Size, ranks: int, dim: int, *, alternating: bool) -> list[Part] | None:
    """Return parts of a tensor for some ranks: runs of indices, or every so many of them; None: too few indices."""
    size = shape[dim]
    if size < ranks or ranks == 1:
        return None
    if alternating:
        half = size // 2
        ends = [half * rank // ranks for rank in range(ranks)] + [half]
        later = [half + (size - half) * rank // ranks for rank in range(ranks)] + [size]
        chosen = [
            tuple(r for r in ((ends[n], ends[n + 1]), (later[n], later[n + 1])) if r[0] < r[1]) for n in range(ranks)
        ]
        return [Part(shape, dim, ranges) for ranges in chosen] if all(chosen) else None
    return [Part(shape, dim, ((size * n // ranks, size * (n + 1) // ranks),)) for n in range(ranks)]


@st.composite
def needs(draw: st.DrawFn, weights: Weights) -> list[dict[str, Part]]:
    """Draw what ranks need: each tensor whole, divided in some way, or divided among pairs of ranks."""
    ranks = draw(st.integers(2, 4))
    found: list[dict[str, Part]] = [{} for _ in range(ranks)]
    for name in weights.names():
        shape = weights.tensor(name).shape
        each = draw(st.sampled_from([1, 2])) if ranks == 4 else 1
        parts = cut(shape, ranks // each, draw(st.integers(0, len(shape) - 1)), alternating=draw(st.booleans()))
        if parts is not None and draw(st.integers(0, 4)):
            for rank in range(ranks):
                found[rank][name] = parts[rank // each]
    return found


def joined(shares: list[Share], ranks: list[dict[str, Tensor]], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Return whole tensors from the parts of all ranks; NaN where no rank has a value."""
    found = {}
    for name, shape in shapes.items():
        found[name] = torch.full(shape, float("nan"), dtype=ranks[0][name].dtype)
        for share, tensors in zip(shares, ranks, strict=True):
            if name in share.parts:
                share.parts[name].put(tensors[name], found[name])
            else:
                found[name].copy_(tensors[name])
    return found


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Models beside the tiny one: a finetune, one with fewer tokens, and an adapter on it."""
    place = tmp_path_factory.mktemp("others")
    base = tiny_models.save_model(place / "base")
    adapter = tiny_models.save_adapter(base, place / "adapter")
    return {
        "finetune": str(tiny_models.save_model(place / "finetune", seed=1)),
        "fewer tokens": str(tiny_models.save_model(place / "fewer", tiny_models.llama_config(vocab_size=251), seed=1)),
        "adapter": f"{base}+{adapter}",
        "base": str(base),
    }


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    kind=st.sampled_from(["random", "plane", "finetune", "fewer tokens", "adapter", "from the adapter"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    memory=st.sampled_from([0, 10**9]),
)
def test_ranks_have_the_bits_of_the_whole(
    others: dict[str, str], data: st.DataObject, kind: str, dtype: torch.dtype, memory: int
) -> None:
    weights = resolve(others["adapter" if kind == "from the adapter" else "base"]).weights
    toward = InterpolationAxis(toward=others.get(kind, others["finetune"]), fingerprint="", steps=4, low=0, high=1)
    space: Space
    if kind in ("random", "from the adapter"):
        space, points = Subspace(Lines(axes=(RANDOM,)), weights), [Point(0, (a,)) for a in (0.25, -0.5)]
    elif kind == "plane":
        points = [Point(None, (a, b)) for a, b in ((0.5, 0.25), (0.5, -0.5), (0.0, -0.5))]
        space = Subspace(Plane(axes=(toward, RANDOM)), weights)
    else:
        space, points = Subspace(Lines(axes=(toward,)), weights), [Point(0, (a,)) for a in (0.5, 1.0)]
    shares = shares_of(weights.names(), data.draw(needs(weights)))
    whole, ranks = mover(weights, space, dtype), [mover(weights, space, dtype, share) for share in shares]
    with patch("safescape.weights.mover.free_memory", lambda device: memory):
        for point in [*points, space.origin]:
            moving = whole.move(point)
            expected = {name: values.clone() for name, values in moving}
            parts = [each.move(point) for each in ranks]
            held = [{name: values.clone() for name, values in each} for each in parts]
            found = joined(shares, held, whole.shapes)
            assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
            position = position_of(point, [each.sums for each in parts])
            assert position.effective == pytest.approx(moving.position.effective, rel=1e-5, abs=1e-7)
            assert position.off == moving.position.off == 0.0


def part(start: int, stop: int, dim: int = 0) -> Part:
    return Part(torch.Size((6, 6)), dim, ((start, stop),))


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([part(0, 3), None], id="one rank needs all"),
        pytest.param([part(0, 4), part(3, 6)], id="they overlap"),
        pytest.param([part(0, 2), part(3, 6)], id="a row is missing"),
        pytest.param([part(0, 3), part(3, 6, dim=1)], id="rows and columns"),
        pytest.param([part(0, 3), part(0, 3)], id="nobody has the second half"),
    ],
)
def test_a_tensor_that_is_not_divided_evenly_is_computed_whole(parts: list[Part | None]) -> None:
    shares = shares_of(["w"], [{} if each is None else {"w": each} for each in parts])
    assert [share.parts for share in shares] == [{}, {}]
    assert [share.counted for share in shares] == [{"w"}, set()]


def test_every_value_is_counted_once() -> None:
    """Four ranks: two pairs share the halves of the keys, as with fewer heads than ranks."""
    low, high = part(0, 3), part(3, 6)
    shares = shares_of(["keys", "norm"], [{"keys": low}, {"keys": low}, {"keys": high}, {"keys": high}])
    assert [share.counted for share in shares] == [{"keys", "norm"}, set(), {"keys"}, set()]
    assert shares[1].parts == {"keys": low}


def test_a_rank_reads_its_part_of_the_origin_and_for_a_norm_once_the_whole(tiny_model: Path) -> None:
    weights = CountedCheckpoint(tiny_model)
    space = Subspace(Lines(axes=(RANDOM, RandomAxis(seed=1, span=0.5, steps=4))), weights)
    halves = {name: cut(weights.tensor(name).shape, 2, 0, alternating=False) for name in weights.names()}
    needed = [{name: parts[rank] for name, parts in halves.items() if parts is not None} for rank in range(2)]
    share = shares_of(weights.names(), needed)[1]
    half = mover(weights, space, torch.float32, share)
    norms = sum(weights.tensor(name).nbytes for name in weights.names() if "norm" in name)
    size = sum(weights.tensor(name).nbytes for name in weights.names())
    read = []
    for point in (Point(0, (0.5,)), Point(0, (0.25,)), Point(1, (0.5,)), Point(None, (0.0,))):
        weights.bytes_read = 0
        for _ in half.move(point):
            pass
        read.append(weights.bytes_read)
    assert read == [size // 2 + size - norms, size // 2, size // 2, size // 2], "layers of norms do not move"


def test_parts_of_another_kind_of_direction_are_refused(tiny_model: Path) -> None:
    weights = Checkpoint(tiny_model)
    space = BlockSpace(weights, weights)
    share = shares_of(weights.names(), [{}])[0]
    with pytest.raises(TypeError, match="no part of a _Blockwise can be computed"):
        list(mover(weights, space, torch.float32, share).move(Point(None, (0.5,))))
