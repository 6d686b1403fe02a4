"""Loading: a configuration that transformers cannot use is refused in one line, wherever it is read first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import safescape
from helpers import tiny_models
from helpers.families import FAMILIES, save
from helpers.surveys import make_survey
from safescape import InputError
from safescape.engines import TransformersEngine, check_length, check_vocabulary, load_model
from safescape.engines.loading import load_config, load_generation_config
from safescape.probes import load_tokenizer
from safescape.weights import Checkpoint, Model, Subspace, checkpoint_of, resolve

CODE = {"AutoConfig": "configuration_new.NewConfig", "AutoModelForCausalLM": "modeling_new.New"}
CONFIGS = {
    "unknown architecture": ({"model_type": "hyperion"}, "model type `hyperion` but Transformers does not recognize"),
    "no architecture": ({"model_type": None}, "model type `None` but Transformers does not recognize"),
    "code of its own": ({"model_type": "hyperion", "auto_map": CODE}, "custom code .*give them --trust-remote-code"),
    "a list": ({"model_type": ["llama"]}, "unhashable type"),
    "a text for a number": ({"num_hidden_layers": "two"}, "'num_hidden_layers' expected int"),
    "heads that do not divide": ({"num_attention_heads": 5}, "hidden size .* not a multiple"),
    "unknown dtype": ({"dtype": "float99"}, "float99"),
}
MODELS = {
    "unknown activation": ({"hidden_act": "nonsense"}, "KeyError: 'nonsense'"),
    "padding out of range": ({"pad_token_id": 9999}, "Padding_idx must be within num_embeddings"),
    "no causal model": ({"model_type": "t5"}, "Unrecognized configuration class"),
}


@pytest.fixture
def with_config(tiny_model: Path, tmp_path: Path) -> Callable[[dict[str, object]], Model]:
    """Return the tiny model with some fields of its configuration changed; None removes a field."""

    def change(fields: dict[str, object]) -> Model:
        directory = Path(shutil.copytree(tiny_model, tmp_path / "model"))
        config = {**json.loads((directory / "config.json").read_text()), **fields}
        (directory / "config.json").write_text(json.dumps(config))
        return resolve(str(directory))

    return change


def assert_one_line(error: InputError, model: Model) -> None:
    assert str(error).startswith(f"{model.name}: transformers cannot load it (")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("load", "fields", "said"),
    [
        *((load_config, *case) for case in CONFIGS.values()),
        *((partial(load_model, dtype=torch.float32), *case) for case in MODELS.values()),
    ],
    ids=[*CONFIGS, *MODELS],
)
def test_a_configuration_that_transformers_cannot_use_is_refused_in_one_line(
    with_config: Callable[[dict[str, object]], Model],
    load: Callable[[Model], object],
    fields: dict[str, object],
    said: str,
) -> None:
    model = with_config(fields)
    with pytest.raises(InputError, match=said) as refused:
        load(model)
    assert_one_line(refused.value, model)


def test_a_configuration_without_a_model_type(tiny_model: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (directory / "config.json").write_text("{}")
    with pytest.raises(InputError, match="Should have a `model_type` key"):
        load_config(resolve(str(directory)))


def test_an_unknown_architecture_whose_tokenizer_loads_ends_a_scan_in_one_line(
    with_config: Callable[[dict[str, object]], Model], tmp_path: Path
) -> None:
    model = with_config({"model_type": "hyperion"})
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    with pytest.raises(InputError, match="does not recognize this architecture"):
        check_length(make_survey(prompts=1), model, tokenizer, {"harmful": ["a"]})
    with pytest.raises(InputError, match="does not recognize this architecture") as refused:
        safescape.scan(model.name, out=tmp_path / "run", limit=1)
    assert_one_line(refused.value, model)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("fields", "said"), CONFIGS.values(), ids=CONFIGS)
def test_a_scan_of_such_a_model_ends_in_one_line(
    with_config: Callable[[dict[str, object]], Model], fields: dict[str, object], said: str, tmp_path: Path
) -> None:
    """Some architectures fail earlier, when the tokenizer is loaded."""
    model = with_config(fields)
    with pytest.raises(InputError, match=r"cannot (be loaded|load it)") as refused:
        safescape.scan(model.name, out=tmp_path / "run", limit=1)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[]", "{", json.dumps({"max_new_tokens": "many"})])
def test_generation_settings_that_transformers_cannot_use(
    with_config: Callable[[dict[str, object]], Model], text: str
) -> None:
    model = with_config({})
    config = load_config(model)
    (model.directory / "generation_config.json").write_text(text)
    with pytest.raises(InputError) as refused:
        load_generation_config(model, config)
    assert_one_line(refused.value, model)


@pytest.mark.parametrize("rows", [260, 264, 258])
def test_only_tokens_that_a_text_uses_need_an_embedding(tmp_path: Path, rows: int) -> None:
    """The tokenizer has 260 tokens; its last ones stand for bytes that English does not use."""
    config = tiny_models.llama_config(vocab_size=rows)
    model = resolve(str(tiny_models.save_model(tmp_path / "model", config)))
    check_vocabulary(model, tiny_models.tokenizer(), ["<|user|>plain English<|end|>"])


def test_a_token_without_an_embedding_is_refused_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    directory = tiny_models.save_model(tmp_path / "model", seed=1)
    tokenizer = tiny_models.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|think|>"]})
    tokenizer.chat_template = f"<|think|>{tokenizer.chat_template}"
    tokenizer.save_pretrained(directory)
    said = r"'<\|think\|>' is token 260 of the tokenizer, and the embedding has 260 rows"
    with pytest.raises(InputError, match=said) as refused:
        safescape.scan(str(directory), out=tmp_path / "run", limit=1)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
    data = tmp_path / "data.jsonl"
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    data.write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(InputError, match=said):
        safescape.finetune(str(directory), data=str(data), out=tmp_path / "tuned")
    with pytest.raises(InputError, match=said):
        safescape.repair(str(tiny_model), str(directory), out=tmp_path / "repaired", limit=1, max_asr=99)


def test_the_padding_of_an_embedding_is_not_answered_with(tmp_path: Path) -> None:
    """A padded embedding and a tokenizer with fewer tokens answer as transformers' `generate`."""
    model = resolve(str(tiny_models.save_model(tmp_path / "model", tiny_models.llama_config(vocab_size=320))))
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    engine = TransformersEngine(model, tokenizer, Subspace(make_survey(prompts=1).subspace, model.weights))
    plain: Any = AutoModelForCausalLM.from_pretrained(model.directory)
    chats = ["<|user|>what is this<|end|>", "<|user|>a<|end|>"]
    for chat, response in zip(chats, engine.respond(chats, max_new_tokens=24, stop=()), strict=True):
        read = tokenizer(chat, add_special_tokens=False, return_tensors="pt")
        said = plain.generate(**read, max_new_tokens=24, do_sample=False)[0, read["input_ids"].shape[1] :]
        assert response.text == tokenizer.decode(said, skip_special_tokens=True)


def test_an_expert_that_is_loaded_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of a fused parameter is compared with the file."""
    mixtral = next(family for family in FAMILIES if family.model_type == "mixtral")
    model = resolve(str(save(mixtral, tmp_path / "model")))
    load_model(model, torch.float32)
    expert = max(checkpoint_of(model.weights).inventory.parts)
    read = Checkpoint.tensors

    def changed(files: Checkpoint, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        return ((name, tensor + 1 if name == expert else tensor) for name, tensor in read(files, names))

    monkeypatch.setattr(Checkpoint, "tensors", changed)
    with pytest.raises(InputError, match=f"transformers changes the tensor {expert} when it loads it"):
        load_model(model, torch.float32)
