"""Which tensors of a checkpoint's files are the model's own, whatever else the files hold."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DeepseekV3Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen3Config,
    RobertaPreLayerNormConfig,
    RwkvConfig,
)

from helpers import tiny_models
from safescape import InputError
from safescape.engines import load_model, parameters_of
from safescape.engines.vllm.engine import _shapes
from safescape.finetuning.initial_weights import InitialWeights
from safescape.survey import InterpolationAxis, Plane, Point
from safescape.weights import (
    BlockSpace,
    Checkpoint,
    RandomDirection,
    Subspace,
    inspect,
    norms_of,
    resized_embeddings,
    resolve,
    save_blend,
)
from safescape.weights.directions import products
from safescape.weights.inventory import is_norm_by_name
from safescape.weights.subspace import aligned

Tensors = dict[str, Tensor]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
LLAMA = dict(tiny_models.llama_config().to_dict())
GPT2 = GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=None, eos_token_id=0)
NEOX = GPTNeoXConfig(**{**tiny_models.SHAPE, "bos_token_id": None, "eos_token_id": 0})


def rewrite(directory: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """Write the tensors of a model anew."""
    path = directory / "model.safetensors"
    # cloned, because the file that they are mapped from is overwritten
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(change(tensors), path, metadata={"format": "pt"})
    return directory


def plus(further: Tensors) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, **further}


def with_head(tensors: Tensors) -> Tensors:
    return {**tensors, HEAD: tensors[EMBEDDING].clone()}


def without_prefix(tensors: Tensors) -> Tensors:
    return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}


EXTRA: dict[str, tuple[PretrainedConfig, Callable[[Tensors], Tensors]]] = {
    "a tied head written out": (tiny_models.llama_config(), with_head),
    "inv_freq, as in Llama 2": (
        tiny_models.llama_config(),
        plus({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
    ),
    "_extra_state of Transformer Engine": (
        tiny_models.llama_config(),
        plus({"model.layers.0.mlp.up_proj._extra_state": torch.zeros(0, dtype=torch.uint8)}),
    ),
    "masks of GPT-2": (GPT2, plus({"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64).tril()})),
    "masks of Pythia": (
        NEOX,
        plus(
            {
                "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 64, 64).tril().bool(),
                "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
                "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1),
            }
        ),
    ),
}


@pytest.mark.parametrize(("config", "add"), EXTRA.values(), ids=EXTRA)
def test_tensors_that_are_no_parameters_change_nothing(
    config: PretrainedConfig, add: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    plain = Checkpoint(tiny_models.save_model(tmp_path / "plain", config))
    more = Checkpoint(rewrite(tiny_models.save_model(tmp_path / "more", config), add))
    assert len(more.stored) > len(plain.stored)
    assert more.names() == plain.names()
    assert inspect(more) == inspect(plain)
    assert resized_embeddings(plain, more, "more") == resized_embeddings(more, plain, "plain") == ()
    model = load_model(resolve(str(more.directory)), torch.float32)
    for name, live in more.inventory.parameters.items():
        assert torch.equal(model.get_parameter(live), plain.tensor(name))
    start = InitialWeights(model)
    assert start.names() == plain.names()
    assert start.inventory.norms == plain.inventory.norms


def moved(base: Path, directory: Path, seed: int, add: Callable[[Tensors], Tensors] | None) -> Path:
    shutil.copytree(base, directory)
    draw = torch.Generator().manual_seed(seed)

    def change(tensors: Tensors) -> Tensors:
        found = {n: t + 0.05 * torch.randn(t.shape, generator=draw) for n, t in tensors.items() if n != HEAD}
        return add(found) if add is not None else found

    return rewrite(directory, change)


@pytest.mark.parametrize("add", [None, with_head])
def test_a_planes_axes_are_orthogonal_over_the_parameters(
    add: Callable[[Tensors], Tensors] | None, tiny_model: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    axes = []
    for seed in (1, 2):
        there = moved(base, tmp_path / str(seed), seed, add)
        axes.append(InterpolationAxis(toward=str(there), fingerprint="", steps=2, low=0, high=1))
    if add is not None:
        rewrite(base, add)
    origin = Checkpoint(base)
    first, second = Subspace(Plane(axes=(axes[0], axes[1])), origin).directions
    found = [products(first, second, origin)]
    mixed = sum(
        float((first.tensor(n, t).double() * second.tensor(n, t)).sum())
        for n, t in load_file(tiny_model / "model.safetensors").items()
    )
    assert abs(found[0].cosine) < 1e-5
    assert abs(mixed) < 1e-5 * (found[0].first * found[0].second) ** 0.5


def test_a_head_that_differs_from_the_embedding_it_is_tied_to_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    directory = rewrite(Path(shutil.copytree(tiny_model, tmp_path / "model")), with_head)
    rewrite(directory, lambda tensors: {**tensors, HEAD: tensors[HEAD] + 1})
    with pytest.raises(InputError, match=r"ties lm_head\.weight to model\.embed_tokens\.weight, .*different"):
        resolve(str(directory)).weights.names()
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    assert HEAD in resolve(str(directory)).weights.names(), "what the message says to type"


def test_a_tied_embedding_that_is_stored_as_the_head_alone(tiny_model: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    rewrite(directory, lambda tensors: {HEAD if name == EMBEDDING else name: t for name, t in tensors.items()})
    weights = resolve(str(directory)).weights
    assert weights.inventory.parameters[HEAD] == EMBEDDING
    loaded = load_model(resolve(str(directory)), torch.float32)
    assert torch.equal(loaded.get_parameter(EMBEDDING), Checkpoint(tiny_model).tensor(EMBEDDING))
    there = aligned(Checkpoint(tiny_model), weights, "other")
    assert torch.equal(there.tensor(EMBEDDING), Checkpoint(tiny_model).tensor(EMBEDDING))
    assert set(_shapes(resolve(str(tiny_model)))) == set(Checkpoint(tiny_model).names())
    with pytest.raises(InputError, match=r"stores model\.embed_tokens\.weight under the name lm_head\.weight alone"):
        _shapes(resolve(str(directory)))


def test_a_finetune_of_gpt2_stores_its_parameters_under_a_prefix(tmp_path: Path) -> None:
    """The files of `gpt2` on the Hub have no prefix; `save_pretrained` writes one."""
    base = Checkpoint(rewrite(tiny_models.save_model(tmp_path / "base", GPT2), without_prefix))
    tuned = Checkpoint(tiny_models.save_model(tmp_path / "tuned", GPT2, seed=1))
    assert "h.0.ln_1.weight" in base.names()
    there, back = aligned(base, tuned, "tuned"), aligned(tuned, base, "base")
    assert there.names() == base.names()
    assert back.names() == tuned.names()
    for name in base.names():
        assert torch.equal(there.tensor(name), tuned.tensor(f"transformer.{name}"))
        assert torch.equal(back.tensor(f"transformer.{name}"), base.tensor(name))


def prefixed(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def inside(wrapper: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {
        re.sub(r"layers\.(\d)\.", rf"layers.\1.{wrapper}.", name): tensor for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(
    ("rename", "mapping"),
    [
        (prefixed("_orig_mod."), {"_orig_mod.": ""}),
        (inside("_orig_mod"), {"_orig_mod.": ""}),
        (inside("_checkpoint_wrapped_module"), {"_checkpoint_wrapped_module.": ""}),
        (prefixed("module."), {"^module.": ""}),
    ],
    ids=["torch.compile", "compiled layers", "activation checkpointing", "DDP"],
)
def test_the_names_of_a_wrapped_model_are_refused_with_what_to_type(
    rename: Callable[[Tensors], Tensors], mapping: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    directory = rewrite(Path(shutil.copytree(tiny_model, tmp_path / "model")), rename)
    with pytest.raises(InputError, match="was saved from a wrapped model") as refused:
        resolve(str(directory)).weights.names()
    assert f"key_mapping={mapping}" in str(refused.value)
    assert "\n" not in str(refused.value)
    renamed = AutoModelForCausalLM.from_pretrained(directory, key_mapping=mapping)
    renamed.save_pretrained(tmp_path / "renamed", save_original_format=False)
    assert inspect(Checkpoint(tmp_path / "renamed")) == inspect(Checkpoint(tiny_model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            plus({"model.layers.0.mlp.gate.weight": torch.ones(4)}),
            r"has the tensor model\.layers\.0\.mlp\.gate\.",
        ),
        (plus({"score.weight": torch.ones(2, 32)}), r"has the tensor score\.weight, which LlamaForCausalLM has not"),
        (plus({"model.layers.0.self_attn.bias": torch.ones(32)}), r"has the tensor model\.layers\.0\.self_attn\.bias"),
        (
            lambda t: {n: t[n] for n in t if "layers.1.mlp.up" not in n},
            r"lacks the tensor model\.layers\.1\.mlp\.up",
        ),
        (
            lambda t: {n.replace("mlp.up_proj", "mlp.w3"): v for n, v in t.items()},
            r"lacks the tensor .*0\.mlp\.up_proj\.weight of LlamaForCausalLM and has .*0\.mlp\.w3\.",
        ),
        (
            lambda t: {n: v[:, :8].contiguous() if "up_proj" in n else v for n, v in t.items()},
            r"up_proj\.weight has shape \(48, 8\) in the checkpoint and \(48, 32\) in the model",
        ),
    ],
    ids=["a gate", "a classifier's head", "a bias that is no mask", "a tensor less", "other names", "another shape"],
)
def test_anything_else_is_refused_by_name(
    change: Callable[[Tensors], Tensors], message: str, tiny_model: Path, tmp_path: Path
) -> None:
    model = resolve(str(rewrite(Path(shutil.copytree(tiny_model, tmp_path / "model")), change)))
    with pytest.raises(InputError, match=message):
        model.weights.names()
    with pytest.raises(InputError, match=message):
        load_model(model, torch.float32)


def test_a_loaded_tensor_that_is_not_the_stored_one_is_refused(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Any = AutoModelForCausalLM.from_pretrained
    name = "model.layers.1.mlp.up_proj.weight"

    def changed(*given: object, **settings: object) -> object:
        answer = load(*given, **settings)
        with torch.no_grad():
            answer[0].get_parameter(name)[3, 5] += 1e-6
        return answer

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", changed)
    with pytest.raises(InputError, match=rf"transformers changes the tensor {re.escape(name)} when it loads it"):
        load_model(resolve(str(tiny_model)), torch.float32)


def save_deepseek(directory: Path, *, in_parts: bool = False) -> Path:
    """Save a mixture of experts whose router has a buffer that is stored, fused or expert by expert as on the Hub."""
    settings: dict[str, Any] = {
        **tiny_models.SHAPE,
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 8,
        "first_k_dense_replace": 1,
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    config = DeepseekV3Config(**settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(directory, save_original_format=in_parts)
    tiny_models.tokenizer().save_pretrained(directory)
    return directory


def test_a_buffer_that_the_model_loads_stays_and_differs_in_no_finetune(tmp_path: Path) -> None:
    base = Checkpoint(save_deepseek(tmp_path / "base"))
    buffer = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert list(base.inventory.buffers) == [buffer]
    assert buffer not in base.names()
    tuned = Path(shutil.copytree(tmp_path / "base", tmp_path / "tuned"))
    rewrite(tuned, lambda tensors: {**tensors, buffer: tensors[buffer] + 1})
    with pytest.raises(InputError, match=rf"its {re.escape(buffer)} has other values than the origin's"):
        resized_embeddings(base, Checkpoint(tuned), "tuned")
    assert inspect(Checkpoint(tuned)) != inspect(base)


def test_experts_in_the_format_of_the_hub_are_known_by_their_parts(tmp_path: Path) -> None:
    loaded = load_model(resolve(str(save_deepseek(tmp_path / "whole"))), torch.float32)
    model = resolve(str(save_deepseek(tmp_path / "parts", in_parts=True)))
    parts = model.weights.inventory.parts
    assert len(parts) == 3 * 4
    assert set(parts.values()) == {f"model.layers.1.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")}
    assert set(parts) < set(model.weights.names())
    again = load_model(model, torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), loaded.parameters(), strict=True))
    with pytest.raises(InputError, match=r"mlp\.experts\.down_proj is stored under another name"):
        parameters_of(again, model.weights)


def test_a_saved_blend_has_the_moved_values_in_every_copy(tiny_model: Path, tmp_path: Path) -> None:
    add = EXTRA["inv_freq, as in Llama 2"][1]
    base = resolve(str(tiny_model))
    tuned = resolve(str(moved(tiny_model, tmp_path / "tuned", 1, lambda tensors: add(with_head(tensors)))))
    (tmp_path / "tuned" / "consolidated.safetensors").write_bytes(b"another format, which transformers does not read")
    space = BlockSpace(base.weights, tuned.weights)
    save_blend(base, tuned, space, Point(None, (0.5,)), torch.float32, tmp_path / "blend")
    saved = load_file(tmp_path / "blend" / "model.safetensors")
    assert torch.equal(saved[HEAD], saved[EMBEDDING])
    for name in base.weights.names():
        half = (base.weights.tensor(name).double() + tuned.weights.tensor(name).double()) / 2
        torch.testing.assert_close(saved[name].double(), half, rtol=1e-6, atol=1e-6)
    blend = resolve(str(tmp_path / "blend"))
    assert blend.weights.names() == base.weights.names()
    load_model(blend, torch.float32)


FAMILIES: dict[str, tuple[PretrainedConfig, set[str]]] = {
    "llama": (tiny_models.llama_config(), {"input_layernorm", "post_attention_layernorm", "norm"}),
    "gpt2": (GPT2, {"ln_1", "ln_2", "ln_f"}),
    "qwen3": (
        Qwen3Config(**{**LLAMA, "model_type": "qwen3", "head_dim": 16, "layer_types": None}),
        {"input_layernorm", "post_attention_layernorm", "norm", "q_norm", "k_norm"},
    ),
    "gemma": (
        GemmaConfig(**{**LLAMA, "model_type": "gemma", "head_dim": 8}),
        {"input_layernorm", "post_attention_layernorm", "norm"},
    ),
    "opt": (
        OPTConfig(
            vocab_size=260,
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            word_embed_proj_dim=32,
        ),
        {"self_attn_layer_norm", "final_layer_norm"},
    ),
    "neox": (NEOX, {"input_layernorm", "post_attention_layernorm", "final_layer_norm"}),
}


@pytest.mark.parametrize(("config", "layers"), FAMILIES.values(), ids=FAMILIES)
def test_what_moves_is_what_moved_by_the_names(config: PretrainedConfig, layers: set[str], tmp_path: Path) -> None:
    weights = Checkpoint(tiny_models.save_model(tmp_path / "model", config))
    still = {name for name in weights.names() if is_norm_by_name(name)}
    assert weights.inventory.norms == still
    assert {name.split(".")[-2] for name in still} == layers
    by_type, by_name = RandomDirection(3, weights.inventory.norms), RandomDirection(3)
    for name in weights.names():
        origin = weights.tensor(name)
        assert torch.equal(by_type.tensor(name, origin), by_name.tensor(name, origin)), name


@pytest.mark.parametrize(
    ("config", "moves", "stays"),
    [
        (
            RobertaPreLayerNormConfig(**tiny_models.SHAPE, is_decoder=True),
            "roberta_prelayernorm.encoder.layer.0.attention.self.query.weight",
            "roberta_prelayernorm.encoder.layer.0.attention.LayerNorm.weight",
        ),
        (RwkvConfig(vocab_size=260, hidden_size=32, num_hidden_layers=2), "head.weight", "rwkv.blocks.0.ln1.weight"),
    ],
    ids=["a family with norm in its name", "a norm called ln1"],
)
def test_the_type_of_a_layer_decides_where_names_mislead(config: PretrainedConfig, moves: str, stays: str) -> None:
    with torch.device("meta"):
        norms = norms_of(AutoModelForCausalLM.from_config(config))
    assert moves not in norms
    assert stays in norms
    assert is_norm_by_name(moves) or not is_norm_by_name(stays)


class Ln(torch.nn.Module):
    """A normalisation layer of a model's own code."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(4))


def test_a_layer_of_own_code_is_known_by_its_name() -> None:
    model = torch.nn.ModuleDict({"ln_1": Ln(), "mixer": Ln(), "norm_mlp": torch.nn.Linear(4, 4)})
    assert norms_of(model) == {"ln_1.scale"}


def test_a_configuration_that_changed_is_read_again(tiny_model: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    assert resolve(str(directory)).weights.names()
    config = AutoConfig.from_pretrained(directory)
    config.num_hidden_layers = 3
    config.save_pretrained(directory)
    with pytest.raises(InputError, match=r"lacks the tensor model\.layers\.2"):
        resolve(str(directory)).weights.names()
