"""Subspaces: planes are orthogonal, checkpoints have their coordinates, and collinear models are refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from helpers import tiny_models
from safescape import InputError
from safescape.engines import TransformersEngine
from safescape.probes import load_tokenizer
from safescape.survey import InterpolationAxis, Lines, Plane, Point, RandomAxis, Waypoint
from safescape.weights import (
    Checkpoint,
    InterpolationDirection,
    RandomDirection,
    Subspace,
    inspect,
    resized_embeddings,
    resolve,
)
from safescape.weights.directions import products

ORIGIN = Point(None, (0.0, 0.0))


def moved(base: Path, directory: Path, *, seed: int, by: float = 0.1, scale: float = 1.0) -> Path:
    """A copy of a model with noise of `by` times each tensor's spread added, all of it `scale` times."""
    tiny_models.save_model(directory)
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        noise = torch.randn(tensor.shape, generator=draw) * by * max(float(tensor.std(correction=0)), 0.1)
        tensors[name] = tensor + scale * noise
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def toward(directory: Path, **changes: object) -> InterpolationAxis:
    given = {"steps": 4, "low": -0.25, "high": 1.25, "fingerprint": inspect(resolve(str(directory)).weights)}
    return InterpolationAxis.model_validate({"toward": str(directory), **given, **changes})


def engine_on(base: Path, subspace: Subspace, dtype: torch.dtype = torch.float32) -> TransformersEngine:
    tokenizer = load_tokenizer(base, chat_template=None, trust_remote_code=False)
    return TransformersEngine(resolve(str(base)), tokenizer, subspace, dtype=dtype)


