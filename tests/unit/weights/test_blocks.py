"""Spaces with one coordinate per block of layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers import tiny_models
from safescape import InputError
from safescape.survey import Point
from safescape.weights import BlockSpace, Checkpoint, Mover, layer_of


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    folder = tmp_path_factory.mktemp("models")
    config = tiny_models.llama_config(num_hidden_layers=4)
    base, tuned = (Checkpoint(tiny_models.save_model(folder / str(seed), config, seed=seed)) for seed in (0, 1))
    return base, tuned


def test_every_block_moves_by_its_own_coordinate(models: tuple[Checkpoint, Checkpoint]) -> None:
    base, tuned = models
    space = BlockSpace(base, tuned, 2)
    assert sorted(name for block in space.blocks for name in block) == list(base.names())
    shapes = {name: base.tensor(name).shape for name in base.names()}
    mover = Mover(base, space, shapes, dtype=torch.float32, device=torch.device("cpu"))
    moving = mover.move(Point(None, (0.25, 1.0)))
    found = {name: values.clone() for name, values in moving}
    assert moving.position == ((0.25, 1.0), 0.0)
    for name, values in found.items():
        layer = layer_of(name)
        alpha = 0.25 if (layer is None and "embed" in name) or (layer is not None and layer < 2) else 1.0
        expected = torch.lerp(base.tensor(name), tuned.tensor(name), alpha)
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.12.mlp.up_proj.weight", 12),
        ("transformer.h.3.attn.c_attn.weight", 3),
        ("h.0.ln_1.weight", 0),
        ("model.embed_tokens.weight", None),
        ("model.norm.weight", None),
    ],
)
def test_the_layer_of_a_tensor(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer


def test_more_blocks_than_layers(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="--layers 3: the model has 2 layers"):
        BlockSpace(Checkpoint(tiny_model), Checkpoint(tiny_model), 3)
