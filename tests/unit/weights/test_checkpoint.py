"""Checkpoints, shards, adapters, fingerprints; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from helpers import tiny_models
from helpers.tiny_models import save_adapter
from safescape import InputError
from safescape.weights import Adapted, Checkpoint, RandomDirection, fingerprint, fingerprint_in_turn, inspect, resolve


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
    assert before == fingerprint_in_turn(reversed(tensors.items()))
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name].view(torch.int32)[3, 5] ^= 1
    assert fingerprint(tensors, tensors.__getitem__) != before


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.0.self_attn.q_proj": 5}},
        {"modules_to_save": ["gate_proj"]},
    ],
    ids=["plain", "rslora", "patterns", "whole modules"],
)
def test_an_adapter_adds_what_peft_merges(tiny_model: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    directory = save_adapter(tiny_model, tmp_path / "adapter", **settings)
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), directory).merge_and_unload()
    expected = merged.state_dict()
    adapted = resolve(f"{tiny_model}+{directory}").weights
    changed = 0
    for name in adapted.names():
        torch.testing.assert_close(adapted.tensor(name).float(), expected[name], rtol=1e-6, atol=1e-6)
        changed += not torch.equal(adapted.tensor(name), Checkpoint(tiny_model).tensor(name))
    assert changed >= 4


def test_an_adapted_embedding(tiny_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["embed_tokens"]))
    for name, parameter in model.named_parameters():
        if "lora_embedding" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    name = "model.embed_tokens.weight"
    delta = model.base_model.model.model.embed_tokens.get_delta_weight("default")
    adapted = Adapted(Checkpoint(tiny_model), tmp_path / "adapter")
    torch.testing.assert_close(adapted.tensor(name), Checkpoint(tiny_model).tensor(name) + delta)


def test_an_adapter_for_another_base_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    wider = tiny_models.save_model(tmp_path / "wider", tiny_models.llama_config(hidden_size=64))
    adapter = save_adapter(wider, tmp_path / "adapter")
    with pytest.raises(InputError, match=r"has shape \(64, 48\), the base's \(32, 48\); give the base"):
        resolve(f"{tiny_model}+{adapter}")
    deeper = tiny_models.save_model(tmp_path / "deeper", tiny_models.llama_config(num_hidden_layers=3))
    adapter = save_adapter(deeper, tmp_path / "adapter2")
    with pytest.raises(InputError, match=r"layers\.2.*does not have"):
        resolve(f"{tiny_model}+{adapter}")


def test_dora_is_refused_by_name(tiny_model: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tiny_model, tmp_path / "adapter", use_dora=True)
    with pytest.raises(InputError, match=r"use_dora.*merge"):
        resolve(f"{tiny_model}+{adapter}")


def test_an_adapter_given_as_a_model_says_what_to_type(tiny_model: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tiny_model, tmp_path / "adapter")
    with pytest.raises(InputError, match=r"is an adapter; give BASE\+"):
        resolve(str(adapter))


def test_a_truncated_shard(sharded: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(sharded, tmp_path / "model"))
    shard = sorted(damaged.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"{shard.name}: cut short"):
        resolve(str(damaged))
    shard.unlink()
    with pytest.raises(InputError, match=rf"{shard.name}: is missing"):
        resolve(str(damaged))


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


def test_a_quantised_model_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(InputError, match="quantised"):
        resolve(str(copy))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "no config.json"),
        (lambda d: (d / "config.json").write_text("{"), "is not JSON"),
        (lambda d: (d / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b""), "cut short"),
    ],
    ids=["no config", "half a config", "no weights", "empty weights"],
)
def test_damaged_directories(copy: Path, damage: object, message: str) -> None:
    damage(copy)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        resolve(str(copy))


@pytest.mark.parametrize("name", ["nope", "./nope", "nope.gguf", "/nowhere/at/all", ""])
def test_a_model_that_does_not_exist(name: str) -> None:
    with pytest.raises(InputError, match=r"expected a Hub id|no such file"):
        resolve(name)


def test_a_gguf_cut_short(tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGUFWriter

    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.ones((64, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    whole = path.read_bytes()
    for size in (0, 3, 20, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="cut short"):
            resolve(str(path))
