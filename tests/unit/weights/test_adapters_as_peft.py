"""BASE+ADAPTER has the logits of PEFT's own model, or is refused by name; every field of PEFT's is decided."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GptOssConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

from helpers.tiny_models import SHAPE, llama_config, logits_of, peft_logits, save_adapter, save_model
from safescape import InputError
from safescape.survey import Point
from safescape.weights import Adapted, BlockSpace, Checkpoint, InterpolationDirection, resolve, save_rescaled
from safescape.weights.lora_config import EXACT_FIELDS, FIELDS_WITHOUT_EFFECT, REFUSED_FIELDS

TOKENS = torch.arange(4, 40)[None]
ENDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
BASES: dict[str, PretrainedConfig] = {
    "llama, tied": llama_config(),
    "llama, untied": llama_config(tie_word_embeddings=False),
    "gpt2": GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=512, **ENDS),
    "gpt2, untied": GPT2Config(
        vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=512, tie_word_embeddings=False, **ENDS
    ),
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=False, **ENDS),
    "qwen2, tied": Qwen2Config(**SHAPE, tie_word_embeddings=True, **ENDS),
    "gpt-oss": GptOssConfig(**SHAPE, head_dim=8, num_local_experts=3, num_experts_per_tok=2, sliding_window=8, **ENDS),
    "qwen3 moe": Qwen3MoeConfig(**SHAPE, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=16, **ENDS),
    "qwen2 moe": Qwen2MoeConfig(
        **SHAPE,
        num_experts=3,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        **ENDS,
    ),
    "mixtral": MixtralConfig(**SHAPE, num_local_experts=3, num_experts_per_tok=2, **ENDS),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("bases")
    return {name: save_model(directory / name.replace(", ", "-"), config) for name, config in BASES.items()}


def check(base: Path, *adapters: Path) -> None:
    """Compare the logits with PEFT's, which differ from the base's."""
    mine = logits_of("+".join(map(str, (base, *adapters))), TOKENS)
    theirs = peft_logits(base, TOKENS, *adapters)
    assert (mine - theirs).abs().max() < 1e-5
    assert (mine - logits_of(str(base), TOKENS)).abs().max() > 1e-3


ATTENTION = {"target_modules": ["q_proj", "down_proj"]}
PLAIN = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "other ranks": {"rank_pattern": {r"layers\.0\..*_proj": 2, "q_proj": 3}, "alpha_pattern": {"down_proj": 3}},
    "one layer": {"layers_to_transform": [1]},
    "one layer of a list": {"layers_to_transform": 0, "layers_pattern": "layers"},
    "a pattern": {"target_modules": r".*\.(k_proj|up_proj)"},
    "all linear layers": {"target_modules": "all-linear"},
    "without one": {"exclude_modules": ["layers.0.self_attn.q_proj"]},
    "DoRA": {"use_dora": True},
    "DoRA, rank-stabilised": {"use_dora": True, "use_rslora": True, "rank_pattern": {"q_proj": 2}},
    "norms whole": {"modules_to_save": ["norm"]},
    "a layer whole": {"modules_to_save": ["mlp"], "target_modules": ["q_proj"]},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "minor components": {"init_lora_weights": "mica"},
    "random": {"init_lora_weights": False},
    "rows": {"trainable_token_indices": [5, 17, 30]},
}


@pytest.mark.parametrize("base", ["llama, tied", "llama, untied", "qwen2", "qwen2, tied"])
@pytest.mark.parametrize("settings", PLAIN.values(), ids=PLAIN.keys())
def test_what_peft_loads_is_exact(bases: dict[str, Path], tmp_path: Path, base: str, settings: dict[str, Any]) -> None:
    check(bases[base], save_adapter(bases[base], tmp_path / "adapter", **settings))


ON_QWEN = {
    "biases of the layers": {"bias": "lora_only"},
    "all biases": {"bias": "all"},
    "biases of the pairs": {"lora_bias": True, "target_modules": ["q_proj", "v_proj"]},
}


@pytest.mark.parametrize("settings", ON_QWEN.values(), ids=ON_QWEN.keys())
def test_biases_are_exact(bases: dict[str, Path], tmp_path: Path, settings: dict[str, Any]) -> None:
    check(bases["qwen2"], save_adapter(bases["qwen2"], tmp_path / "adapter", **settings))


ON_GPT2 = {
    "fan-in layers": {"target_modules": ["c_attn", "c_fc"]},
    "square ones": {"target_modules": ["attn.c_proj"]},
    "said to be fan-out": {"target_modules": ["c_attn", "attn.c_proj"], "fan_in_fan_out": False},
    "DoRA": {"target_modules": ["c_attn", "c_proj"], "use_dora": True},
    "all biases": {"target_modules": ["c_attn"], "bias": "all"},
    "biases of the pairs": {"target_modules": ["c_attn", "c_proj"], "lora_bias": True},
    "norms whole": {"target_modules": ["c_attn"], "modules_to_save": ["ln_f", "ln_1"]},
    "rows": {"target_modules": ["c_attn"], "trainable_token_indices": [5, 17]},
    "positions": {"target_modules": ["c_attn", "wpe"]},
}


@pytest.mark.parametrize("settings", ON_GPT2.values(), ids=ON_GPT2.keys())
def test_layers_that_store_their_weight_transposed(
    bases: dict[str, Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    check(bases["gpt2"], save_adapter(bases["gpt2"], tmp_path / "adapter", **settings))


EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
ON_GPT_OSS: dict[str, dict[str, Any]] = {
    "all experts": {"target_modules": [], "target_parameters": EXPERTS},
    # OpenAI's recipe for gpt-oss
    "experts of some layers, and all linear layers": {
        "target_modules": "all-linear",
        "target_parameters": ["0.mlp.experts.gate_up_proj", "1.mlp.experts.down_proj"],
    },
    "other ranks": {
        "target_parameters": EXPERTS,
        "target_modules": ["q_proj"],
        "rank_pattern": {"experts.down_proj": 2, r"0\.mlp\.experts\.gate_up_proj": 3},
        "alpha_pattern": {"experts.gate_up_proj": 5},
        "use_rslora": True,
    },
    "biases and the router": {
        "target_modules": ["k_proj"],
        "target_parameters": [*EXPERTS, "experts.down_proj_bias", "experts.gate_up_proj_bias", "router.weight"],
    },
    "the weight of a linear layer": {"target_modules": ["k_proj"], "target_parameters": ["q_proj.weight"]},
}


@pytest.mark.parametrize("settings", ON_GPT_OSS.values(), ids=ON_GPT_OSS.keys())
def test_parameters_of_experts(bases: dict[str, Path], tmp_path: Path, settings: dict[str, Any]) -> None:
    base = bases["gpt-oss"]
    adapter = save_adapter(base, tmp_path / "adapter", **settings)
    check(base, adapter)
    check(base, adapter, save_adapter(base, tmp_path / "second", r=3, lora_alpha=2, **settings))


@pytest.mark.parametrize("kind", ["qwen3 moe", "qwen2 moe", "mixtral"])
def test_experts_of_which_the_files_have_each_by_itself(bases: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """Their matrices are (outputs, inputs), and two of them lie in one parameter of the live model."""
    settings: dict[str, Any] = {"target_modules": ["q_proj"], "target_parameters": EXPERTS}
    published = bases[kind]
    adapter = save_adapter(published, tmp_path / "adapter", **settings)
    check(published, adapter)
    check(published, adapter, save_adapter(published, tmp_path / "second", r=3, lora_alpha=2, **settings))
    stacked = shutil.copytree(published, tmp_path / "stacked")
    (stacked / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(published).save_pretrained(stacked, save_original_format=False)
    check(stacked, adapter)


def test_experts_that_are_saved_whole_need_the_base_as_it_is_live(bases: dict[str, Path], tmp_path: Path) -> None:
    published = bases["qwen3 moe"]
    adapter = save_adapter(published, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["experts"])
    with pytest.raises(InputError, match=r"stores under another name; merge the adapter into its base"):
        resolve(f"{published}+{adapter}")


FORMER = {
    "qwen3 moe": ["q_proj", "gate", "gate_proj", "up_proj", "down_proj"],
    "mixtral": ["q_proj", "gate", "w1", "w2", "w3"],
}


def of_transformers_4(base: Path, directory: Path, targets: Sequence[str]) -> Path:
    """Save a random adapter as PEFT did with transformers 4, where each expert had linear layers of its own."""
    torch.manual_seed(1)
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        module = name.removesuffix(".weight")
        if tensor.dim() == 2 and module.rpartition(".")[2] in targets:
            outputs, inputs = tensor.shape
            tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(4, inputs) * 0.1
            tensors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(outputs, 4) * 0.1
    directory.mkdir()
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": [*targets]}
    (directory / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(base)}))
    return directory


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match")
@pytest.mark.parametrize("kind", FORMER)
@pytest.mark.parametrize("router", [True, False])
def test_pairs_of_single_experts(bases: dict[str, Path], tmp_path: Path, kind: str, *, router: bool) -> None:
    """Adapters of transformers 4, with the names of the files, such as Mixtral's `block_sparse_moe.gate`."""
    targets = [target for target in FORMER[kind] if router or target != "gate"]
    adapter = of_transformers_4(bases[kind], tmp_path / "adapter", targets)
    check(bases[kind], adapter)


