"""`safescape inspect` says of every stored tensor what becomes of it, shows the chat, and why a model is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BloomConfig, MistralConfig, MixtralConfig

import safescape
from helpers import tiny_models
from helpers.command_line import run_command
from safescape.survey import TensorGroup
from safescape.weights import Direction, RandomDirection, resolve

MOE = MixtralConfig(**{**tiny_models.SHAPE, "num_local_experts": 4, "eos_token_id": 0, "bos_token_id": None})


def group_of(model: object, name: str) -> TensorGroup:
    (found,) = [group for group in safescape.inspect(str(model)).tensors if group.name == name]
    return found


def test_parameters_are_those_of_the_model(tiny_model: Path) -> None:
    found = safescape.inspect(str(tiny_model))
    tensors = load_file(tiny_model / "model.safetensors")
    assert (found.architecture, found.model_type, found.layers, found.context) == ("LlamaForCausalLM", "llama", 2, 512)
    assert found.parameters == sum(tensor.numel() for tensor in tensors.values())
    assert sum(group.count for group in found.tensors) == len(tensors)
    assert found.tied == (("model.embed_tokens.weight", "lm_head.weight"),)
    # the output head, which is tied to the embedding, is held twice on a CPU
    embedding = tensors["model.embed_tokens.weight"].numel()
    assert found.memory["float32"].weights == 4 * (found.parameters + embedding)
    assert found.memory["bfloat16"].direction == 4 * found.parameters
    # two layers, two heads of 8 keys and 8 values
    assert found.memory["bfloat16"].token == 2 * 2 * 2 * 8 * 2
    assert found.problems == ()


@pytest.mark.parametrize("config", [tiny_models.llama_config(), MOE], ids=["llama", "mixtral"])
def test_what_is_said_to_move_moves(config: MixtralConfig, tmp_path: Path) -> None:
    model = resolve(str(tiny_models.save_model(tmp_path / "model", config)))
    roles = {group.name: group.role for group in safescape.inspect(model.name).tensors}
    direction: Direction = RandomDirection(0, model.weights.inventory.norms)
    for name in model.weights.names():
        moved = direction.tensor(name, model.weights.tensor(name))
        pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))
        assert roles[pattern] == ("moves" if moved.any() else "normalisation")


def test_copies_buffers_and_tensors_that_are_not_loaded_are_told(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    assert group_of(model, "lm_head.weight").role == "copy"
    assert group_of(model, "model.layers.*.self_attn.rotary_emb.inv_freq").role == "not loaded"
    assert safescape.inspect(str(model)).parameters == safescape.inspect(str(tiny_model)).parameters


def test_what_an_adapter_changes_is_counted(tiny_model: Path, tmp_path: Path) -> None:
    adapter = tiny_models.save_adapter(tiny_model, tmp_path / "adapter")
    tiny_models.tokenizer("{{ messages[-1].content }}<think>{# </think> #}").save_pretrained(adapter)
    both = f"{tiny_model}+{adapter}"
    assert group_of(both, "model.layers.*.self_attn.q_proj.weight").adapted == 2
    assert group_of(both, "model.layers.*.self_attn.k_proj.weight").adapted == 0
    found = safescape.inspect(both)
    assert found.adapters == (str(adapter),)
    assert found.chat is not None
    assert found.chat.rendered == "A harmful request.<think>"
    assert found.chat.markers is not None


def test_what_is_done_differently_is_noted(tmp_path: Path) -> None:
    window = MistralConfig(**{**tiny_models.SHAPE, "sliding_window": 8, "eos_token_id": 0, "bos_token_id": None})
    notes = safescape.inspect(str(tiny_models.save_model(tmp_path / "window", window))).notes
    assert any("while prompt and answer have up to 8 tokens" in note for note in notes)
    bloom = BloomConfig(vocab_size=260, hidden_size=32, n_layer=2, n_head=4, eos_token_id=0, bos_token_id=None)
    notes = safescape.inspect(str(tiny_models.save_model(tmp_path / "bloom", bloom))).notes
    assert any("prompts share no prefix" in note for note in notes)
    notes = safescape.inspect(str(tiny_models.save_model(tmp_path / "moe", MOE))).notes
    assert any("24 tensors are fused" in note for note in notes)
    assert any("vllm and finetune do not take it" in note for note in notes)


def test_the_template_can_be_chosen_and_its_variables_are_listed(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[-1].content }}{% if loud %}!{% endif %}{{ bos_token }}", encoding="utf-8")
    found = safescape.inspect(str(tiny_model), chat_template=file, template_vars="loud=true")
    assert found.chat is not None
    assert found.chat.rendered == "A harmful request.!"
    assert found.chat.variables == ("loud",)


def test_a_model_that_cannot_be_scanned_is_shown_and_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "chat_template.jinja").write_text("Hello", encoding="utf-8")
    done = run_command("inspect", model)
    assert done.returncode == 2
    assert "LlamaForCausalLM" in done.stdout
    assert "can be scanned" not in done.stdout
    assert done.stderr.count("\n") == 1
    assert "the chat template drops or changes prompt 1" in done.stderr


def test_json_is_the_inspection(tiny_model: Path) -> None:
    done = run_command("inspect", tiny_model, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(safescape.inspect(str(tiny_model)).model_dump_json())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/at/all"], "nowhere/at/all: no such model here"),
        (["demo", "--chat-template", "none.jinja"], "--chat-template none.jinja: "),
        (["demo", "--template-var", "x"], "--template-var x: expected NAME=VALUE"),
        ([""], "MODEL is empty"),
    ],
)
def test_bad_input_is_one_line(
    refused: Callable[[list[object], str], None], arguments: list[object], message: str
) -> None:
    refused(["inspect", *arguments], message)
