"""Quantised checkpoints: the dequantised model has the values that its files mean, or is refused by name."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, FineGrainedFP8Config, GptOssConfig
from transformers.utils.quantization_config import Mxfp4Config

from helpers import families
from helpers.quantisers import (
    Quantiser,
    awq,
    compressed,
    edit_config,
    edit_tensors,
    four_bits,
    fp8,
    gptq,
    int8_rows,
    mxfp4,
    quantise,
)
from helpers.tiny_models import llama_config, logits_of, peft_logits, save_adapter, save_model
from safescape import InputError
from safescape.weights import Checkpoint, ModelWeights, resolve
from safescape.weights.files import Stored, tensors_of
from safescape.weights.quantised.bitsandbytes import bitsandbytes_recipes
from safescape.weights.quantised.fp8 import fp8_recipes
from safescape.weights.quantised.gptq import gptq_recipes
from safescape.weights.quantised.recipes import Quantised

DOWN = "model.layers.0.mlp.down_proj"
TOKENS = torch.arange(4, 44).view(2, 20)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFESCAPE_HOME", str(tmp_path / "home"))


def is_cached(tmp_path: Path) -> bool:
    """Whether anything is in the cache; locks and partial directories do not count."""
    held = (tmp_path / "home" / "dequantised").glob("*")
    return any(path.is_dir() and not path.name.startswith(".") for path in held)


def check_values(directory: Path, meant: dict[str, Tensor], source: Path) -> None:
    """Check that a model's tensors are the values that are meant, rounded to fp32 once, and the others as they were."""
    plain = load_file(source / "model.safetensors")
    weights = resolve(str(directory)).weights
    assert isinstance(weights, Checkpoint)
    assert sorted(weights.stored) == sorted(plain)
    for name in plain:
        found = weights.tensor(name)
        if name in meant:
            assert found.dtype == torch.float32
            assert torch.equal(found, meant[name].float()), name
        else:
            assert torch.equal(found, plain[name]), name


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": False, "sym": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True, "version": "gemm"}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}
BITS_4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
BITS_8 = {"quant_method": "bitsandbytes", "load_in_8bit": True}

FLOAT: dict[str, Any] = {"is_packed": False, "is_float": True}
FP8_SCHEME: dict[str, Any] = {"type": "float", "format": "float-quantized"}


def scheme(
    strategy: str, *, bits: int = 8, format: str = "pack-quantized", targets: str = "Linear", **weights: Any
) -> dict[str, Any]:
    """Return the `quantization_config` that compressed-tensors writes; `weights` are settings of its weights."""
    held = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": strategy, "dynamic": False, **weights}
    held["group_size"] = 16 if strategy == "group" else None
    inputs = {"num_bits": 8, "type": held["type"], "symmetric": True, "strategy": "token", "dynamic": True}
    group = {"targets": [targets], "weights": held, "input_activations": None if "pack" in format else inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


EXACT: dict[str, tuple[Quantiser, dict[str, Any]]] = {
    "FP8 in blocks": (fp8((16, 16)), FP8),
    "FP8 in blocks that are cut off": (fp8((20, 12)), {**FP8, "weight_block_size": [20, 12]}),
    "FP8 in blocks larger than a layer": (fp8((128, 128)), {"quant_method": "fp8"}),
    "FP8 with bf16 scales": (fp8((16, 16), scale_dtype=torch.bfloat16), FP8),
    "FP8 with powers of two": (fp8((16, 16), scale_dtype=torch.float8_e8m0fnu), {**FP8, "scale_fmt": "ue8m0"}),
    "FP8 with exponents in bytes": (fp8((16, 16), scale_dtype=torch.uint8), FP8),
    "FP8 by tensor": (fp8(None), {**FP8, "weight_block_size": None}),
    "FP8 by tensor, one number": (
        fp8(None, scale_name="weight_scale", shape=(1,)),
        {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]},
    ),
    "GPTQ": (gptq(4, 16), GPTQ),
    "GPTQ without groups": (gptq(4, -1), {**GPTQ, "group_size": -1}),
    "GPTQ without g_idx": (gptq(4, 16, has_index=False), GPTQ),
    "GPTQ, the last group shorter": (gptq(4, 20), {**GPTQ, "group_size": 20}),
    "GPTQ, 8 bits": (gptq(8, 16), {**GPTQ, "bits": 8}),
    "GPTQ, desc_act": (gptq(4, 16, is_ordered=True), {**GPTQ, "desc_act": True}),
    "GPTQ, desc_act, 8 bits": (gptq(8, 16, is_ordered=True), {**GPTQ, "desc_act": True, "bits": 8}),
    "GPTQ v2, by another key": (gptq(4, 16, stored_less=0), {**GPTQ, "format": "gptq_v2"}),
    "GPTQ v2": (gptq(4, 16, stored_less=0), {**GPTQ, "checkpoint_format": "gptq_v2"}),
    "compressed W4A16": (compressed(4, "group"), scheme("group", bits=4)),
    "compressed W4A16, not symmetric": (
        compressed(4, "group", has_zeros=True),
        scheme("group", bits=4, symmetric=False),
    ),
    "compressed W4A16, ordered": (compressed(4, "group", is_ordered=True), scheme("group", bits=4, actorder="group")),
    "compressed W4A16, fp16": (compressed(4, "group", scale_dtype=torch.float16), scheme("group", bits=4)),
    "compressed W4A16, said to be frozen": (
        compressed(4, "group"),
        {**scheme("group", bits=4), "quantization_status": "frozen"},
    ),
    "compressed W8A16": (compressed(8, "channel"), scheme("channel")),
    "compressed W8A16, not symmetric": (
        compressed(8, "channel", has_zeros=True),
        scheme("channel", symmetric=False),
    ),
    "compressed W3A16": (compressed(3, "group"), scheme("group", bits=3)),
    "compressed W8A8": (compressed(8, "channel", is_packed=False), scheme("channel", format="int-quantized")),
    "compressed W8A8, by tensor": (compressed(8, "tensor", is_packed=False), scheme("tensor", format="int-quantized")),
    "compressed W8A8, not symmetric": (
        compressed(8, "channel", is_packed=False, has_zeros=True),
        scheme("channel", format="int-quantized", symmetric=False),
    ),
    "compressed FP8": (compressed(8, "channel", **FLOAT), scheme("channel", **FP8_SCHEME)),
    "compressed FP8, fp32 scales": (
        compressed(8, "tensor", scale_dtype=torch.float32, **FLOAT),
        scheme("tensor", **FP8_SCHEME),
    ),
    "compressed FP8, naive": (
        compressed(8, "tensor", **FLOAT),
        scheme("tensor", type="float", format="naive-quantized"),
    ),
    "compressed FP8 in blocks": (
        compressed(8, "block", **FLOAT),
        scheme("block", block_structure=[16, 16], **FP8_SCHEME),
    ),
    "compressed FP8 in blocks that are cut off": (
        compressed(8, "block", size=(12, 20), **FLOAT),
        scheme("block", block_structure=[12, 20], **FP8_SCHEME),
    ),
    "AWQ": (awq(16), AWQ),
    "AWQ by another key": (awq(16), {**{key: AWQ[key] for key in AWQ if key != "version"}, "format": "gemm"}),
    "AWQ without groups": (awq(-1), {**AWQ, "group_size": -1}),
}


