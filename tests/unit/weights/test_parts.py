"""Parts of tensors: found from the views that a loader takes, read from files, and put back."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from safescape.weights import Checkpoint, Part
from safescape.weights.parts import box_of, hull, narrowest, union, whole_box

shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


@st.composite
def views(draw: Any, *, only_boxes: bool) -> tuple[tuple[int, ...], Tensor]:
    """Draw a shape, and a view, as loaders take them, of the tensor whose values are their places."""
    shape = draw(shapes)
    view = torch.arange(math.prod(shape)).view(shape)
    kinds = ["narrow", "select", "transpose"] + ([] if only_boxes else ["step", "flatten", "unflatten", "expand"])
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=5)):
        if view.dim() == 0:
            break
        dim = draw(st.integers(0, view.dim() - 1))
        size = view.shape[dim]
        if kind == "narrow":
            start = draw(st.integers(0, size - 1))
            view = view.narrow(dim, start, draw(st.integers(1, size - start)))
        elif kind == "select":
            view = view.select(dim, draw(st.integers(0, size - 1)))
        elif kind == "transpose":
            view = view.transpose(dim, draw(st.integers(0, view.dim() - 1)))
        elif kind == "step":
            view = view[(slice(None),) * dim + (slice(None, None, 2),)]
        elif kind == "flatten" and view.is_contiguous():
            view = view.view(-1)
        elif kind == "unflatten" and size % 2 == 0:
            view = view.unflatten(dim, (2, size // 2))
        elif kind == "expand":
            view = view.unsqueeze(0).expand(2, *view.shape)
    return shape, view


def places(shape: tuple[int, ...], box: tuple[Any, ...]) -> set[int]:
    """Return the places of a box's values in a tensor."""
    whole = torch.arange(math.prod(shape)).view(shape)
    for dim, ranges in enumerate(box):
        index = torch.tensor([number for start, stop in ranges for number in range(start, stop)], dtype=torch.long)
        whole = whole.index_select(dim, index)
    return set(whole.flatten().tolist())


@given(views(only_boxes=True))
def test_the_box_of_a_narrowed_and_transposed_view_is_the_view(drawn: tuple[tuple[int, ...], Tensor]) -> None:
    shape, view = drawn
    assert places(shape, box_of(view, shape)) == set(view.flatten().tolist())


@given(views(only_boxes=False))
def test_the_box_of_any_view_has_all_of_its_values(drawn: tuple[tuple[int, ...], Tensor]) -> None:
    shape, view = drawn
    assert places(shape, box_of(view, shape)) >= set(view.flatten().tolist())


@given(shape=shapes, data=st.data())
def test_the_part_of_several_views_has_all_of_their_values(shape: tuple[int, ...], data: st.DataObject) -> None:
    whole = torch.arange(math.prod(shape)).view(shape)
    box, read = None, set()
    for _ in range(data.draw(st.integers(1, 3))):
        view = whole
        for dim, size in enumerate(shape):
            start = data.draw(st.integers(0, size - 1))
            view = view.narrow(dim, start, data.draw(st.integers(1, size - start)))
        read |= set(view.flatten().tolist())
        box = box_of(view, shape) if box is None else hull(box, box_of(view, shape))
    assert box is not None
    part = narrowest(box, shape)
    held = set(whole.flatten().tolist()) if part is None else set(part.of(whole).flatten().tolist())
    assert held >= read
    assert places(shape, box) <= held


def test_of_two_halves_in_two_dimensions_the_smaller_is_taken() -> None:
    assert narrowest((((0, 3),), ((0, 1),)), (4, 4)) == Part(torch.Size((4, 4)), 1, ((0, 1),))
    assert narrowest(whole_box((4, 4)), (4, 4)) is None
    assert narrowest((), ()) is None


indices = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=5)


@given(indices)
def test_a_union_has_the_indices_of_its_ranges_in_order(ranges: list[tuple[int, int]]) -> None:
    found = union(ranges)
    assert {n for a, b in found for n in range(a, b)} == {n for a, b in ranges for n in range(a, b)}
    assert all(a < b for a, b in found)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found)), "none touch"


@given(shape=shapes, ranges=indices.filter(lambda ranges: any(a < b for a, b in ranges)), data=st.data())
def test_a_part_is_put_back_where_it_was(
    shape: tuple[int, ...], ranges: list[tuple[int, int]], data: st.DataObject
) -> None:
    dim = data.draw(st.integers(0, len(shape) - 1))
    shape = (*shape[:dim], 12, *shape[dim + 1 :])
    part = Part(torch.Size(shape), dim, union(ranges))
    whole = torch.arange(math.prod(shape)).view(shape)
    values = part.of(whole)
    chosen = torch.tensor([n for a, b in part.ranges for n in range(a, b)])
    assert torch.equal(values, whole.index_select(dim, chosen))
    assert values.shape == part.shape
    assert values.is_contiguous()
    into = torch.full(shape, -1)
    part.put(values, into)
    assert torch.equal(part.of(into), values)
    assert int((into == -1).sum()) == whole.numel() - values.numel()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(data=st.data())
def test_a_checkpoint_reads_the_part_of_a_tensor(tiny_model: Path, data: st.DataObject) -> None:
    weights = Checkpoint(tiny_model)
    name = data.draw(st.sampled_from(weights.names()))
    whole = weights.tensor(name)
    dim = data.draw(st.integers(0, whole.dim() - 1))
    bounds = st.integers(0, whole.shape[dim])
    ranges = union(data.draw(st.lists(st.tuples(bounds, bounds), min_size=1, max_size=3)))
    if ranges:
        part = Part(whole.shape, dim, ranges)
        read = weights.part(name, part)
        assert torch.equal(read, part.of(whole))
        assert read.is_contiguous()


@pytest.mark.parametrize(("ranges", "rows"), [(((0, 3),), 3), (((2, 5), (7, 9)), 3), (((6, 9),), 0)])
def test_of_a_tensor_with_fewer_rows_those_that_it_has_are_read(
    tmp_path: Path, tiny_model: Path, ranges: tuple[tuple[int, int], ...], rows: int
) -> None:
    """An embedding that the other model of a line has fewer tokens in; 5 rows of 9 here."""
    weights = Checkpoint(tiny_model)
    name = next(name for name in weights.names() if "embed" in name)
    first = weights.tensor(name)[:5]
    part = Part(torch.Size((9, first.shape[1])), 0, ranges)
    assert part.of(first).shape == (rows, first.shape[1])
    stored = weights.tensor(name).shape[0]
    beyond = Part(torch.Size((stored + 4, first.shape[1])), 0, ((stored - 2, stored + 4),))
    assert torch.equal(weights.part(name, beyond), weights.tensor(name)[-2:])