def test_pairs_of_single_experts_beside_a_shared_one(bases: dict[str, Path], tmp_path: Path) -> None:
    """PEFT 0.21 loses the pairs of the shared expert, so the truth is arithmetic on the files."""
    base = bases["qwen2 moe"]
    adapter = of_transformers_4(base, tmp_path / "adapter", ["gate", "gate_proj", "up_proj", "down_proj"])
    pairs, merged = load_file(adapter / "adapter_model.safetensors"), load_file(base / "model.safetensors")
    for key in pairs:
        if key.endswith(".lora_A.weight"):
            module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            change = pairs[key.replace("lora_A", "lora_B")].double() @ pairs[key].double()
            merged[f"{module}.weight"] = (merged[f"{module}.weight"].double() + 2 * change).float()
    assert sum("shared_expert" in key for key in pairs) == 12
    directory = shutil.copytree(base, tmp_path / "merged")
    save_file(merged, directory / "model.safetensors", metadata={"format": "pt"})
    mine = logits_of(f"{base}+{adapter}", TOKENS)
    assert (mine - logits_of(str(directory), TOKENS)).abs().max() < 1e-5


def test_pairs_of_single_experts_have_to_be_there_for_all(bases: dict[str, Path], tmp_path: Path) -> None:
    base = bases["mixtral"]
    adapter = of_transformers_4(base, tmp_path / "adapter", FORMER["mixtral"])
    tensors = load_file(adapter / "adapter_model.safetensors")

    def refused(changed: dict[str, Tensor], match: str) -> None:
        save_file(changed, adapter / "adapter_model.safetensors")
        with pytest.raises(InputError, match=match):
            resolve(f"{base}+{adapter}")

    kept = {key: tensor for key, tensor in tensors.items() if "experts.1.w2" not in key}
    refused(kept, r"lacks the pair for model\.layers\.[01]\.block_sparse_moe\.experts\.1\.w2, which adapter_config")
    kept = {key: tensor for key, tensor in tensors.items() if "0.block_sparse_moe.experts.1.w2.lora_A" not in key}
    refused(kept, r"half of the adapter's pair for .*experts\.1\.w2\.weight is missing")
    more = {key.replace("experts.1", "experts.7"): tensor.clone() for key, tensor in tensors.items()}
    refused({**tensors, **more}, r"changes .*experts\.7\.w1\.weight, which the base does not have")
    wide = {key: tensor.T.contiguous() if "experts.1.w2" in key else tensor for key, tensor in tensors.items()}
    refused(wide, r"the adapter's .*experts\.1\.w2\.weight has shape .* give the base that the adapter was trained on")
    bias = {"base_model.model.model.layers.0.block_sparse_moe.experts.0.w1.lora_B.bias": torch.ones(3)}
    refused(tensors | bias, "for which PEFT has no place")


