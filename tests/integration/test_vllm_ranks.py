"""Two tensor-parallel processes of the real vLLM on a CPU: each reads and computes only its part of the weights."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, Phi3Config, PretrainedConfig, Qwen3MoeConfig

from helpers.counted_checkpoint import CountedCheckpoint
from helpers.tiny_models import llama_config, save_model
from safescape.engines import TokenCounts, VllmEngine
from safescape.engines.vllm.worker import _copies
from safescape.probes import load_tokenizer
from safescape.survey import InterpolationAxis, Lines, Plane, Point, Position, RandomAxis
from safescape.weights import Subspace, fingerprint, mover_of, resolve

WIDE: Mapping[str, Any] = llama_config(hidden_size=128, tie_word_embeddings=False).to_dict()
NORMS = 4 * 5 * 128
"""Bytes of the weights of two layers' norms and the last one."""


class Case(NamedTuple):
    """A model, and what of it is not divided."""

    config: PretrainedConfig
    both: int
    """Bytes of the tensors that both ranks need whole."""


MODELS = {
    "Llama": Case(llama_config(hidden_size=128, tie_word_embeddings=False), NORMS),
    "Llama, tied, one head of keys": Case(
        llama_config(hidden_size=128, num_key_value_heads=1), NORMS + 4 * 2 * 2 * 32 * 128
    ),
    "Phi-3, queries, keys and values in one tensor": Case(Phi3Config(**WIDE), NORMS),
    "GPT-2, transposed": Case(
        GPT2Config(vocab_size=260, n_embd=128, n_layer=2, n_head=4, n_positions=512, bos_token_id=None, eos_token_id=0),
        # positions; norms with biases; biases that are added after the sum over ranks
        4 * 512 * 128 + 2 * NORMS + 4 * 2 * 2 * 128,
    ),
    "Qwen3, experts": Case(
        Qwen3MoeConfig(
            **{**WIDE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "head_dim": 32}
        ),
        # norms of queries and keys; routers
        NORMS + 4 * 2 * 2 * 32 + 4 * 2 * 4 * 128,
    ),
}
RANDOM, ORIGIN = RandomAxis(seed=3, span=0.5, steps=20), Point(None, (0.0,))


class Move(NamedTuple):
    """A move of both ranks."""

    position: Position
    alone: Position
    """The position that one process finds."""
    same: list[list[str]]
    """For each rank, the live tensors that are bit-equal to those of a move with whole tensors."""
    live: list[dict[str, Tensor]]
    read: list[int]
    """Bytes of the origin that each rank read."""


def live_weights(worker: Any) -> dict[str, Tensor]:
    """Return the weights that a rank holds: those packed for a kernel from products with an identity matrix."""
    model, found = worker.model_runner.get_model(), {}
    for name, layer in model.named_modules():
        if hasattr(layer, "cpu_linear") and getattr(layer, "weight", None) is not None:
            inputs = layer.weight.shape[-1] if layer.weight.numel() else _inputs(layer)
            identity = torch.eye(inputs, dtype=worker.model_runner.dtype)
            found[f"{name} packed"] = layer.cpu_linear(identity, layer.weight, None).clone()
        for own, parameter in layer.named_parameters(recurse=False):
            found[f"{name}.{own}"] = parameter.detach().clone()
    return found


def _inputs(layer: Any) -> int:
    sizes = (getattr(layer, name, None) for name in ("input_size_per_partition", "input_size", "embedding_dim"))
    return next(size for size in sizes if size)


def bytes_read(worker: Any) -> int:
    """Return the bytes of the origin that a rank read since the last call."""
    origin = worker._safescape_mover_of.args[0]
    found, origin.bytes_read = origin.bytes_read, 0
    return int(found)


def load_whole(worker: Any, point: Point) -> None:
    """Load the weights of a point from whole tensors."""
    worker._safescape_load(_copies(worker._safescape_mover_of().move(point)))