@pytest.mark.parametrize("kind", EXACT)
def test_values_are_those_that_the_files_mean_rounded_once(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    layer, section = EXACT[kind]
    meant = quantise(tiny_model, tmp_path / "model", layer, section)
    check_values(tmp_path / "model", meant, tiny_model)


CLOSE: dict[str, tuple[Quantiser, dict[str, Any]]] = {
    "int8": (int8_rows(), BITS_8),
    "int8 of an older version": (int8_rows(has_format=False), BITS_8),
    "nf4": (four_bits("nf4"), BITS_4),
    "nf4, a last block that is shorter": (four_bits("nf4", block=128), BITS_4),
    "nf4, doubly quantised": (four_bits("nf4", nested_block=4), BITS_4),
    "fp4": (four_bits("fp4"), {**BITS_4, "bnb_4bit_quant_type": "fp4"}),
    "fp4, doubly quantised": (four_bits("fp4", nested_block=256), BITS_4),
}


@pytest.mark.parametrize("kind", CLOSE)
def test_bitsandbytes_values_are_computed_in_fp32(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    layer, section = CLOSE[kind]
    meant = quantise(tiny_model, tmp_path / "model", layer, section)
    weights = resolve(str(tmp_path / "model")).weights
    for name, values in meant.items():
        # Two or three roundings of fp32, each of at most 2**-24 of the largest term.
        largest = values.abs().max().item()
        assert (weights.tensor(name).double() - values).abs().max().item() <= 3 * 2**-24 * max(largest, 0.5), name


@pytest.mark.parametrize("kind", ["FP8 in blocks", "FP8 by tensor", "FP8 with powers of two"])
def test_fp8_is_dequantised_as_transformers_does(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    layer, section = EXACT[kind]
    meant = quantise(tiny_model, tmp_path / "model", layer, section, skip="layers.1.mlp.down_proj|q_proj")
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model",
        dtype=torch.float32,
        quantization_config=FineGrainedFP8Config(
            weight_block_size=section["weight_block_size"],
            modules_to_not_convert=["lm_head", "model.layers.1.mlp.down_proj", "q_proj"],
            dequantize=True,
        ),
    )
    weights = resolve(str(tmp_path / "model")).weights
    assert meant
    for name, tensor in theirs.state_dict().items():
        if name != "lm_head.weight":
            assert torch.equal(weights.tensor(name), tensor), name


def test_layers_that_are_not_quantised_stay_as_they_are(tiny_model: Path, tmp_path: Path) -> None:
    section = {**FP8, "modules_to_not_convert": ["model.layers.1.mlp.down_proj", "lm_head"]}
    meant = quantise(tiny_model, tmp_path / "model", fp8((16, 16)), section, skip=r"layers\.1\.mlp\.down_proj")
    assert "model.layers.1.mlp.down_proj.weight" not in meant
    check_values(tmp_path / "model", meant, tiny_model)


def test_a_bf16_models_other_tensors_stay_in_bf16(tiny_model: Path, tmp_path: Path) -> None:
    quantise(tiny_model, tmp_path / "model", fp8((16, 16)), FP8)
    edit_tensors(tmp_path / "model", lambda held: held.update({"model.norm.weight": torch.ones(32).bfloat16()}))
    weights = resolve(str(tmp_path / "model")).weights
    assert weights.tensor("model.norm.weight").dtype == torch.bfloat16


def test_experts_are_dequantised_under_their_own_names(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "qwen3_moe",
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        eos_token_id=0,
        pad_token_id=0,
    )
    source = save_model(tmp_path / "source", config)
    meant = quantise(source, tmp_path / "model", fp8((16, 16)), FP8)
    assert "model.layers.0.mlp.experts.3.up_proj.weight" in meant
    check_values(tmp_path / "model", meant, source)
    edit_tensors(source, lambda held: held.update({name: values.float() for name, values in meant.items()}))
    assert torch.equal(logits_of(str(tmp_path / "model"), TOKENS), logits_of(str(source), TOKENS))


@pytest.mark.parametrize("kind", ["FP8 in blocks", "GPTQ, desc_act", "AWQ"])
def test_the_model_answers_as_one_with_those_weights(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    layer, section = EXACT[kind]
    meant = quantise(tiny_model, tmp_path / "model", layer, section)
    plain = Path(shutil.copytree(tiny_model, tmp_path / "plain"))
    edit_tensors(plain, lambda held: held.update({name: values.float() for name, values in meant.items()}))
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
    with torch.no_grad():
        expected = model(input_ids=TOKENS).logits
    assert torch.equal(logits_of(str(tmp_path / "model"), TOKENS), expected)


def test_an_adapter_on_a_quantised_base(tiny_model: Path, tmp_path: Path) -> None:
    meant = quantise(tiny_model, tmp_path / "base", four_bits("nf4", nested_block=4), BITS_4)
    plain = Path(shutil.copytree(tiny_model, tmp_path / "plain"))
    edit_tensors(plain, lambda held: held.update({name: values.float() for name, values in meant.items()}))
    adapter = save_adapter(plain, tmp_path / "adapter")
    found = logits_of(f"{tmp_path / 'base'}+{adapter}", TOKENS)
    assert torch.allclose(found, peft_logits(plain, TOKENS, adapter), atol=1e-4)


def test_tokenizer_template_and_generation_settings_are_kept(tiny_model: Path, tmp_path: Path) -> None:
    quantise(tiny_model, tmp_path / "model", gptq(4, 16), GPTQ)
    named = tmp_path / "model" / "additional_chat_templates"
    named.mkdir()
    (named / "tools.jinja").write_text("{{ messages }}")
    (tmp_path / "model" / "generation_config.json").write_text('{"repetition_penalty": 1.3}')
    (tmp_path / "model" / "quantize_config.json").write_text('{"bits": 4}')
    found = resolve(str(tmp_path / "model")).directory
    kept = {str(path.relative_to(found)): path.read_bytes() for path in found.rglob("*") if path.is_file()}
    given = {
        str(path.relative_to(tmp_path / "model")): path.read_bytes()
        for path in (tmp_path / "model").rglob("*")
        if path.is_file() and path.name not in ("config.json", "model.safetensors", "quantize_config.json")
    }
    assert {name: held for name, held in kept.items() if name not in ("config.json", "model.safetensors")} == given
    before = json.loads((tmp_path / "model" / "config.json").read_text())
    assert json.loads(kept["config.json"]) == {
        key: each for key, each in before.items() if key != "quantization_config"
    }


def test_a_conversion_is_cached_by_content(tiny_model: Path, tmp_path: Path) -> None:
    quantise(tiny_model, tmp_path / "model", gptq(4, 16), GPTQ)
    first = resolve(str(tmp_path / "model")).directory
    written = (first / "model.safetensors").stat().st_mtime_ns
    moved = shutil.copytree(tmp_path / "model", tmp_path / "moved")
    assert resolve(str(moved)).directory == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    edit_tensors(moved, lambda held: held[f"{DOWN}.scales"].mul_(2))
    assert resolve(str(moved)).directory != first
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    other = resolve(str(tmp_path / "model")).directory
    assert other != first
    assert (other / "chat_template.jinja").read_text() == "{{ messages[0]['content'] }}"


def test_scales_of_activations_are_left_out(tiny_model: Path, tmp_path: Path) -> None:
    meant = quantise(tiny_model, tmp_path / "model", fp8(None, scale_name="weight_scale"), {"quant_method": "fp8"})
    names = [f"{DOWN}.input_scale", "model.layers.0.self_attn.k_scale", "model.layers.0.self_attn.k_proj.output_scale"]
    edit_tensors(tmp_path / "model", lambda held: held.update({name: torch.tensor(0.5) for name in names}))
    check_values(tmp_path / "model", meant, tiny_model)


def test_a_bias_and_a_zero_point_of_0_are_left_out(tiny_model: Path, tmp_path: Path) -> None:
    meant = quantise(tiny_model, tmp_path / "gptq", gptq(4, 16), GPTQ)
    edit_tensors(tmp_path / "gptq", _set(bias=torch.zeros(32)))
    check_values(tmp_path / "gptq", meant, tiny_model)
    section = scheme("channel", format="int-quantized")
    meant = quantise(tiny_model, tmp_path / "int", compressed(8, "channel", is_packed=False), section)
    edit_tensors(tmp_path / "int", _set(weight_zero_point=torch.zeros(32, 1, dtype=torch.int8)))
    check_values(tmp_path / "int", meant, tiny_model)
    edit_tensors(tmp_path / "int", _set(weight_zero_point=torch.ones(32, 1, dtype=torch.int8)))
    with pytest.raises(InputError, match=f"the checkpoint has the tensor {DOWN}.weight_zero_point"):
        resolve(str(tmp_path / "int"))


def test_a_bias_that_the_model_has_is_kept(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", llama_config(attention_bias=True))
    edit_tensors(source, lambda held: held["model.layers.0.self_attn.q_proj.bias"].normal_())
    meant = quantise(source, tmp_path / "model", gptq(4, 16), GPTQ)
    check_values(tmp_path / "model", meant, source)


(DEEPSEEK,) = (family for family in families.FAMILIES if family.model_type == "deepseek_v3")


def test_deepseek_v3_with_latent_attention_and_a_further_layer(tmp_path: Path) -> None:
    source = families.save(DEEPSEEK, tmp_path / "source")
    # The layer that predicts a further token is in DeepSeek's files, and transformers does not load it.
    further = "model.layers.61.mlp.experts.0.up_proj"
    section = {**FP8, "weight_block_size": [20, 12]}
    layers = r"model\.layers\.\d+\..*_proj(_with_mqa)?|model\.layers\.\d+\..*_[ab](_proj)?"
    meant = quantise(source, tmp_path / "model", fp8((20, 12)), section, layers=layers, skip=r"mlp\.gate$")
    assert "model.layers.1.mlp.experts.0.up_proj.weight" in meant
    assert "model.layers.0.self_attn.kv_a_proj_with_mqa.weight" in meant
    made = fp8((20, 12))(16, 32, torch.Generator().manual_seed(0))
    edit_tensors(
        tmp_path / "model", lambda held: held.update({f"{further}.{key}": each for key, each in made.tensors.items()})
    )
    check_values(tmp_path / "model", meant, source)


def test_experts_in_one_tensor() -> None:
    values = torch.randn(3, 20, 32).mul(100).to(torch.float8_e4m3fn)
    scales = torch.rand(3, 2, 2)
    held = {"experts.gate_up_proj": values, "experts.gate_up_proj_scale_inv": scales}
    stored = {
        name: Stored(Path("model.safetensors"), "F8_E4M3" if tensor is values else "F32", tuple(tensor.shape))
        for name, tensor in held.items()
    }
    recipe = fp8_recipes(Quantised("experts", FP8, stored, lambda name: held[name]))["experts.gate_up_proj"]
    found = recipe.compute(values, scales)
    for expert in range(3):
        for row in range(20):
            expected = values[expert, row].double() * scales[expert, row // 16].double().repeat_interleave(16)
            assert torch.equal(found[expert, row], expected.float())


def test_shards(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safescape.weights.shards._SHARD", "20KB")
    meant = quantise(tiny_model, tmp_path / "model", awq(16), AWQ)
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "model.safetensors").unlink()
    half = {name: tensor for name, tensor in tensors.items() if "qzeros" in name}
    parts = {"model-00001-of-00002.safetensors": half, "model-00002-of-00002.safetensors": tensors}
    for file, held in parts.items():
        save_file(
            {name: each for name, each in held.items() if (name in half) == (held is half)}, tmp_path / "model" / file
        )
    index = {name: f"model-0000{1 if name in half else 2}-of-00002.safetensors" for name in tensors}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    check_values(tmp_path / "model", meant, tiny_model)
    assert len(list(resolve(str(tmp_path / "model")).directory.glob("*.safetensors"))) > 2


def test_the_section_of_a_text_model_inside_another(tmp_path: Path) -> None:
    text = llama_config().to_dict()
    config = AutoConfig.for_model("llava", text_config=text, vision_config={"model_type": "clip_vision_model", **SMALL})
    source = save_model(tmp_path / "source", config)
    layers = r".*language_model\..*_proj"
    quantise(source, tmp_path / "model", fp8((16, 16)), FP8, layers=layers)
    held = json.loads((tmp_path / "model" / "config.json").read_text())
    held["text_config"]["quantization_config"] = held.pop("quantization_config")
    (tmp_path / "model" / "config.json").write_text(json.dumps(held))
    found = json.loads((resolve(str(tmp_path / "model")).directory / "config.json").read_text())
    assert "quantization_config" not in found["text_config"]


SMALL = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "projection_dim": 16,
}


def _set(**tensors: Tensor) -> Callable[[dict[str, Tensor]], object]:
    return lambda held: held.update({f"{DOWN}.{name.replace('___', '.')}": each for name, each in tensors.items()})


def _without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda held: held.pop(f"{DOWN}.{name}")


DAMAGED: dict[str, tuple[str, Callable[[dict[str, Tensor]], object], dict[str, Any], str]] = {
    "FP8 without a scale": ("FP8 in blocks", _without("weight_scale_inv"), {}, r"lacks its .*weight_scale_inv or"),
    "FP8 with a scale of another shape": (
        "FP8 in blocks",
        _set(weight_scale_inv=torch.ones(3, 2)),
        {},
        r"is F32 of shape \[3, 2\], and by weight_block_size = \(16, 16\) .* it would be .* of shape \[2, 3\]",
    ),
    "FP8 in other blocks than config.json says": (
        "FP8 in blocks",
        lambda held: None,
        {"weight_block_size": [8, 16]},
        r"by weight_block_size = \(8, 16\) for .* it would be",
    ),
    "FP8 with one scale where config.json has blocks": (
        "FP8 in blocks",
        _set(weight_scale_inv=torch.ones(1)),
        {},
        r"of shape \[1\], and by weight_block_size",
    ),
    "FP8 with integers as scales": (
        "FP8 in blocks",
        _set(weight_scale_inv=torch.ones(2, 3, dtype=torch.int32)),
        {},
        "is I32 of shape",
    ),
    "FP8 with half a block size": ("FP8 in blocks", lambda held: None, {"weight_block_size": [16]}, "two numbers"),
    "FP8 with a word as block size": ("FP8 in blocks", lambda held: None, {"weight_block_size": "16"}, "two numbers"),
    "FP8 with NaN": (
        "FP8 in blocks",
        _set(weight=torch.full((32, 48), math.nan).to(torch.float8_e4m3fn)),
        {},
        "holds NaN or infinity once it is dequantised",
    ),
    "FP8 of another shape than the model": (
        "FP8 by tensor",
        _set(weight=torch.ones(16, 48).to(torch.float8_e4m3fn)),
        {},
        r"has shape \(16, 48\) in the checkpoint and \(32, 48\) in the model",
    ),
    "FP8 with a scale that scales nothing": (
        "FP8 in blocks",
        lambda held: held.update({"model.norm.weight_scale_inv": torch.ones(1, 1)}),
        {},
        "the checkpoint has the tensor model.norm.weight_scale_inv, which LlamaForCausalLM has not",
    ),
    "FP8, a layer missing": (
        "FP8 in blocks",
        lambda held: [held.pop(f"{DOWN}.{name}") for name in ("weight", "weight_scale_inv")],
        {},
        f"the checkpoint lacks the tensor {DOWN}.weight",
    ),
    "FP8 that is E5M2": (
        "FP8 in blocks",
        _set(weight=torch.ones(32, 48).to(torch.float8_e5m2)),
        {},
        "is F8_E5M2 of shape .*, and by quant_method = fp8 it would be F8_E4M3",
    ),
    "GPTQ of 3 bits": ("GPTQ", lambda held: None, {"bits": 3}, "quantised with bits = 3, and can be .* with 4 or 8"),
    "GPTQ of true bits": ("GPTQ", lambda held: None, {"bits": True}, "quantised with bits = True"),
    "GPTQ without bits": ("GPTQ", lambda held: None, {"bits": None}, "quantised with bits = None"),
    "GPTQ of 8 bits, says config.json": ("GPTQ", lambda held: None, {"bits": 8}, "it would be"),
    "GPTQ with other groups": ("GPTQ", lambda held: None, {"group_size": 32}, "and by bits = 4 and group_size = 32"),
    "GPTQ with groups of 0": ("GPTQ", lambda held: None, {"group_size": 0}, "group_size = 0"),
    "GPTQ without scales": ("GPTQ", _without("scales"), {}, "lacks its .*scales"),
    "GPTQ without zeros": ("GPTQ", _without("qzeros"), {}, "lacks its .*qzeros"),
    "GPTQ, desc_act, without groups": (
        "GPTQ, desc_act",
        _without("g_idx"),
        {},
        "lacks its .*g_idx",
    ),
    "GPTQ, desc_act, said not to be": (
        "GPTQ, desc_act",
        lambda held: None,
        {"desc_act": False},
        "does not have the inputs in order",
    ),
    "GPTQ with a group that is not there": (
        "GPTQ, desc_act",
        _set(g_idx=torch.full((48,), 3, dtype=torch.int32)),
        {},
        "names the group 3 or 3, and there are 3",
    ),
    "GPTQ with a zero point of 0": (
        "GPTQ",
        _set(qzeros=torch.full((3, 4), -1, dtype=torch.int32)),
        {},
        "has a zero point of 0 in the layout gptq, which libraries read in different ways",
    ),
    "GPTQ for Marlin": ("GPTQ", lambda held: None, {"checkpoint_format": "marlin"}, "checkpoint_format = marlin"),
    "AWQ for GEMV": ("AWQ", lambda held: None, {"version": "gemv"}, "quantised with version = gemv"),
    "AWQ for GEMV by another key": (
        "AWQ",
        lambda held: None,
        {"version": None, "format": "gemv"},
        "quantised with format = gemv",
    ),
    "GPTQ with a bias that the model has not": (
        "GPTQ",
        _set(bias=torch.ones(32)),
        {},
        f"the checkpoint has the tensor {DOWN}.bias, which LlamaForCausalLM has not",
    ),
    "AWQ of 8 bits": ("AWQ", lambda held: None, {"bits": 8}, "quantised with bits = 8"),
    "AWQ without zero points": ("AWQ", lambda held: None, {"zero_point": False}, "quantised with zero_point = False"),
    "AWQ that is GPTQ": ("GPTQ", lambda held: None, {**AWQ}, "it would be"),
    "AWQ with a word as group size": ("AWQ", lambda held: None, {"group_size": "all"}, "group_size = all"),
    "AWQ with half of a layer": ("AWQ", _set(qweight=torch.ones(24, 4, dtype=torch.int32)), {}, "it would be"),
    "int8 without scales": ("int8", _without("SCB"), {}, "lacks its .*SCB"),
    "int8 in columns": ("int8", _set(weight_format=torch.tensor(1, dtype=torch.uint8)), {}, "only rows"),
    "int8 with another row": ("int8", _set(SCB=torch.ones(31)), {}, r"is F32 of shape \[31\]"),
    "nf4 without a state": ("nf4", _without("weight.quant_state.bitsandbytes__nf4"), {}, "lacks its .*nf4 or .*fp4"),
    "nf4 without scales": ("nf4", _without("weight.absmax"), {}, "lacks its .*absmax"),
    "nf4 with a state that is no JSON": (
        "nf4",
        _set(weight___quant_state___bitsandbytes__nf4=torch.ones(5, dtype=torch.uint8)),
        {},
        "is not a quant_state of bitsandbytes",
    ),
    "nf4 of the wrong size": (
        "nf4",
        _set(weight=torch.ones(700, 1, dtype=torch.uint8)),
        {},
        r"is U8 of shape \[700, 1\], and by .*quant_state.* it would be",
    ),
    "nf4, scales of scales missing": (
        "nf4, doubly quantised",
        _without("weight.nested_absmax"),
        {},
        "lacks its .*nested_absmax",
    ),
    "plain weights, said to be GPTQ": ("FP8 in blocks", lambda held: None, {**GPTQ}, "its files hold no such tensor"),
    "FP8, said to be AWQ": ("FP8 in blocks", lambda held: None, {**AWQ}, "its files hold no such tensor"),
    "a tensor twice": (
        "GPTQ",
        _set(weight=torch.ones(32, 48)),
        {},
        f"has {DOWN}.weight twice, as it is and quantised as {DOWN}.qweight",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_damaged_is_refused_and_not_cached(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    of, damage, settings, said = DAMAGED[kind]
    layer, section = {**EXACT, **CLOSE}[of]
    quantise(tiny_model, tmp_path / "model", layer, section)
    edit_tensors(tmp_path / "model", damage)
    edit_config(tmp_path / "model", quantization_config={**section, **settings})
    with pytest.raises(InputError, match=said) as refused:
        resolve(str(tmp_path / "model"))
    assert "\n" not in str(refused.value)
    assert not is_cached(tmp_path)


def test_bitsandbytes_values_are_those_of_the_library() -> None:
    # The file was written by bitsandbytes 0.50.2; its metadata says how.
    path = Path(__file__).with_name("bitsandbytes_layers.safetensors")
    held, stored = load_file(path), tensors_of(path)
    recipes = bitsandbytes_recipes(Quantised("layers", BITS_4, stored, lambda name: held[name]))
    assert len(recipes) == 5
    for name, recipe in recipes.items():
        found = recipe.compute(*(held[source] for source in recipe.sources))
        assert torch.equal(found, held[name.replace(".weight", ".dequantised")]), name


@pytest.mark.parametrize("kind", [kind for kind in EXACT if "compressed" in kind and "cut off" not in kind])
def test_compressed_weights_are_those_of_the_library(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    from compressed_tensors.entrypoints.convert.converters.ct_dequantizer import CompressedTensorsDequantizer

    layer, section = EXACT[kind]
    meant = quantise(tiny_model, tmp_path / "model", layer, section)
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    dtype = tensors[f"{DOWN}.weight_scale"].dtype
    others = ["model.embed_tokens", "re:.*norm"]
    theirs = CompressedTensorsDequantizer(str(tmp_path / "model"), others, dtype).process(tensors)
    weights = resolve(str(tmp_path / "model")).weights
    for name in meant:
        assert torch.equal(weights.tensor(name).to(dtype), theirs[name]), name


def test_awq_weights_are_those_of_a_library(tiny_model: Path, tmp_path: Path) -> None:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter

    meant = quantise(tiny_model, tmp_path / "model", awq(16), AWQ)
    converter = AutoAWQConverter.from_autoawq_config(AWQ)
    theirs = converter.process(load_file(tmp_path / "model" / "model.safetensors"))
    (group,) = converter.create_config().config_groups.values()
    weights = resolve(str(tmp_path / "model")).weights
    for name in meant:
        stem = name.removesuffix("weight")
        held = {each.removeprefix(stem): tensor for each, tensor in theirs.items() if each.startswith(stem)}
        expected = BaseCompressor.get_value_from_registry("pack-quantized").decompress(held, group)["weight"]
        assert torch.equal(weights.tensor(name).half(), expected), name


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("is_ordered", [False, True], ids=["in order", "desc_act"])
def test_gptq_values_are_those_of_the_library(bits: int, is_ordered: bool) -> None:
    # The file was written by AutoGPTQ 0.7.1; its metadata says how.
    path = Path(__file__).with_name("gptq_layers.safetensors")
    layer = f"{bits}_bits{'_ordered' if is_ordered else ''}"
    held = {name: tensor for name, tensor in load_file(path).items() if name.startswith(f"{layer}.")}
    stored = {name: each for name, each in tensors_of(path).items() if name in held}
    section = {**GPTQ, "bits": bits, "desc_act": is_ordered}
    (recipe,) = gptq_recipes(Quantised("layers", section, stored, lambda name: held[name])).values()
    found = recipe.compute(*(held[source] for source in recipe.sources))
    assert torch.equal(found.half(), held[f"{layer}.dequantised"])


def test_layers_are_compressed_in_ways_that_their_names_choose(tiny_model: Path, tmp_path: Path) -> None:
    section = scheme("channel", format="int-quantized")
    packed = scheme("group", bits=4, targets=r"re:.*mlp.*_proj$")["config_groups"]["group_0"]
    plain = section["config_groups"]["group_0"]
    section["format"] = "mixed-precision"
    section["config_groups"] = {
        "group_0": {**plain, "format": "int-quantized"},
        "group_1": {**packed, "format": "pack-quantized"},
    }
    first = quantise(tiny_model, tmp_path / "first", compressed(4, "group"), section, layers=r".*mlp.*_proj")
    rest = compressed(8, "channel", is_packed=False)
    second = quantise(tmp_path / "first", tmp_path / "model", rest, section, layers=r".*self_attn.*_proj")
    check_values(tmp_path / "model", first | second, tiny_model)


def test_compressed_tensors_has_to_be_installed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantise(tiny_model, tmp_path / "model", compressed(8, "channel"), scheme("channel"))
    monkeypatch.setitem(sys.modules, "compressed_tensors.quantization", None)
    with pytest.raises(
        InputError,
        match=r"0\.17 or newer is not installed; type pip install 'safescape\[quantised\]'",
    ):
        resolve(str(tmp_path / "model"))
    assert not is_cached(tmp_path)


def gpt_oss(directory: Path) -> Path:
    config = GptOssConfig(
        vocab_size=260,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=8,
        eos_token_id=0,
        pad_token_id=0,
    )
    return save_model(directory, config)


MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}


def as_mxfp4(source: Path, target: Path) -> dict[str, Tensor]:
    """Quantise the experts of a gpt-oss, and return the values that they mean."""
    shutil.copytree(source, target)
    edit_config(target, quantization_config=MXFP4)
    generator = torch.Generator().manual_seed(2)
    meant = {}

    def change(held: dict[str, Tensor]) -> None:
        for name in sorted(name for name in held if re.search(r"experts\.(gate_up|down)_proj$", name)):
            experts, columns, rows = held.pop(name).shape
            blocks = torch.randint(256, (experts, rows, columns // 32, 16), generator=generator, dtype=torch.uint8)
            scales = torch.randint(118, 124, (experts, rows, columns // 32), generator=generator, dtype=torch.uint8)
            held |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            meant[name] = mxfp4(blocks, scales).transpose(1, 2)

    edit_tensors(target, change)
    return meant


def test_mxfp4_values_are_exact_in_bf16_and_those_of_transformers(tmp_path: Path) -> None:
    source = gpt_oss(tmp_path / "source")
    meant = as_mxfp4(source, tmp_path / "model")
    weights = resolve(str(tmp_path / "model")).weights
    plain = load_file(source / "model.safetensors")
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.bfloat16, quantization_config=Mxfp4Config(dequantize=True)
    ).state_dict()
    assert len(meant) == 4
    assert sorted(weights.names()) == sorted(plain)
    for name, tensor in plain.items():
        found = weights.tensor(name)
        if name in meant:
            assert found.dtype == torch.bfloat16
            assert torch.equal(found.double(), meant[name]), name
            assert torch.equal(found, theirs[name]), name
        else:
            assert torch.equal(found, tensor), name


def test_a_gpt_oss_in_mxfp4_answers_as_transformers(tmp_path: Path) -> None:
    as_mxfp4(gpt_oss(tmp_path / "source"), tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float32, quantization_config=Mxfp4Config(dequantize=True)
    )
    with torch.no_grad():
        expected = theirs.float()(input_ids=TOKENS).logits
    assert torch.allclose(logits_of(str(tmp_path / "model"), TOKENS), expected, atol=1e-5)


EXPERT = "model.layers.0.mlp.experts.down_proj"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda held: held.pop(f"{EXPERT}_scales"), f"{EXPERT}_blocks lacks its {EXPERT}_scales"),
        (lambda held: held.pop(f"{EXPERT}_blocks"), f"lacks the tensor {EXPERT} of GptOss.* has {EXPERT}_scales"),
        (lambda held: held[f"{EXPERT}_scales"].fill_(255), "holds NaN or infinity once it is dequantised"),
        (
            lambda held: held.update({f"{EXPERT}_scales": torch.ones(4, 64, 2, dtype=torch.uint8)}),
            r"is U8 of shape \[4, 64, 2\], and by .* it would be U8 of shape \[4, 64, 1\]",
        ),
        (
            lambda held: held.update({f"{EXPERT}_blocks": torch.ones(4, 64, 1, 8, dtype=torch.uint8)}),
            r"it would be U8 of shape \[4, 64, 1, 16\]",
        ),
    ],
    ids=["no scales", "no blocks", "NaN", "more scales", "half blocks"],
)
def test_damaged_mxfp4_is_refused(damage: Callable[[dict[str, Tensor]], object], said: str, tmp_path: Path) -> None:
    as_mxfp4(gpt_oss(tmp_path / "source"), tmp_path / "model")
    edit_tensors(tmp_path / "model", damage)
    with pytest.raises(InputError, match=said):
        resolve(str(tmp_path / "model"))
    assert not is_cached(tmp_path)


def groups_of(size: int) -> dict[str, Any]:
    """Return the groups of a configuration with as many inputs in a group of scales."""
    held = scheme("group", bits=4)["config_groups"]["group_0"]
    return {"group_0": {**held, "weights": {**held["weights"], "group_size": size}}}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"format": "nvfp4-pack-quantized"}, "is compressed as nvfp4-pack-quantized, .* cannot be decompressed"),
        ({"format": "int-quantized"}, "is compressed as int-quantized, and .*weight_packed is I32"),
        ({"ignore": ["re:.*down_proj"]}, r"weight_packed is compressed, but by config.json .* is not"),
        ({"config_groups": {}}, "is compressed, but by config.json"),
        (
            {"transform_config": {"config_groups": {"u": {"type": "hadamard"}}}},
            "have a transform_config in config.json",
        ),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "have a sparsity_config in config.json"),
        ({"config_groups": {"W99": ["Linear"]}}, "compressed-tensors cannot read the quantization_config"),
        ({"config_groups": 3}, "compressed-tensors cannot read the quantization_config"),
        ({"config_groups": groups_of(20)}, "has scales by group for 48 inputs, expected"),
        (scheme("group", bits=8), "it would be I32 of shape"),
        (scheme("group", bits=4, symmetric=False), "lacks its .*weight_zero_point"),
        (scheme("group", bits=4, actorder="group"), "lacks its .*weight_g_idx"),
        (scheme("group", bits=4, actorder="dynamic"), "lacks its .*weight_g_idx"),
        (scheme("channel", bits=4), "by scales by channel for"),
        (scheme("group", bits=4, type="float"), "is packed with float of 4 bits"),
        (scheme("tensor_group", bits=4), "cannot read the quantization_config|has scales by tensor_group"),
    ],
    ids=str,
)
def test_a_config_that_contradicts_compressed_weights(
    settings: dict[str, Any], said: str, tiny_model: Path, tmp_path: Path
) -> None:
    section = scheme("group", bits=4)
    quantise(tiny_model, tmp_path / "model", compressed(4, "group"), section)
    edit_config(tmp_path / "model", quantization_config={**section, **settings})
    with pytest.raises(InputError, match=said):
        resolve(str(tmp_path / "model"))
    assert not is_cached(tmp_path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without("weight_scale"), "lacks its .*weight_scale"),
        (_without("weight_shape"), "lacks its .*weight_shape"),
        (_set(weight_shape=torch.tensor([32, 64])), r"it would be I32 of shape \[32, 8\]"),
        (_set(weight_shape=torch.tensor([32])), "of shape"),
        (_set(weight_scale=torch.ones(32, 1)), r"is F32 of shape \[32, 1\], and by scales by group"),
        (_set(weight_g_idx=torch.zeros(48, dtype=torch.int32)), "does not name 3 groups of 16 inputs"),
    ],
    ids=["no scale", "no shape", "another shape", "half a shape", "other scales", "one group"],
)
def test_damaged_compressed_weights(
    damage: Callable[[dict[str, Tensor]], object], said: str, tiny_model: Path, tmp_path: Path
) -> None:
    quantise(tiny_model, tmp_path / "model", compressed(4, "group"), scheme("group", bits=4))
    edit_tensors(tmp_path / "model", damage)
    with pytest.raises(InputError, match=said):
        resolve(str(tmp_path / "model"))
    assert not is_cached(tmp_path)


ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 4, 8, 10**12, 1.5, "", "4", "gemm"),
    *([], [0, 0], [10**9] * 2, {}, {"a": 1}, [[]]),
)


