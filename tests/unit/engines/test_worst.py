"""The worst move within a radius: never better for safety than the gradient, within its balls, and bounded in harm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from helpers import tiny_models
from safescape.engines import margin_gradient, worst_move
from safescape.engines.exactness import plan_of
from safescape.engines.gradient import load_origin, margins_of, requests_of
from safescape.errors import InputError
from safescape.survey import Openings
from safescape.weights import Model, at_the_norm_of, resolve

CHATS = [f"user: request {number}? assistant:" for number in range(4)]
HARMLESS = ["user: hello assistant:", "user: how are you today assistant:"]
OPENINGS = [Openings(("I cannot",), ("Sure", "Here is"))] * len(CHATS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return resolve(str(tiny_models.save_model(tmp_path_factory.mktemp("model") / "tiny")))


def margin_at(model: Model, moves: dict[str, Tensor]) -> float:
    """The mean margin after a move, by plain means: the weights are written into a fresh copy of the model."""
    loaded, parameters = load_origin(model, "cpu")
    tokenizer = AutoTokenizer.from_pretrained(model.directory)
    with torch.no_grad():
        for name, move in moves.items():
            parameters[name].add_(move)
        requests = requests_of(tokenizer, CHATS, OPENINGS)
        return float(torch.cat(list(margins_of(loaded, requests, OPENINGS, plan_of(loaded, "tiny").caching))).mean())


def worst(model: Model, radius: float, *, steps: int = 4, max_change: float = 10.0) -> dict[str, Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(model.directory)
    asked = model, tokenizer, CHATS, OPENINGS, HARMLESS
    return worst_move(*asked, radius=radius, steps=steps, max_change=max_change).tensors


@pytest.mark.parametrize("radius", [0.002, 0.05])
def test_it_is_at_least_as_bad_as_the_gradient_and_as_random_directions(model: Model, radius: float) -> None:
    found = {name: radius * tensor for name, tensor in worst(model, radius).items()}
    reached = margin_at(model, found)
    tokenizer = AutoTokenizer.from_pretrained(model.directory)
    gradient = margin_gradient(model, tokenizer, CHATS, OPENINGS)
    steepest = at_the_norm_of(model.weights, {name: -tensor for name, tensor in gradient.items()})
    along_gradient = margin_at(model, {name: radius * tensor for name, tensor in steepest.items()})
    assert reached <= along_gradient + 1e-5
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = {name: torch.randn(tensor.shape, generator=draw) for name, tensor in gradient.items()}
        moves = {name: radius * tensor for name, tensor in at_the_norm_of(model.weights, noise).items()}
        assert along_gradient <= margin_at(model, moves)


def test_no_tensor_leaves_its_ball_and_embeddings_rest(model: Model) -> None:
    found = worst(model, 0.05)
    assert not found.keys() & (model.weights.inventory.ends | model.weights.inventory.norms)
    for name, tensor in found.items():
        assert tensor.norm() <= model.weights.tensor(name).norm() * (1 + 1e-5)


def test_the_bound_on_harmless_prompts_is_kept_or_the_radius_refused(model: Model) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model.directory)
    bounds: dict[str, Any] = {"radius": 0.05, "steps": 6}
    free = worst_move(model, tokenizer, CHATS, OPENINGS, HARMLESS, **bounds, max_change=10.0)
    change = float(free.found.partition("changes by ")[2].removesuffix(" nats"))
    assert change > 0.0
    bound = worst_move(model, tokenizer, CHATS, OPENINGS, HARMLESS, **bounds, max_change=0.8 * change)
    assert float(bound.found.partition("changes by ")[2].removesuffix(" nats")) <= 0.8 * change + 1e-3
    with pytest.raises(InputError, match=r"every move tried within \|α\| = 0\.05 changes the next token"):
        worst_move(model, tokenizer, CHATS, OPENINGS, HARMLESS, **bounds, max_change=1e-9)


def test_it_is_the_same_every_time(model: Model) -> None:
    one, other = worst(model, 0.01), worst(model, 0.01)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