def test_parameters_without_a_pair_or_of_another_shape_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    base = bases["gpt-oss"]
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["q_proj"], target_parameters=EXPERTS)
    given = f"{base}+{adapter}"
    change_config(adapter, target_parameters=[*EXPERTS, "router.weight"])
    with pytest.raises(InputError, match=r"lacks the pair for model\.layers\.0\.mlp\.router\.weight, which target_par"):
        resolve(given)
    change_config(adapter, target_parameters=EXPERTS[:1])
    with pytest.raises(InputError, match=r"the adapter changes model\.layers\.0\.mlp\.experts\.base_layer"):
        resolve(given)
    change_config(adapter, target_parameters=["no_such.weight"])
    with pytest.raises(InputError, match="target_parameters names no parameter of the base"):
        resolve(given)
    change_config(adapter, target_parameters=[*EXPERTS, "q_proj.weight"])
    with pytest.raises(InputError, match=r"targets model\.layers\.0\.self_attn\.q_proj both as a layer and by its"):
        resolve(given)
    change_config(adapter, target_parameters=EXPERTS, rank_pattern={"experts.gate_up_proj": 2})
    with pytest.raises(
        InputError, match=r"experts\.gate_up_proj has shape .*give the base that the adapter was trained"
    ):
        resolve(given)