def moves(
    directory: str, subspace: Lines | Plane, points: list[Point], dtype: torch.dtype
) -> tuple[list[Move], str, str, int]:
    """Return the moves of two ranks, the fingerprints at the start and the end, and the bytes of the origin."""
    model = resolve(directory)
    model = model._replace(weights=CountedCheckpoint(Path(directory)))
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    space = Subspace(subspace, model.weights)
    engine = VllmEngine(model, tokenizer, space, dtype=dtype, batch_size=8, counts=TokenCounts(64, 64, 512), gpus=2)
    shapes = {name: model.weights.tensor(name).shape for name in model.weights.names()}
    alone = mover_of(model.weights, space, shapes, dtype=dtype, device=torch.device("cpu"))
    ask: Callable[..., list[Any]] = engine._llm.collective_rpc
    found = []
    for point in points:
        ask(bytes_read)
        position = engine.move_to(point)
        read, live = ask(bytes_read), ask(live_weights)
        ask(load_whole, args=(point,))
        whole = ask(live_weights)
        same = [[name for name in a if torch.equal(a[name], b[name])] for a, b in zip(live, whole, strict=True)]
        moving = alone.move(point)
        for _ in moving:
            pass
        found.append(Move(position, moving.position, same, live, read))
    size = sum(model.weights.tensor(name).nbytes for name in shapes)
    return found, engine.fingerprint_at_start, engine.close(), size


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`moves`, in a process of its own; on two cores if there is no GPU."""
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield lambda *arguments: executor.submit(moves, *arguments).result()


def toward(tmp_path: Path, case: Case) -> tuple[str, InterpolationAxis]:
    """Return a model, and the axis to another one."""
    model, other = (str(save_model(tmp_path / str(seed), case.config, seed=seed)) for seed in (0, 1))
    return model, InterpolationAxis(toward=other, fingerprint="", steps=4, low=0, high=1)


def is_same(move: Move) -> bool:
    """Whether both ranks hold what they hold after a move with whole tensors."""
    return all(set(same) == live.keys() for same, live in zip(move.same, move.live, strict=True))


def is_different(one: Move, other: Move, rank: int) -> bool:
    """Whether a rank's weights of matrices differ between two points."""
    a, b = one.live[rank], other.live[rank]
    packed = [name for name in a if name.endswith("packed")]
    return len(packed) >= 5 and not any(torch.equal(a[name], b[name]) for name in packed)


@pytest.mark.parametrize("name", MODELS)
def test_ranks_hold_what_they_held_and_read_their_part(tmp_path: Path, ranks: Any, name: str) -> None:
    """Along a random direction, toward another model, and back."""
    case = MODELS[name]
    model, axis = toward(tmp_path, case)
    weights = resolve(model).weights
    points = [Point(0, (0.2,)), Point(0, (-0.1,)), Point(1, (0.5,)), ORIGIN]
    made, start, end, size = ranks(model, Lines(axes=(RANDOM, axis)), points, torch.float32)
    assert start == end == fingerprint(weights.names(), weights.tensor)
    for move, point in zip(made, points, strict=True):
        assert move.position == move.alone == (point.coords, 0.0)
        assert is_same(move), point
        assert is_different(move, made[0], rank=0) is (move is not made[0])
        assert is_different(move, made[0], rank=1) is (move is not made[0])
    first, *later = [move.read for move in made]
    assert later == [later[0]] * 3
    assert sum(later[0]) == size + case.both, "every value once, but for those that both need"
    assert max(later[0]) < 0.6 * size, "the vocabulary is divided at a multiple of 32"
    assert first == [part + size - case.both for part in later[0]], "and for the norms of divided tensors the whole"


def test_in_bfloat16_the_ranks_find_the_effective_coordinates_together(tmp_path: Path, ranks: Any) -> None:
    """On a plane, whose second direction is made orthogonal to the first."""
    model, axis = toward(tmp_path, MODELS["Llama"])
    points = [Point(None, at) for at in ((0.5, 0.25), (1.0, 0.25), (0.5, 0.0), (0.0, 0.0))]
    made, start, end, _ = ranks(model, Plane(axes=(axis, RANDOM)), points, torch.bfloat16)
    assert start == end
    for move, point in zip(made, points, strict=True):
        assert is_same(move), point
        assert move.position.effective == pytest.approx(move.alone.effective, rel=1e-5, abs=1e-7)
        assert move.position.effective == pytest.approx(point.coords, abs=0.01)
        assert (move.position.effective == point.coords) is point.is_origin