@pytest.mark.parametrize("kind", ["FP8 in blocks", "GPTQ", "AWQ", "nf4, doubly quantised", "compressed W4A16"])
def test_odd_settings_are_refused_in_one_line_or_change_nothing(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    layer, section = {**EXACT, **CLOSE}[kind]
    meant = quantise(tiny_model, tmp_path / "model", layer, section)
    expected = resolve(str(tmp_path / "model")).weights
    chance = random.Random(kind)
    for _ in range(25):
        changed = json.loads(json.dumps(section))
        places = [changed]
        if "compressed" in kind:
            places += [changed["config_groups"], changed["config_groups"]["group_0"]]
            places.append(changed["config_groups"]["group_0"]["weights"])
        place = chance.choice(places)
        place[chance.choice([*place, "format", "actorder", "zero_point"])] = chance.choice(ODD)
        edit_config(tmp_path / "model", quantization_config=changed)
        outcome = weights_or_refusal(tmp_path / "model")
        if isinstance(outcome, str):
            assert "\n" not in outcome
        else:
            for name in meant:
                assert torch.equal(outcome.tensor(name), expected.tensor(name)), (changed, name)


def weights_or_refusal(directory: Path) -> ModelWeights | str:
    try:
        return resolve(str(directory)).weights
    except InputError as error:
        return str(error)