@pytest.fixture(scope="module")
def three(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A base and two finetunes of it; read-only."""
    root = tmp_path_factory.mktemp("three")
    return tiny_model, moved(tiny_model, root / "tuned", seed=1), moved(tiny_model, root / "third", seed=2, by=0.2)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds=st.lists(st.integers(0, 2**31), min_size=2, max_size=2, unique=True))
def test_the_directions_of_a_plane_are_orthogonal(tiny_model: Path, seeds: list[int]) -> None:
    origin = Checkpoint(tiny_model)
    first, second = (RandomAxis(seed=seed, span=0.5, steps=2) for seed in seeds)
    plane = Subspace(Plane(axes=(first, second)), origin)
    one, other = plane.directions
    assert abs(products(one, other, origin).cosine) < 1e-5
    assert plane.directions[0] == RandomDirection(seeds[0], origin.inventory.norms), (
        "the first direction stays as it is"
    )
    own = products(RandomDirection(seeds[1]), plane.directions[1], origin)
    assert own.cosine == pytest.approx(1, abs=1e-2), "two random directions are nearly orthogonal to begin with"


def test_a_plane_across_a_random_direction_is_orthogonal_too(three: tuple[Path, Path, Path]) -> None:
    base, tuned, _ = three
    plane = Subspace(Plane(axes=(toward(tuned), RandomAxis(seed=3, span=0.5, steps=2))), Checkpoint(base))
    first, second = plane.directions
    assert abs(products(first, second, Checkpoint(base)).cosine) < 1e-5


def test_the_models_that_span_a_plane_lie_on_their_own_coordinates(three: tuple[Path, Path, Path]) -> None:
    base, tuned, third = three
    axes = (toward(tuned), toward(third))
    waypoints = [Waypoint(model=str(path), fingerprint="") for path in (tuned, third, base)]
    subspace = Subspace(Plane(axes=axes), Checkpoint(base), waypoints)
    engine = engine_on(base, subspace)
    positions = [engine.move_to(Point(None, (), number)) for number in range(3)]
    expected = [(1.0, 0.0), (subspace.share, 1.0), (0.0, 0.0)]
    for position, coords in zip(positions, expected, strict=True):
        assert position.effective == pytest.approx(coords, abs=1e-5)
        assert position.off == pytest.approx(0, abs=1e-5)
    engine.move_to(Point(None, (subspace.share, 1.0)))
    there = Checkpoint(third)
    for name, live in engine._live.items():
        torch.testing.assert_close(live.read(), there.tensor(name), rtol=0, atol=1e-5)


def test_a_checkpoint_beside_the_line_says_how_far(three: tuple[Path, Path, Path]) -> None:
    base, tuned, third = three
    subspace = Subspace(Lines(axes=(toward(tuned),)), Checkpoint(base), [Waypoint(model=str(third), fingerprint="")])
    position = engine_on(base, subspace).move_to(Point(None, (), 0))
    along = across = length = 0.0
    for name in Checkpoint(base).names():
        origin = Checkpoint(base).tensor(name).double()
        step, direction = (Checkpoint(path).tensor(name).double() - origin for path in (third, tuned))
        along += float((step * direction).sum())
        across += float(direction.square().sum())
        length += float(step.square().sum())
    assert position.effective == pytest.approx((along / across,), rel=1e-4)
    assert position.off == pytest.approx(1 - along**2 / across / length, rel=1e-4)


def test_a_line_ends_at_the_other_model(three: tuple[Path, Path, Path]) -> None:
    base, tuned, _ = three
    engine = engine_on(base, Subspace(Lines(axes=(toward(tuned),)), Checkpoint(base)))
    engine.move_to(Point(0, (1.0,)))
    other = Checkpoint(tuned)
    for name, live in engine._live.items():
        # (b - a) + a rounds twice for every value that the adapter or the finetune changed
        torch.testing.assert_close(live.read(), other.tensor(name), rtol=1e-6, atol=1e-7)
    assert engine.close() == engine.fingerprint_at_start


def test_bf16_makes_a_staircase_of_a_small_finetune_and_the_effective_coordinate_shows_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The origin is a bf16 checkpoint, as most are, and the finetune a thousandth of it (METHOD.md)."""
    base = tiny_models.save_model(tmp_path / "base")
    path = base / "model.safetensors"
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    tuned = tiny_models.save_model(tmp_path / "tuned")
    draw = torch.Generator().manual_seed(0)
    changed = {
        name: tensor.float() + 1e-3 * tensor.float().std(correction=0) * torch.randn(tensor.shape, generator=draw)
        for name, tensor in tensors.items()
    }
    save_file(changed, tuned / "model.safetensors", metadata={"format": "pt"})
    engine = engine_on(base, Subspace(Lines(axes=(toward(tuned),)), Checkpoint(base)), torch.bfloat16)
    found = {alpha: engine.move_to(Point(0, (alpha,))).effective[0] for alpha in (0.05, 0.25, 0.75, 1.0)}
    for alpha, effective in found.items():
        along = square = 0.0
        for name, tensor in tensors.items():
            wide = tensor.float()
            direction = changed[name] - wide
            step = (wide + alpha * direction).bfloat16().double() - wide.double()
            along += float((step * direction.double()).sum())
            square += float(direction.double().square().sum())
        assert effective == pytest.approx(along / square, rel=1e-3, abs=1e-6)
    assert found[0.05] < 0.02, "a twentieth of the way is hardly a move at all"


def test_models_on_one_line_span_no_plane(tiny_model: Path, tmp_path: Path) -> None:
    near = moved(tiny_model, tmp_path / "near", seed=1)
    far = moved(tiny_model, tmp_path / "far", seed=1, scale=2.0)
    with pytest.raises(InputError, match=r"lie on one line through the origin \(cosine 1\.0000"):
        Subspace(Plane(axes=(toward(near), toward(far))), Checkpoint(tiny_model))


def test_a_resized_embedding_moves_in_its_common_rows(tiny_model: Path, tmp_path: Path) -> None:
    base = Checkpoint(tiny_model)
    longer = tiny_models.save_model(tmp_path / "longer", tiny_models.llama_config(vocab_size=264), seed=5)
    shorter = tiny_models.save_model(tmp_path / "shorter", tiny_models.llama_config(vocab_size=250), seed=6)
    name = "model.embed_tokens.weight"
    for path, rows in ((longer, 260), (shorter, 250)):
        other = Checkpoint(path)
        assert resized_embeddings(base, other, str(path)) == (name,)
        step = InterpolationDirection(other).tensor(name, base.tensor(name))
        assert torch.equal(step[:rows], other.tensor(name)[:rows] - base.tensor(name)[:rows])
        assert not step[rows:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intermediate_size": 64}, r"the tensor model\.layers\.0\.mlp\.down_proj\.weight has shape \(32, 64\), at"),
        ({"num_hidden_layers": 1}, r"lacks the tensor model\.layers\.1\.input_layernorm\.weight of the origin"),
        ({"num_hidden_layers": 3}, r"has the tensor model\.layers\.2\.input_layernorm\.weight, the origin has not"),
    ],
)
def test_another_architecture_is_refused_by_its_first_difference(
    tiny_model: Path, tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    other = tiny_models.save_model(tmp_path / "other", tiny_models.llama_config(**changes))
    with pytest.raises(InputError, match=message):
        resized_embeddings(Checkpoint(tiny_model), Checkpoint(other), "other")


@given(
    low=st.floats(-2, 0),
    high=st.floats(1, 3),
    steps=st.integers(1, 12),
    half=st.integers(1, 6),
)
def test_a_plane_is_visited_once_everywhere_one_coordinate_at_a_time(
    low: float, high: float, steps: int, half: int
) -> None:
    across = InterpolationAxis(toward="t", fingerprint="f", steps=steps, low=low, high=high)
    up = RandomAxis(seed=0, span=0.5, steps=2 * half)
    points = list(Plane(axes=(across, up)).points())
    assert points[0] == ORIGIN
    assert len(points) == len(set(points)) == len(across.grid) * len(up.grid)
    assert {0.0, 1.0} <= set(across.grid)
    assert low - 1e-6 <= across.grid[0]
    assert across.grid[-1] <= high + 1e-6
    for before, after in itertools.pairwise(points[1:]):
        assert sum(a != b for a, b in zip(before.coords, after.coords, strict=True)) == 1
