"""Directions: seeded per tensor, scaled to the origin's norms, and the same bits in every process."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safescape.survey import Lines, Point, RandomAxis
from safescape.weights import Checkpoint, RandomDirection, Subspace, dot

shapes = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 2**31)


def origin_of(shape: tuple[int, ...], seed: int = 7) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(shape=shapes, seed=seeds)
def test_each_tensor_has_the_norm_of_its_origin(shape: tuple[int, ...], seed: int) -> None:
    origin = origin_of(shape)
    direction = RandomDirection(seed).tensor("layer.weight", origin)
    assert direction.dtype == torch.float32
    assert direction.shape == origin.shape
    assert direction.norm().item() == pytest.approx(origin.norm().item(), rel=1e-5)


@given(seed=seeds)
def test_a_tensor_depends_on_seed_and_name_alone(seed: int) -> None:
    origin = origin_of((6, 8))
    direction = RandomDirection(seed)
    first = direction.tensor("a.weight", origin)
    direction.tensor("b.weight", origin)
    torch.manual_seed(123)
    assert torch.equal(first, RandomDirection(seed).tensor("a.weight", origin))
    assert not torch.equal(first, direction.tensor("b.weight", origin)), "equal shapes must not share their noise"
    assert not torch.equal(first, RandomDirection(seed + 1).tensor("a.weight", origin))


def test_two_directions_are_nearly_orthogonal() -> None:
    origin = origin_of((400, 300))
    one, two = (RandomDirection(seed).tensor("w", origin) for seed in (0, 1))
    cosine = dot(one, two) / math.sqrt(dot(one, one) * dot(two, two))
    assert abs(cosine) < 5 / math.sqrt(origin.numel()), "five standard deviations of a random cosine"


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.input_layernorm.weight", "model.norm.weight", "h.0.ln_1.weight", "ln_f.bias", "q_norm.weight"],
)
def test_norm_tensors_do_not_move(name: str) -> None:
    assert not RandomDirection(0).tensor(name, torch.ones(16)).any()


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight", "layers.0.mlp.up_proj.weight"])
def test_embeddings_and_the_head_move(name: str) -> None:
    assert RandomDirection(0).tensor(name, torch.ones(4, 4)).all()


def test_a_tensor_of_zeros_does_not_move() -> None:
    assert not RandomDirection(0).tensor("bias", torch.zeros(8)).any()


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 3_000_000), seed=seeds)
def test_dot_agrees_with_float64_and_does_not_depend_on_threads(length: int, seed: int) -> None:
    a, b = origin_of((length,), seed), origin_of((length,), seed + 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = dot(a, b)
        torch.set_num_threads(2)
        assert dot(a, b) == alone
    finally:
        torch.set_num_threads(before)
    scale = math.sqrt(length)
    assert alone == pytest.approx(float(a.double() @ b.double()), abs=1e-5 * scale)


PRINT_HASH = """
import hashlib, sys, torch
from safescape.weights import RandomDirection
torch.set_num_threads(int(sys.argv[1]))
origin = torch.randn(700, 300, generator=torch.Generator().manual_seed(7))
names = sys.argv[2:]
made = {name: RandomDirection(5).tensor(name, origin) for name in names}
print(hashlib.sha256(b"".join(made[name].numpy().tobytes() for name in sorted(made))).hexdigest())
"""


def test_directions_are_bit_equal_across_processes_orders_and_threads() -> None:
    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", PRINT_HASH, *arguments], check=True, capture_output=True, text=True
        ).stdout

    assert run("1", "a", "b", "c") == run("2", "c", "a", "b")


def test_a_point_lies_along_its_own_line(tiny_model: Path) -> None:
    axes = tuple(RandomAxis(seed=seed, span=0.5, steps=2) for seed in (4, 5))
    bundle = Subspace(Lines(axes=axes), Checkpoint(tiny_model))
    norms = Checkpoint(tiny_model).inventory.norms
    assert bundle.displacement(Point(None, (0.0,))) == (None, None)
    assert bundle.displacement(Point(1, (0.25,))) == (None, (0.25, RandomDirection(5, norms)))
