"""The weights of points, and the cache between moves, which saves work and changes no bit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import tiny_models
from safescape.survey import Plane, Point, Position, RandomAxis, Waypoint
from safescape.weights import Checkpoint, Inventory, Mover, Part, RandomDirection, RowBlocks, Subspace
from safescape.weights.order import Orders

ENOUGH = 10**9
"""Bytes; more than the tiny model needs."""
AXES = (RandomAxis(seed=0, span=0.5, steps=4), RandomAxis(seed=1, span=0.5, steps=4))


class Counted:
    """Weights that count how often they are read."""

    def __init__(self, directory: Path) -> None:
        self._weights = Checkpoint(directory)
        self.reads = 0

    @property
    def inventory(self) -> Inventory:
        return self._weights.inventory

    def names(self) -> Sequence[str]:
        return self._weights.names()

    def tensor(self, name: str) -> Tensor:
        self.reads += 1
        return self._weights.tensor(name)

    def part(self, name: str, part: Part) -> Tensor:
        return part.of(self.tensor(name))


def plane_mover(
    weights: Checkpoint | Counted,
    dtype: torch.dtype = torch.float32,
    other: Path | None = None,
    orders: Orders | None = None,
) -> Mover:
    shapes = {name: weights.tensor(name).shape for name in weights.names()}
    through = () if other is None else (Waypoint(model=str(other), fingerprint=""),)
    subspace = Subspace(Plane(axes=AXES), weights, through)
    return Mover(weights, subspace, shapes, dtype=dtype, device=torch.device("cpu"), orders=orders or {})


def moved(mover: Mover, point: Point) -> tuple[dict[str, Tensor], Position]:
    orders = dict(mover.orders)
    places = {name: torch.empty(order.rows * order.columns) for name, order in orders.items()}
    moving, found = mover.move(point, places), {}
    for name, values in moving:
        found[name] = orders[name].matrix(values) if name in orders and values.dim() == 1 else values.clone()
    return found, moving.position


def orders_of(weights: Checkpoint) -> Orders:
    """Put some matrices in another order."""
    shapes = {name: weights.tensor(name).shape for name in weights.names()[::2]}
    return {name: RowBlocks(*shape, height=4) for name, shape in shapes.items() if len(shape) == 2}


def free(memory: int) -> AbstractContextManager[object]:
    """Let a mover find this many bytes free."""
    return patch("safescape.weights.mover.free_memory", lambda device: memory)


coordinates = st.sampled_from([0.0, 0.25, -0.5, 0.1234])
points = st.tuples(coordinates, coordinates).map(lambda coords: Point(None, coords))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    journey=st.lists(points, min_size=1, max_size=8),
    free_sizes=st.lists(st.sampled_from([0, 1, 3, 5, 100]), min_size=8, max_size=8),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    ordered=st.booleans(),
)
def test_whatever_fits_in_memory_the_weights_are_the_same(
    tiny_model: Path, journey: list[Point], free_sizes: list[int], dtype: torch.dtype, ordered: bool
) -> None:
    weights = Checkpoint(tiny_model)
    size = 4 * sum(weights.tensor(name).numel() for name in weights.names())
    # in other dtypes than fp32 the order of the live weights is not known
    caching = plane_mover(weights, dtype, orders=orders_of(weights) if ordered and dtype == torch.float32 else None)
    for point, directions in zip(journey, free_sizes, strict=False):
        with free(directions * size):
            found, position = moved(caching, point)
        with free(0):
            fresh, expected = moved(plane_mover(weights, dtype), point)
        assert position == expected
        assert all(torch.equal(found[name], fresh[name]) for name in weights.names())


def test_on_a_plane_the_row_comes_first(tiny_model: Path) -> None:
    weights = Checkpoint(tiny_model)
    first, second = Subspace(Plane(axes=AXES), weights).directions
    found, position = moved(plane_mover(weights), Point(None, (0.3, -0.2)))
    assert first == RandomDirection(0, weights.inventory.norms)
    for name, values in found.items():
        origin = weights.tensor(name).float()
        row = torch.add(origin, second.tensor(name, origin), alpha=-0.2)
        assert torch.equal(values, torch.add(row, first.tensor(name, origin), alpha=0.3)), name
    assert position == ((0.3, -0.2), 0.0)


def test_along_a_row_nothing_is_read_when_all_is_cached(tiny_model: Path) -> None:
    weights = Counted(tiny_model)
    mover = plane_mover(weights)
    with free(ENOUGH):
        moved(mover, Point(None, (0.25, 0.25)))
        weights.reads = 0
        moved(mover, Point(None, (0.5, 0.25)))
        moved(mover, Point(None, (0.0, 0.25)))
        assert weights.reads == 0
        moved(mover, Point(None, (0.0, 0.5)))
        assert weights.reads == len(weights.names()), "a new row begins at the origin"


def test_without_free_memory_nothing_is_cached(tiny_model: Path) -> None:
    weights = Counted(tiny_model)
    mover = plane_mover(weights)
    with free(0):
        moved(mover, Point(None, (0.25, 0.25)))
        weights.reads = 0
        moved(mover, Point(None, (0.5, 0.25)))
    assert weights.reads == len(weights.names())


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_a_checkpoint_beside_the_plane_stands_where_it_was_saved(
    tiny_model: Path, tmp_path: Path, dtype: torch.dtype, precision: float
) -> None:
    other = Checkpoint(tiny_models.save_model(tmp_path / "other", seed=1))
    found, position = moved(plane_mover(Checkpoint(tiny_model), dtype, tmp_path / "other"), Point(None, (), 0))
    for name, values in found.items():
        torch.testing.assert_close(values.float(), other.tensor(name), rtol=precision, atol=1e-6)
    assert 0.9 < position.off <= 1.0, "a model of other random weights has nothing to do with a random plane"
