"""Checkpoints: shards, damaged and pickled files, and their fingerprints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny_models
from safescape import InputError
from safescape.weights import Checkpoint, RandomDirection, fingerprint, fingerprint_of_stream, inspect, resolve


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture(scope="session")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as the tiny model in several files."""
    directory = tiny_models.save_model(tmp_path_factory.mktemp("sharded"), max_shard_size="20KB")
    assert len(list(directory.glob("*.safetensors"))) > 2
    return directory


def test_shards_and_a_single_file_are_the_same_weights(tiny_model: Path, sharded: Path) -> None:
    one, many = Checkpoint(tiny_model), Checkpoint(sharded)
    assert one.names() == many.names()
    assert inspect(one) == inspect(many)
    direction = RandomDirection(0)
    for name in one.names():
        assert torch.equal(direction.tensor(name, one.tensor(name)), direction.tensor(name, many.tensor(name)))


def test_the_fingerprint_sees_one_flipped_bit_and_not_the_order(tiny_model: Path) -> None:
    tensors = load_file(tiny_model / "model.safetensors")
    before = fingerprint(tensors, tensors.__getitem__)
    assert before == fingerprint(list(reversed(tensors)), tensors.__getitem__)
    assert before == fingerprint_of_stream(reversed(tensors.items()))
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name].view(torch.int32)[3, 5] ^= 1
    assert fingerprint(tensors, tensors.__getitem__) != before


def test_a_truncated_shard(sharded: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(sharded, tmp_path / "model"))
    shard = sorted(damaged.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"{shard.name}: cut short"):
        resolve(str(damaged))
    shard.unlink()
    with pytest.raises(InputError, match=rf"{shard.name}: is missing"):
        resolve(str(damaged))


@pytest.mark.parametrize("text", ["[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "{"])
def test_an_index_that_is_no_index_is_refused(copy: Path, text: str) -> None:
    (copy / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match="not an index of safetensors shards"):
        resolve(str(copy))


def test_nan_names_the_tensor(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][1, 2] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"model\.layers\.0\.mlp\.up_proj\.weight holds NaN"):
        inspect(resolve(str(copy)).weights)


def test_pickled_weights_are_refused_without_being_opened(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
    with pytest.raises(InputError, match=r"pickled weights only \(pytorch_model\.bin\)"):
        resolve(str(copy))