def test_the_type_of_a_layer_decides_and_not_the_configuration(bases: dict[str, Path], tmp_path: Path) -> None:
    """PEFT writes the orientation of the last layer; on GPT-2 the head is a linear layer, all others are not."""
    base = bases["gpt2, untied"]
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["attn.c_proj", "lm_head"])
    check(base, adapter)
    document = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**document, "fan_in_fan_out": True}))
    check(base, adapter)


def without_prefix(base: Path, directory: Path) -> Path:
    """Copy a GPT-2 with the names of GPT-2's own files, `h.0.attn` for what the model calls `transformer.h.0.attn`."""
    shutil.copytree(base, directory)
    tensors = load_file(directory / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(bare, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def test_a_checkpoint_without_the_prefix_of_its_base_model(bases: dict[str, Path], tmp_path: Path) -> None:
    base = without_prefix(bases["gpt2"], tmp_path / "base")
    check(base, save_adapter(base, tmp_path / "adapter", target_modules=["c_attn", "c_proj"]))


EMBEDDINGS: dict[str, dict[str, Any]] = {
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "embedding, DoRA": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
    "embedding whole": {"modules_to_save": ["embed_tokens"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "head, DoRA": {"target_modules": ["lm_head"], "use_dora": True},
    "head whole": {"modules_to_save": ["lm_head"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "both whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "rows of both": {"trainable_token_indices": {"embed_tokens": [5, 9], "lm_head": [7]}},
}


@pytest.mark.parametrize("settings", EMBEDDINGS.values(), ids=EMBEDDINGS.keys())
def test_embedding_and_head(bases: dict[str, Path], tmp_path: Path, settings: dict[str, Any]) -> None:
    """They are exact where they are two tensors, and refused where they are one that would have two values."""
    check(bases["llama, untied"], save_adapter(bases["llama, untied"], tmp_path / "untied", **settings))
    tied = save_adapter(bases["llama, tied"], tmp_path / "tied", **settings)
    with pytest.raises(InputError, match=r"gives .* different values, but the base ties the head .* untie the base"):
        resolve(f"{bases['llama, tied']}+{tied}")


def test_a_base_is_untied_as_the_page_of_the_error_says(bases: dict[str, Path], tmp_path: Path) -> None:
    tied = bases["llama, tied"]
    adapter = save_adapter(tied, tmp_path / "adapter", **EMBEDDINGS["embedding"])
    model: Any = AutoModelForCausalLM.from_pretrained(tied, tie_word_embeddings=False)
    model.lm_head.weight.data = model.get_input_embeddings().weight.data.clone()
    model.save_pretrained(tmp_path / "untied")
    mine = logits_of(f"{tmp_path / 'untied'}+{adapter}", TOKENS)
    assert (mine - peft_logits(tied, TOKENS, adapter)).abs().max() < 1e-5


TIED = {
    "pairs": {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
    "whole": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "rows": {"trainable_token_indices": [5, 9], "ensure_weight_tying": True},
    "rows of both": {"trainable_token_indices": {"embed_tokens": [5, 9], "lm_head": [5, 9]}},
}


@pytest.mark.parametrize("settings", TIED.values(), ids=TIED.keys())
@pytest.mark.parametrize("base", ["llama, tied", "qwen2, tied"])
def test_an_adapter_that_keeps_the_head_tied(
    bases: dict[str, Path], tmp_path: Path, base: str, settings: dict[str, Any]
) -> None:
    check(bases[base], save_adapter(bases[base], tmp_path / "adapter", **settings))


STARTS = ("pissa", "pissa_niter_4", "olora")


@pytest.mark.parametrize("start", STARTS)
def test_a_start_that_changes_the_base_is_refused(bases: dict[str, Path], tmp_path: Path, start: str) -> None:
    adapter = save_adapter(bases["llama, untied"], tmp_path / "adapter", init_lora_weights=start)
    with pytest.raises(InputError, match=rf"init_lora_weights is '{start}', which changes the base .*conversion="):
        resolve(f"{bases['llama, untied']}+{adapter}")


@pytest.mark.parametrize("start", STARTS)
def test_a_converted_adapter_is_plain(bases: dict[str, Path], tmp_path: Path, start: str) -> None:
    """PEFT's conversion writes the difference from the unchanged base as a pair of twice the rank."""
    base = bases["qwen2"]
    torch.manual_seed(1)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    config: Any = LoraConfig(**settings, init_lora_weights=start)  # type: ignore[arg-type]
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    config.init_lora_weights = True
    model.save_pretrained(str(tmp_path / "start"))
    config.init_lora_weights = start
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        trained = model.eval()(input_ids=TOKENS).logits
    model.save_pretrained(str(tmp_path / "adapter"), path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    assert (logits_of(f"{base}+{tmp_path / 'adapter'}", TOKENS) - trained).abs().max() < 1e-5


@pytest.mark.parametrize("start", ["loftq", "corda", "lora_ga", "a new one", 3])
def test_other_starts_are_refused(bases: dict[str, Path], tmp_path: Path, start: object) -> None:
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter")
    change_config(adapter, init_lora_weights=start)
    with pytest.raises(InputError, match=r"init_lora_weights is .* which changes the base"):
        resolve(f"{bases['qwen2']}+{adapter}")


def test_two_adapters_are_peft_s_sum(bases: dict[str, Path], tmp_path: Path) -> None:
    base = bases["qwen2"]
    one = save_adapter(base, tmp_path / "one", lora_alpha=4)
    other = save_adapter(base, tmp_path / "other", r=2, target_modules=["q_proj", "v_proj"], use_rslora=True)
    check(base, one, other)
    check(base, one, save_adapter(base, tmp_path / "third", target_modules=["v_proj"], use_dora=True))


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"modules_to_save": ["down_proj"], "target_modules": ["q_proj"]}]
)
def test_two_adapters_without_a_sum_are_refused(
    bases: dict[str, Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    base = bases["qwen2"]
    one, other = save_adapter(base, tmp_path / "one"), save_adapter(base, tmp_path / "other", **settings)
    for names in ((one, other), (other, one)):
        with pytest.raises(InputError, match=r"as the adapter in .* no sum; merge the first into its base"):
            resolve("+".join(map(str, (base, *names))))


def test_half_way_to_a_merged_adapter(bases: dict[str, Path], tmp_path: Path) -> None:
    """The direction toward BASE+ADAPTER is W' - W, whatever the adapter is made of."""
    base = Checkpoint(bases["qwen2"])
    settings = {"use_dora": True, "modules_to_save": ["norm"], "trainable_token_indices": [5]}
    adapted = Adapted(base, save_adapter(bases["qwen2"], tmp_path / "adapter", **settings))
    direction = InterpolationDirection(adapted)
    for name in base.names():
        origin = base.tensor(name)
        half = origin + 0.5 * direction.tensor(name, origin)
        torch.testing.assert_close(half, (origin + adapted.tensor(name).float()) / 2)
    assert not adapted.has_only_pairs


# --- every tensor of the file has its place, and every place its tensor


def change_config(adapter: Path, **changes: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_tensors(adapter: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = adapter / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


LAYER = "base_model.model.model.layers.0.self_attn."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: {name: t for name, t in tensors.items() if f"{LAYER}q_proj" not in name},
            r"lacks the pair for model\.layers\.0\.self_attn\.q_proj",
        ),
        (
            lambda tensors: {name: t for name, t in tensors.items() if name != f"{LAYER}q_proj.lora_A.weight"},
            r"half of the adapter's pair for model\.layers\.0\.self_attn\.q_proj\.weight is missing",
        ),
        (
            lambda tensors: tensors | {f"{LAYER}k_proj.lora_{x}.weight": torch.zeros(4, 4) for x in "AB"},
            r"has a pair for model\.layers\.0\.self_attn\.k_proj, which adapter_config\.json does not target",
        ),
        (
            lambda tensors: {name.replace(".layers", "._orig_mod.layers"): t for name, t in tensors.items()},
            r"the adapter changes .*_orig_mod.* which the base does not have",
        ),
        (
            lambda tensors: {name.removeprefix("base_model.model."): t for name, t in tensors.items()},
            r"holds model\.layers.*, for which PEFT has no place",
        ),
        (
            lambda tensors: tensors | {f"{LAYER}q_proj.lora_magnitude_vector": torch.ones(32)},
            r"holds .*lora_magnitude_vector, for which PEFT has no place",
        ),
        (
            lambda tensors: tensors | {f"{LAYER}q_proj.weight": torch.ones(32, 32)},
            r"holds .*q_proj\.weight, for which PEFT has no place",
        ),
        (
            lambda tensors: tensors | {f"{LAYER}k_proj.base_layer.weight": torch.ones(16, 32)},
            r"holds .*k_proj\.base_layer\.weight, for which PEFT has no place",
        ),
        (
            lambda tensors: {
                name: (t[:2] if "lora_A" in name else t[:, :2]).contiguous() for name, t in tensors.items()
            },
            r"has rank 2 at .*, adapter_config\.json says 4",
        ),
    ],
)
def test_a_file_that_does_not_fit_its_configuration_is_refused(
    bases: dict[str, Path], tmp_path: Path, change: Any, message: str
) -> None:
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter")
    change_tensors(adapter, change)
    with pytest.raises(InputError, match=message):
        resolve(f"{bases['qwen2']}+{adapter}")


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        ({}, {"target_modules": ["q_proj", "down_proj", "o_proj"]}, r"lacks the pair for .*o_proj"),
        ({}, {"target_modules": ["nothing"]}, "targets no module of the base"),
        ({}, {"target_modules": "(", "rank_pattern": {}}, "its patterns cannot be matched"),
        ({}, {"rank_pattern": {"(": 3}}, "its patterns cannot be matched"),
        ({}, {"modules_to_save": ["lm_head"]}, r"lacks lm_head\.weight, which modules_to_save"),
        ({}, {"trainable_token_indices": [3]}, r"lacks the rows of model\.embed_tokens"),
        ({}, {"use_dora": True}, "half of the adapter's pair"),
        ({}, {"r": "four"}, "r is 'four' .* so PEFT cannot read it"),
        ({}, {"alpha_pattern": {"q_proj": None}}, "alpha_pattern.q_proj is None"),
        ({}, {"use_new_method": True}, r"has the field use_new_method, which PEFT .* does not know"),
        ({"trainable_token_indices": [3]}, {"trainable_token_indices": None}, "for which PEFT has no place"),
        ({"trainable_token_indices": [3]}, {"trainable_token_indices": [300]}, "has 301 rows, the base's 260"),
        ({"trainable_token_indices": [3]}, {"trainable_token_indices": [3, 4]}, r"embed_tokens\.weight has shape"),
        ({"trainable_token_indices": [3]}, {"trainable_token_indices": [-1]}, r"trainable_token_indices.* is -1"),
    ],
)
def test_a_configuration_that_does_not_fit_its_file_is_refused(
    bases: dict[str, Path], tmp_path: Path, settings: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter", **settings)
    change_config(adapter, **changes)
    with pytest.raises(InputError, match=message):
        resolve(f"{bases['qwen2']}+{adapter}")


def test_an_empty_field_that_peft_does_not_know_is_nothing(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter")
    change_config(adapter, enable_lora=None, merge_weights=False)
    check(bases["qwen2"], adapter)


def test_a_resized_vocabulary(bases: dict[str, Path], tmp_path: Path) -> None:
    """PEFT saves the new rows; the base has to be resized first, as for PEFT."""
    base = bases["llama, untied"]
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(264)
    model.save_pretrained(tmp_path / "resized")
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(str(tmp_path / "adapter"))
    assert len([name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors") if "lora_" not in name])
    with pytest.raises(InputError, match=r"has 264 rows, the base's 260; .* resize_token_embeddings\(264\)"):
        resolve(f"{base}+{tmp_path / 'adapter'}")
    mine = logits_of(f"{tmp_path / 'resized'}+{tmp_path / 'adapter'}", TOKENS)
    assert torch.equal(mine, peft_logits(tmp_path / "resized", TOKENS, tmp_path / "adapter"))


def test_rows_of_added_tokens(bases: dict[str, Path], tmp_path: Path) -> None:
    """The common way to teach new tokens: resize the base, train their rows and an adapter."""
    for name in ("qwen2", "qwen2, tied"):
        resized = tmp_path / f"{name}, resized"
        model = AutoModelForCausalLM.from_pretrained(bases[name])
        model.resize_token_embeddings(264)
        model.save_pretrained(resized)
        adapter = save_adapter(resized, tmp_path / f"{name}, adapter", trainable_token_indices=[260, 263])
        assert (logits_of(f"{resized}+{adapter}", TOKENS) - peft_logits(resized, TOKENS, adapter)).abs().max() < 1e-5
        with pytest.raises(InputError, match=r"has 264 rows, the base's 260; .* resize_token_embeddings\(264\)"):
            resolve(f"{bases[name]}+{adapter}")


def test_another_number_of_heads_is_no_other_vocabulary(bases: dict[str, Path], tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", Qwen2Config(**{**SHAPE, "num_key_value_heads": 4}, **ENDS))
    adapter = save_adapter(other, tmp_path / "adapter", target_modules=["k_proj"])
    with pytest.raises(InputError, match=r"k_proj\.weight has shape \(32, 32\), the base's \(16, 32\); give the base"):
        resolve(f"{bases['qwen2']}+{adapter}")


def test_a_bias_of_a_pair_on_a_layer_without_one(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter", lora_bias=True)
    with pytest.raises(InputError, match=r"has a bias for .*down_proj, whose layer has none"):
        resolve(f"{bases['qwen2']}+{adapter}")


def test_adapters_inside_a_directory_are_named(bases: dict[str, Path], tmp_path: Path) -> None:
    """PEFT saves adapters with names of their own into directories of their names."""
    save_adapter(bases["qwen2"], tmp_path / "adapters" / "helpful")
    with pytest.raises(InputError, match=r"but adapters in helpful; give BASE\+.*adapters/helpful"):
        resolve(f"{bases['qwen2']}+{tmp_path / 'adapters'}")
    check(bases["qwen2"], tmp_path / "adapters" / "helpful")


def test_a_pickled_adapter_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter")
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    check(bases["qwen2"], adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="the adapter is pickled; save it again with safe_serialization=True"):
        resolve(f"{bases['qwen2']}+{adapter}")


def test_another_base_of_the_same_shape_is_said(
    bases: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The adapter names the base that it was trained on; it can be compared where that is a directory here."""
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter")
    other = save_model(tmp_path / "other", BASES["qwen2"], seed=1)
    copy = shutil.copytree(bases["qwen2"], tmp_path / "copy")
    with caplog.at_level(logging.WARNING):
        resolve(f"{bases['qwen2']}+{adapter}")
        resolve(f"{copy}+{adapter}")
        assert not caplog.messages
        resolve(f"{other}+{adapter}")
        change_config(adapter, base_model_name_or_path="unsloth/some-base-bnb-4bit")
        resolve(f"{other}+{adapter}")
    (message,) = caplog.messages
    assert f"was trained on {bases['qwen2']}, whose " in message
    assert message.endswith(f"differs from that of {other}")


JUNK: tuple[Any, ...] = (None, 0, -1, 2.5, "", "(", "x", [], [None], ["("], {}, {"(": 1}, {"x": None}, [[1]], True)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(LoraConfig)])
def test_no_value_of_a_field_ends_in_a_traceback(bases: dict[str, Path], tmp_path: Path, field: str) -> None:
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter")
    refused = []
    for value in JUNK:
        change_config(adapter, **{field: value})
        try:
            resolve(f"{bases['qwen2']}+{adapter}")
        except InputError as error:
            refused.append(str(error))
    assert not any("\n" in message for message in refused)
    assert refused or field in FIELDS_WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("base", "settings"),
    [
        ("qwen2", {"use_rslora": True}),
        ("gpt2", {"target_modules": ["c_attn", "attn.c_proj"]}),
        ("llama, tied", {"rank_pattern": {"q_proj": 2}}),
    ],
)
def test_an_adapter_is_saved_rescaled(
    bases: dict[str, Path], tmp_path: Path, base: str, settings: dict[str, Any]
) -> None:
    """A block of layers at α has α times the adapter's change; files without the base model's prefix as well."""
    directory = bases[base]
    if base == "gpt2":
        directory = without_prefix(directory, tmp_path / "base")
    under = Checkpoint(directory)
    adapted = Adapted(under, save_adapter(directory, tmp_path / "adapter", **settings))
    assert adapted.has_only_pairs
    space = BlockSpace(under, adapted, 2)
    save_rescaled(adapted, space, Point(None, (0.25, 0.5)), tmp_path / "rescaled")
    rescaled = Adapted(under, tmp_path / "rescaled")
    for names, alpha in zip(space.blocks, (0.25, 0.5), strict=True):
        for name in names:
            change = adapted.tensor(name).float() - under.tensor(name).float()
            torch.testing.assert_close(rescaled.tensor(name), under.tensor(name) + alpha * change)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"modules_to_save": ["norm"]},
        {"trainable_token_indices": [5]},
        {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
    ],
)
def test_an_adapter_of_more_than_pairs_cannot_be_rescaled(
    bases: dict[str, Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    base = bases["llama, tied"]
    adapted = Adapted(Checkpoint(base), save_adapter(base, tmp_path / "adapter", **settings))
    assert not adapted.has_only_pairs
    assert adapted.other_changes()


# --- every field of PEFT is decided


def test_every_field_is_in_one_group() -> None:
    fields = [field.name for field in dataclasses.fields(LoraConfig)]
    assert sorted([*EXACT_FIELDS, *FIELDS_WITHOUT_EFFECT, *REFUSED_FIELDS]) == sorted(fields)


def test_every_start_of_peft_s_is_decided(bases: dict[str, Path], tmp_path: Path) -> None:
    """A start either leaves the base of a fresh adapter as it was, or is refused."""
    _, literal = typing.get_args(typing.get_type_hints(LoraConfig)["init_lora_weights"])
    exact = {"gaussian", "eva", "orthogonal", "mica"}
    refused = {"olora", "pissa", "pissa_niter_[number of iters]", "corda", "loftq"}
    assert exact | refused == set(typing.get_args(literal))
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter")
    for start in sorted(exact):
        change_config(adapter, init_lora_weights=start)
        resolve(f"{bases['qwen2']}+{adapter}")
    for start in sorted(refused):
        change_config(adapter, init_lora_weights=start)
        with pytest.raises(InputError, match="which changes the base"):
            resolve(f"{bases['qwen2']}+{adapter}")


@pytest.mark.parametrize("field", REFUSED_FIELDS)
def test_a_refused_field_is_named(bases: dict[str, Path], tmp_path: Path, field: str) -> None:
    adapter = save_adapter(bases["qwen2"], tmp_path / "adapter")
    change_config(adapter, **{field: {"some": "setting"}})
    with pytest.raises(InputError, match=rf"uses {field}, which .*; merge the adapter into its base"):
        resolve(f"{bases['qwen2']}+{adapter}")
