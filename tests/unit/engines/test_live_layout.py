"""Weights in oneDNN's blocks: where their values lie, moves that write them there, and embeddings that read them."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Embedding, Linear

from helpers import tiny_models
from safescape.engines import TransformersEngine
from safescape.engines.blocked_layers import BlockedEmbedding, BlockedLinear
from safescape.probes import load_tokenizer
from safescape.survey import Lines, Point, RandomAxis, Waypoint
from safescape.weights import Checkpoint, RandomDirection, RowBlocks, Subspace, resolve

LINES = Lines(axes=tuple(RandomAxis(seed=seed, span=0.5, steps=4) for seed in (0, 1)))
ORIGIN = Point(None, (0.0,))


SHAPE = {"vocab_size": 384, "hidden_size": 192, "intermediate_size": 192, "num_key_value_heads": 4}
"""Multiples of 192, the number of rows that blocks of 16, 32, 48 and 64 rows divide: oneDNN pads no matrix."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a head tied to the embedding; read-only."""
    return tiny_models.save_model(tmp_path_factory.mktemp("layout") / "model", tiny_models.llama_config(**SHAPE))


def engine_of(directory: Path, through: tuple[Waypoint, ...] = ()) -> TransformersEngine:
    found = resolve(str(directory))
    tokenizer = load_tokenizer(found.directory, chat_template=None, trust_remote_code=False)
    return TransformersEngine(found, tokenizer, Subspace(LINES, found.weights, through))


@given(rows=st.integers(1, 700), columns=st.integers(1, 150), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_weight_is_what_was_put_whatever_its_order(rows: int, columns: int, seed: int) -> None:
    torch.manual_seed(seed)
    linear = Linear(columns, rows, bias=False)
    layer, other, states = BlockedLinear(linear), torch.randn(rows, columns), torch.randn(5, columns)
    assert torch.equal(layer.weight, linear.weight)
    layer.put(other)
    assert torch.equal(layer.weight, other)
    torch.testing.assert_close(layer(states), states @ other.T, rtol=1e-4, atol=1e-4)


@given(rows=st.integers(1, 4), columns=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_known_order_is_where_the_values_lie(rows: int, columns: int, seed: int) -> None:
    torch.manual_seed(seed)
    linear = Linear(192 * columns, 192 * rows, bias=False)
    layer, other, states = BlockedLinear(linear), torch.randn(linear.weight.shape), torch.randn(5, 192 * columns)
    assert layer.order is not None
    assert torch.equal(layer.order.matrix(layer.memory), linear.weight)
    layer.memory.copy_(layer.order.ordered(other))
    assert torch.equal(layer.weight, other)
    torch.testing.assert_close(layer(states), states @ other.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "columns"), [(576, 576), (192, 576), (1536, 576), (576, 1536), (384, 192), (192, 192)]
)
def test_the_order_of_common_shapes_is_known(rows: int, columns: int) -> None:
    layer = BlockedLinear(Linear(columns, rows))
    assert layer.order is not None
    assert layer.order[:2] == (rows, columns)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (3, 1), (17, 33)])
def test_small_weights_are_padded_or_have_a_true_order(rows: int, columns: int) -> None:
    linear = Linear(columns, rows, bias=False)
    layer = BlockedLinear(linear)
    assert torch.equal(layer.weight, linear.weight)
    if layer.order is None:
        assert len(layer.memory) > rows * columns
    else:
        assert torch.equal(layer.order.matrix(layer.memory), linear.weight)


def test_only_weights_in_fp32_have_a_known_order() -> None:
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert BlockedLinear(Linear(64, 64, dtype=torch.bfloat16)).order is None


@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 9))
def test_an_order_can_be_undone(blocks: int, columns: int, height: int) -> None:
    matrix = torch.arange(blocks * height * columns).view(-1, columns)
    order = RowBlocks(len(matrix), columns, height)
    values = order.ordered(matrix)
    assert torch.equal(order.matrix(values), matrix)
    for place in (0, len(values) // 2, len(values) - 1):
        block, rest = divmod(place, columns * height)
        column, row = divmod(rest, height)
        assert values[place] == matrix[block * height + row, column]


def test_a_tied_embedding_reads_the_blocks_of_the_head(model: Path) -> None:
    live = engine_of(model)._model
    assert isinstance(live.lm_head, BlockedLinear)
    embedding = live.get_input_embeddings()
    assert isinstance(embedding, BlockedEmbedding)
    assert not [name for name, each in live.named_parameters() if each.dim() > 1], "every matrix is stored once"
    truth = Checkpoint(model).tensor("model.embed_tokens.weight")
    tokens = torch.randint(0, 384, (3, 7))
    assert torch.equal(embedding(tokens), truth[tokens])
    assert torch.equal(embedding.weight, truth)
    assert (embedding.num_embeddings, embedding.embedding_dim) == truth.shape


def test_an_embedding_of_its_own_stays(tmp_path: Path) -> None:
    untied = tiny_models.llama_config(**SHAPE, tie_word_embeddings=False)
    live = engine_of(tiny_models.save_model(tmp_path, untied))._model
    assert type(live.get_input_embeddings()) is Embedding


def test_answers_are_those_of_transformers(model: Path) -> None:
    engine = engine_of(model)
    plain = tiny_models.logits_of(str(model), tokens := torch.arange(4, 60)[None])
    with torch.inference_mode():
        found = engine._model(input_ids=tokens, use_cache=False).logits
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


points = st.tuples(st.integers(0, 1), st.floats(-0.5, 0.5)).map(lambda p: Point(p[0], (p[1],)))


@settings(max_examples=12, deadline=None)
@given(journey=st.lists(st.tuples(points | st.just(ORIGIN), st.booleans()), min_size=1, max_size=6))
def test_moves_have_the_bits_of_the_definition(model: Path, journey: list[tuple[Point, bool]]) -> None:
    engine, weights = engine_of(model), Checkpoint(model)
    for point, fits in journey:
        with patch("safescape.weights.mover.free_memory", lambda device, fits=fits: 10**9 * fits):
            engine.move_to(point)
        for name, live in engine._live.items():
            expected = weights.tensor(name)
            if point != ORIGIN:
                direction = RandomDirection(point.line or 0, weights.inventory.norms).tensor(name, expected)
                expected = torch.add(expected, direction, alpha=point.coords[0])
            assert torch.equal(live.read(), expected), name


def test_a_checkpoint_of_a_trajectory_lies_where_it_did(model: Path, tmp_path: Path) -> None:
    """Its position is measured row by row, between moves that are written in blocks."""
    other = tiny_models.save_model(tmp_path, tiny_models.llama_config(**SHAPE), seed=1)
    engine = engine_of(model, (Waypoint(model=str(other), fingerprint=""),))
    away, there = Point(0, (0.25,)), Point(None, (0.0,), waypoint=0)
    engine.move_to(away)
    first = engine.move_to(there)
    start, end = Checkpoint(model), Checkpoint(other)
    for name, live in engine._live.items():
        origin = start.tensor(name)
        assert torch.equal(live.read(), origin + (end.tensor(name) - origin)), name
    before = engine.fingerprint()
    engine.move_to(away)
    assert engine.move_to(there) == first
    assert engine.fingerprint() == before
