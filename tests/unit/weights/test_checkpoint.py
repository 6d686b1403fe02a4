"""Checkpoints: shards, damaged and pickled files, and their fingerprints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

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
    (copy / "model.safetensors").rename(copy / "model-00001-of-00001.safetensors")
    (copy / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match="not an index of safetensors shards"):
        resolve(str(copy))


def relist(directory: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Change which shard the index of a model names for each tensor."""
    index = directory / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    index.write_text(json.dumps({**document, "weight_map": change(document["weight_map"])}))


def test_of_a_single_file_and_an_index_transformers_and_we_take_the_file(
    tiny_model: Path, sharded: Path, tmp_path: Path
) -> None:
    both = Path(shutil.copytree(sharded, tmp_path / "model"))
    tensors = {name: tensor + 1 for name, tensor in load_file(tiny_model / "model.safetensors").items()}
    save_file(tensors, both / "model.safetensors", metadata={"format": "pt"})
    found, name = Checkpoint(both), "model.norm.weight"
    assert torch.equal(found.tensor(name), tensors[name])
    assert torch.equal(AutoModelForCausalLM.from_pretrained(both).get_parameter(name), tensors[name])
    (both / "model.safetensors").rename(both / "renamed.safetensors")
    assert torch.equal(Checkpoint(both).tensor(name), tensors[name] - 1)
    config = json.loads((both / "config.json").read_text())
    (both / "config.json").write_text(json.dumps({**config, "transformers_weights": "renamed.safetensors"}))
    assert torch.equal(Checkpoint(both).tensor(name), tensors[name]), "the file that config.json names"
    assert torch.equal(AutoModelForCausalLM.from_pretrained(both).get_parameter(name), tensors[name])


def test_a_stale_index_is_refused(sharded: Path, tmp_path: Path) -> None:
    stale = Path(shutil.copytree(sharded, tmp_path / "model"))
    name = "model.norm.weight"
    relist(stale, lambda places: {n: shard for n, shard in places.items() if n != name})
    with pytest.raises(InputError, match=rf"index\.json: does not list the tensor {name} of model-\d+-of-\d+"):
        resolve(str(stale))
    relist(stale, lambda places: {**places, name: max(places.values()), "model.other.weight": max(places.values())})
    with pytest.raises(InputError, match=r"lacks the tensor model\.other\.weight of the index"):
        resolve(str(stale))
    relist(stale, lambda places: {**places, "model.other.weight": "model-00099-of-00099.safetensors"})
    with pytest.raises(InputError, match=r"model-00099-of-00099\.safetensors: is missing, though the index names it"):
        resolve(str(stale))


def test_a_tensor_in_two_shards_is_refused(sharded: Path, tmp_path: Path) -> None:
    twice = Path(shutil.copytree(sharded, tmp_path / "model"))
    first, second = sorted(twice.glob("*.safetensors"))[:2]
    shared = sorted(load_file(first))[0]
    both = {**{name: tensor.clone() for name, tensor in load_file(second).items()}, shared: load_file(first)[shared]}
    save_file(both, second, metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"{second.name}: holds the tensor {shared}, and so does {first.name}"):
        resolve(str(twice))


def test_an_index_that_names_another_shard_than_the_one_that_has_the_tensor(sharded: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(sharded, tmp_path / "model"))
    name = "model.norm.weight"
    relist(moved, lambda places: {**places, name: min(set(places.values()) - {places[name]})})
    assert inspect(resolve(str(moved)).weights) == inspect(Checkpoint(sharded)), "transformers reads it, too"


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
