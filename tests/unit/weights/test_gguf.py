"""GGUF files: the converted checkpoint answers as the model that was written, or the file is refused by name."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, dequantize
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from helpers import tiny_gguf
from helpers.tiny_gguf import TOKENS, metadata_of, tensors_of, write_gguf
from helpers.tiny_models import CHAT_TEMPLATE
from safescape import InputError
from safescape.weights import resolve
from safescape.weights.gguf.conversion import converted
from safescape.weights.gguf.file import read_gguf

EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
RMS = {"attention__layer_norm_rms_epsilon": 1e-6}
NORM = {"attention__layer_norm_epsilon": 1e-5}
HEAD = {"attention__key_length": 24, "attention__value_length": 24}
MOE = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFESCAPE_HOME", str(tmp_path / "home"))


def written(path: Path, made: PreTrainedModel, architecture: str, **changes: Any) -> Path:
    """Write a model; `changes` are keys of the metadata behind the architecture's name."""
    tensors = tensors_of(made, architecture, path.with_suffix(".model"))
    write_gguf(path, architecture, metadata_of(made.config, architecture, **changes), tensors)
    return path


def logits_of(made: PreTrainedModel, length: int = 80) -> torch.Tensor:
    tokens = torch.randint(len(TOKENS), (2, length), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found: torch.Tensor = made(tokens).logits
    return found


def loaded(directory: Path) -> PreTrainedModel:
    found: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return found


LLAMA = {**RMS, "rope__freq_base": 10000.0, "rope__dimension_count": 16}


def llama(**changes: Any) -> PreTrainedModel:
    return tiny_gguf.model("llama", rms_norm_eps=1e-6, **changes)


FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("llama", {"rms_norm_eps": 1e-6, "rope_theta": 5e5}, {**LLAMA, "rope__freq_base": 5e5}),
    "llama with wide heads": ("llama", {"rms_norm_eps": 1e-6, "head_dim": 24}, {**LLAMA, "rope__dimension_count": 24}),
    "llama with biases": ("llama", {"rms_norm_eps": 1e-6, "attention_bias": True}, LLAMA),
    "llama, linear": (
        "llama",
        {"rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
        {**LLAMA, "rope__scaling__type": "linear", "rope__scaling__factor": 4.0},
    ),
    "llama as mistral": (
        "mistral",
        {"rms_norm_eps": 1e-6, "sliding_window": 20},
        {**LLAMA, "attention__sliding_window": 20},
    ),
    "llama as mixtral": (
        "mixtral",
        {
            "rms_norm_eps": 1e-6,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": None,
            "rope_theta": 1e4,
        },
        {**LLAMA, "expert_count": 4, "expert_used_count": 2},
    ),
    "qwen2": (
        "qwen2",
        {"rms_norm_eps": 1e-6, "tie_word_embeddings": True, "rope_theta": 1e6},
        {**RMS, "rope__freq_base": 1e6},
    ),
    "qwen2, yarn": (
        "qwen2",
        {
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 128,
                "rope_theta": 1e6,
            },
        },
        {
            **RMS,
            "rope__freq_base": 1e6,
            "rope__scaling__type": "yarn",
            "rope__scaling__factor": 4.0,
            "rope__scaling__original_context_length": 128,
        },
    ),
    "qwen2moe": (
        "qwen2_moe",
        {"rms_norm_eps": 1e-6, **EXPERTS, "shared_expert_intermediate_size": 40, "rope_theta": 1e6},
        {**RMS, **MOE, "expert_shared_feed_forward_length": 40, "rope__freq_base": 1e6},
    ),
    "qwen3": (
        "qwen3",
        {"rms_norm_eps": 1e-6, "head_dim": 24, "rope_theta": 1e6},
        {**RMS, **HEAD, "rope__freq_base": 1e6},
    ),
    "qwen3moe": (
        "qwen3_moe",
        {"rms_norm_eps": 1e-6, "head_dim": 24, **EXPERTS, "norm_topk_prob": True, "rope_theta": 1e6},
        {**RMS, **HEAD, **MOE, "rope__freq_base": 1e6},
    ),
    "gemma": ("gemma", {"rms_norm_eps": 1e-6, "head_dim": 24}, {**RMS, **HEAD}),
    "gemma2": (
        "gemma2",
        {
            "rms_norm_eps": 1e-6,
            "head_dim": 24,
            "query_pre_attn_scalar": 24,
            "sliding_window": 20,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
        {
            **RMS,
            **HEAD,
            "attention__sliding_window": 20,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "gemma3_text",
        {
            "rms_norm_eps": 1e-6,
            "head_dim": 24,
            "query_pre_attn_scalar": 24,
            "sliding_window": 20,
            "num_hidden_layers": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
        {
            **RMS,
            **HEAD,
            "attention__sliding_window": 20,
            "rope__freq_base": 1e6,
            "rope__scaling__type": "linear",
            "rope__scaling__factor": 8.0,
        },
    ),
    "phi3": (
        "phi3",
        {"rms_norm_eps": 1e-6, "sliding_window": 20},
        {**RMS, "rope__dimension_count": 16, "attention__sliding_window": 20},
    ),
    "phi3 that rotates a part of each head": (
        "phi3",
        {"rms_norm_eps": 1e-6, "partial_rotary_factor": 0.75},
        {**RMS, "rope__dimension_count": 12, "attention__sliding_window": 0},
    ),
    "starcoder2": ("starcoder2", {"norm_epsilon": 1e-5, "rope_theta": 1e5}, {**NORM, "rope__freq_base": 1e5}),
    "stablelm": (
        "stablelm",
        {"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "use_qkv_bias": True},
        {**NORM, "rope__dimension_count": 4, "use_parallel_residual": True},
    ),
    "gpt2": (
        "gpt2",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 96, "n_inner": 96},
        {**NORM, "attention__head_count_kv": None, "context_length": 96},
    ),
    "bloom": (
        "bloom",
        {"n_layer": 2, "n_head": 4},
        {**NORM, "feed_forward_length": 256, "attention__head_count_kv": 4},
    ),
    "falcon": ("falcon", {"ffn_hidden_size": 96, "num_kv_heads": 1}, {**NORM, "attention__head_count_kv": 1}),
    "falcon of groups": (
        "falcon",
        {"ffn_hidden_size": 96, "num_kv_heads": 2, "new_decoder_architecture": True},
        NORM,
    ),
    "qwen2moe, first converter": (
        "qwen2_moe",
        {"rms_norm_eps": 1e-6, **EXPERTS, "shared_expert_intermediate_size": 40},
        {**RMS, "expert_count": 4, "expert_used_count": 2},
    ),
    "nemotron": ("nemotron", {"norm_eps": 1e-5, "partial_rotary_factor": 0.5}, {**NORM, "rope__dimension_count": 8}),
    # yarn with bounds that are not rounded, as its configuration has it by default
    "gpt-oss": (
        "gpt_oss",
        {
            "rms_norm_eps": 1e-6,
            "head_dim": 24,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 20,
        },
        {
            **RMS,
            **HEAD,
            **MOE,
            "expert_feed_forward_length": 96,
            "attention__sliding_window": 20,
            "rope__freq_base": 150000.0,
            "rope__scaling__type": "yarn",
            "rope__scaling__factor": 32.0,
            "rope__scaling__original_context_length": 4096,
        },
    ),
    "lfm2": (
        "lfm2",
        {
            "norm_eps": 1e-6,
            "layer_types": ["conv", "conv", "full_attention"],
            "num_hidden_layers": 3,
            "block_auto_adjust_ff_dim": False,
            "conv_L_cache": 4,
        },
        {**RMS, "attention__head_count_kv": [0, 0, 2], "shortconv__l_cache": 4, "rope__freq_base": 1e6},
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_answers_as_the_model_that_was_written(tmp_path: Path, name: str) -> None:
    model_type, settings, metadata = FAMILIES[name]
    made = tiny_gguf.model(model_type, **settings)
    architecture = name.split()[0].rstrip(",")
    directory = converted(written(tmp_path / "model.gguf", made, architecture, **metadata))
    assert torch.equal(logits_of(loaded(directory)), logits_of(made))
    words = AutoTokenizer.from_pretrained(directory)
    text = "<|user|>A bad cab, 12 é<|end|>"
    assert words(text)["input_ids"] == tiny_gguf.tokenizer()(text)["input_ids"]
    assert words.chat_template == CHAT_TEMPLATE
    assert words.eos_token == words.pad_token == "<|end|>"


QUANTISED = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
RAW = ["Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ2_XXS", "IQ1_S", "MXFP4", "TQ2_0"]


@pytest.mark.parametrize("kind", QUANTISED + RAW)
def test_the_values_are_those_of_gguf_pys_dequantisation(tmp_path: Path, kind: str) -> None:
    """Types that gguf-py does not write are tensors of random bytes, of which those that hold scales are small."""
    of = GGMLQuantizationType[kind]
    made = tiny_gguf.model("qwen2", hidden_size=256, intermediate_size=256, num_attention_heads=4, rms_norm_eps=1e-6)
    tensors = tensors_of(made, "qwen2", tmp_path / "model")
    matrices = {name for name, values in tensors.items() if values.ndim > 1}
    raw = {}
    if kind in RAW:
        block, size = GGML_QUANT_SIZES[of]
        for name in matrices:
            rows, columns = tensors[name].shape
            data = np.random.default_rng(1).integers(0, 256, (rows, columns // block * size), dtype=np.uint8)
            raw[name] = (data, of)
            with np.errstate(all="ignore"):
                usable = np.isfinite(dequantize(data, of)).all(axis=1)
            data[~usable] = 0
    path = tmp_path / "model.gguf"
    plain = {name: values for name, values in tensors.items() if name not in raw}
    write_gguf(path, "qwen2", metadata_of(made.config, "qwen2", **RMS), plain, kind=of, raw=raw)
    with safe_open(converted(path) / "model.safetensors", "pt") as file:
        names = {
            "token_embd.weight": "model.embed_tokens.weight",
            "blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
        }
        for tensor in GGUFReader(path).tensors:
            if tensor.name in names:
                truth = dequantize(tensor.data, tensor.tensor_type)
                assert tensor.tensor_type == of
                assert torch.equal(file.get_tensor(names[tensor.name]), torch.from_numpy(np.array(truth)))


def test_the_experts_of_gpt_oss_in_mxfp4(tmp_path: Path) -> None:
    """Gate and up lie apart in the file and alternate in the checkpoint, transposed."""
    model_type, settings, metadata = FAMILIES["gpt-oss"]
    made = tiny_gguf.model(model_type, **settings)
    tensors = tensors_of(made, "gpt-oss", tmp_path / "model")
    raw = {}
    for name in [name for name in tensors if name.endswith("_exps.weight")]:
        *rows, columns = tensors.pop(name).shape
        data = np.random.default_rng(1).integers(0, 256, (*rows, columns // 32 * 17), dtype=np.uint8)
        data.reshape(-1, 17)[:, 0] = 126
        raw[name] = (data, GGMLQuantizationType.MXFP4)
    path = tmp_path / "model.gguf"
    write_gguf(path, "gpt-oss", metadata_of(made.config, "gpt-oss", **metadata), tensors, raw=raw)
    values = {
        name: torch.from_numpy(np.array(dequantize(data, kind))).swapaxes(1, 2) for name, (data, kind) in raw.items()
    }
    with safe_open(converted(path) / "model.safetensors", "pt") as file:
        both = file.get_tensor("model.layers.1.mlp.experts.gate_up_proj")
        assert torch.equal(both[..., ::2], values["blk.1.ffn_gate_exps.weight"])
        assert torch.equal(both[..., 1::2], values["blk.1.ffn_up_exps.weight"])
        down = file.get_tensor("model.layers.1.mlp.experts.down_proj")
        assert torch.equal(down, values["blk.1.ffn_down_exps.weight"])


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("lfm2", {"attention__head_count_kv": 2}, "have no lfm2.attention.head_count_kv of each layer"),
        ("lfm2", {"attention__head_count_kv": [0, 2]}, "have no lfm2.attention.head_count_kv of each layer"),
        ("lfm2", {"attention__head_count_kv": [0, 4, 2]}, "one number for all layers with attention"),
        ("lfm2", {"attention__head_count_kv": [0, 2, 0]}, "lacks the tensor blk.1.attn_"),
        ("gpt-oss", {"expert_count": 8}, r"has the shape \[4, .*gpt_oss"),
        ("gpt-oss", {"attention__sliding_window": [20, 0]}, "expected one number for all layers"),
    ],
)
def test_metadata_that_contradict_a_family_are_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    model_type, settings, metadata = FAMILIES[name]
    path = written(tmp_path / "model.gguf", tiny_gguf.model(model_type, **settings), name, **{**metadata, **changes})
    with pytest.raises(InputError, match=message):
        converted(path)


@pytest.mark.parametrize(
    ("skip", "extra", "message"),
    [
        ("blk.1.ffn_down.weight", {}, r"lacks the tensor blk\.1\.ffn_down\.weight"),
        ("output_norm.weight", {}, r"lacks the tensor output_norm\.weight"),
        ("blk.0.attn_k.weight", {}, r"lacks the tensor blk\.0\.attn_k\.weight"),
        ("token_embd.weight", {}, r"has no token_embd\.weight"),
        (
            "",
            {"blk.0.attn_q_norm.weight": np.ones(16)},
            r"attn_q_norm\.weight would be used by nothing in llama",
        ),
        ("", {"blk.2.attn_q.weight": np.ones((64, 64))}, r"has tensors of 3 layers, but its metadata say 2"),
        ("blk.0.ffn_up.weight", {"blk.0.ffn_up.weight": np.ones((90, 64))}, r"blk\.0\.ffn_up\.weight has the shape"),
    ],
)
def test_a_file_that_does_not_hold_the_model_is_refused_by_the_tensors_name(
    tmp_path: Path, skip: str, extra: dict[str, Any], message: str
) -> None:
    made = llama()
    tensors = tensors_of(made, "llama", tmp_path / "model")
    tensors = {name: values for name, values in tensors.items() if name != skip} | extra
    write_gguf(tmp_path / "gap.gguf", "llama", metadata_of(made.config, "llama", **LLAMA), tensors)
    with pytest.raises(InputError, match=message):
        resolve(str(tmp_path / "gap.gguf"))
    assert not list((tmp_path / "home" / "converted").glob("*/config.json"))


def split(tmp_path: Path) -> tuple[PreTrainedModel, list[Path]]:
    made = llama()
    tensors = tensors_of(made, "llama", tmp_path / "model")
    write_gguf(tmp_path / "split.gguf", "llama", metadata_of(made.config, "llama", **LLAMA), tensors, split=8)
    return made, sorted(tmp_path.glob("split-*.gguf"))


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_part_of_a_split_file_gives_the_whole_model(tmp_path: Path, given: int) -> None:
    made, parts = split(tmp_path)
    assert len(parts) == 3
    assert torch.equal(logits_of(loaded(resolve(str(parts[given])).directory)), logits_of(made))


@pytest.mark.parametrize(("given", "missing"), [(0, 1), (0, 2), (2, 0)])
def test_a_part_whose_sibling_is_missing_names_it(tmp_path: Path, given: int, missing: int) -> None:
    _, parts = split(tmp_path)
    parts[missing].unlink()
    with pytest.raises(InputError, match=f"is missing; put {parts[missing].name} beside it"):
        resolve(str(parts[given]))


def test_a_renamed_or_exchanged_part_is_refused(tmp_path: Path) -> None:
    _, parts = split(tmp_path)
    parts[0].rename(tmp_path / "model.gguf")
    with pytest.raises(InputError, match="under another name; rename all parts"):
        resolve(str(tmp_path / "model.gguf"))
    parts[0].write_bytes(parts[1].read_bytes())
    with pytest.raises(InputError, match="is not part 1 of 3"):
        resolve(str(parts[1]))


@pytest.mark.parametrize("name", ["model.GGUF", "model.Gguf"])
def test_the_suffix_may_be_in_capitals(tmp_path: Path, name: str) -> None:
    made = llama()
    written(tmp_path / "model.gguf", made, "llama", **LLAMA).rename(tmp_path / name)
    assert torch.equal(logits_of(loaded(resolve(str(tmp_path / name)).directory)), logits_of(made))
    with pytest.raises(InputError, match=r"nowhere.*no such file; give the path of a \.gguf file"):
        resolve(f"nowhere/{name}")


def rope_factors(theta: float, width: int, factor: float, low: float, high: float, original: int) -> list[float]:
    """Return the factors as the converter's loop writes them."""
    found = []
    for place in range(0, width, 2):
        wave = 2 * math.pi * theta ** (place / width)
        smooth = (original / wave - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        found.append(1.0 if wave < original / high else factor if wave > original / low else between)
    return found


@pytest.mark.parametrize(
    ("theta", "width", "factor", "low", "high", "original"),
    [
        (500000.0, 64, 32.0, 1.0, 4.0, 8192),  # Llama 3.2
        (500000.0, 128, 8.0, 1.0, 4.0, 8192),  # Llama 3.1 and 3.3
        (500000.0, 64, 8.0, 1.0, 4.0, 8192),
        (10000.0, 64, 16.0, 1.0, 8.0, 8192),  # not Meta's numbers
        (500000.0, 16, 8.0, 1.0, 4.0, 8192),  # one factor between the two ends
    ],
)
def test_factors_of_llama_3_become_the_scaling_of_the_configuration(
    tmp_path: Path, theta: float, width: int, factor: float, low: float, high: float, original: int
) -> None:
    rope = {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }
    made = llama(head_dim=width, rope_parameters=rope)
    tensors = tensors_of(made, "llama", tmp_path / "model")
    tensors["rope_freqs.weight"] = np.array(rope_factors(theta, width, factor, low, high, original))
    metadata = metadata_of(made.config, "llama", **{**LLAMA, "rope__freq_base": theta, "rope__dimension_count": width})
    write_gguf(tmp_path / "llama.gguf", "llama", metadata, tensors)
    directory = converted(tmp_path / "llama.gguf")
    assert json.loads((directory / "config.json").read_text())["rope_parameters"] == rope
    assert torch.equal(logits_of(loaded(directory), 300), logits_of(made, 300))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda factors: [*factors[:-1], 7.0], "are not those of Llama 3's scaling"),
        (
            lambda factors: [factor**1.01 for factor in factors[:-3]] + factors[-3:],
            "are not those of Llama 3's scaling",
        ),
        (lambda factors: factors[:-1], "has 31 factors, expected 32"),
        (lambda factors: [*factors[:-1], math.nan], "expected 32 positive numbers"),
    ],
)
def test_factors_that_are_no_scaling_of_llama_3_are_refused(
    tmp_path: Path, change: Callable[[list[float]], list[float]], message: str
) -> None:
    made = llama(head_dim=64)
    tensors = tensors_of(made, "llama", tmp_path / "model")
    tensors["rope_freqs.weight"] = np.array(change(rope_factors(5e5, 64, 8.0, 1.0, 4.0, 8192)))
    metadata = metadata_of(made.config, "llama", **{**LLAMA, "rope__freq_base": 5e5, "rope__dimension_count": 64})
    write_gguf(tmp_path / "llama.gguf", "llama", metadata, tensors)
    with pytest.raises(InputError, match=message):
        converted(tmp_path / "llama.gguf")


def test_the_long_and_short_factors_of_phi_3(tmp_path: Path) -> None:
    long, short = [1.0 + n for n in range(8)], [1.0 + n / 8 for n in range(8)]
    made = tiny_gguf.model(
        "phi3",
        rms_norm_eps=1e-6,
        original_max_position_embeddings=128,
        rope_parameters={"rope_type": "longrope", "long_factor": long, "short_factor": short, "rope_theta": 1e4},
    )
    tensors = tensors_of(made, "phi3", tmp_path / "model")
    tensors |= {"rope_factors_long.weight": np.array(long), "rope_factors_short.weight": np.array(short)}
    metadata = metadata_of(
        made.config, "phi3", **RMS, rope__dimension_count=16, rope__scaling__original_context_length=128
    )
    write_gguf(tmp_path / "phi.gguf", "phi3", metadata, tensors)
    found = loaded(converted(tmp_path / "phi.gguf"))
    for length in (100, 300):
        assert torch.equal(logits_of(found, length), logits_of(made, length))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention.clamp_kqv": 8.0}, r"llama\.attention\.clamp_kqv = 8\.0 cannot be represented"),
        ({"logit_scale": 0.5}, r"llama\.logit_scale = 0\.5 cannot be represented"),
        ({"attention.head_count_kv": [2, 4]}, r"head_count_kv = \[2 values\] cannot be represented"),
        ({"rope.dimension_count": 8, "attention.key_length": 16}, r"rope\.dimension_count = 8 cannot be represented"),
        ({"attention.value_length": 8}, r"attention\.value_length = 8 cannot be represented"),
        ({"rope.scaling.type": "su", "rope.scaling.factor": 2.0}, "the scaling of its rotary frequencies"),
        ({"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0}, "the scaling of its rotary frequencies"),
        ({"rope.scaling.attn_factor": 1.2}, "an attention factor of 1.2"),
        ({"attention.head_count": 0}, "its metadata have no num_attention_heads"),
        ({"attention.head_count": 5, "attention.key_length": 16}, "transformers cannot build|has the shape"),
    ],
)
def test_metadata_that_cannot_be_represented_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    made = llama()
    metadata = metadata_of(made.config, "llama", **LLAMA) | {f"llama.{key}": value for key, value in changes.items()}
    write_gguf(tmp_path / "m.gguf", "llama", metadata, tensors_of(made, "llama", tmp_path / "model"))
    with pytest.raises(InputError, match=message):
        converted(tmp_path / "m.gguf")


@pytest.mark.parametrize("architecture", ["t5", "deepseek2", "no-such"])
def test_an_architecture_that_is_not_known_is_refused_by_its_name(tmp_path: Path, architecture: str) -> None:
    write_gguf(tmp_path / "m.gguf", architecture, {}, {"token_embd.weight": np.ones((4, 32))})
    with pytest.raises(InputError, match=f"its architecture {architecture} cannot be converted; expected one of"):
        converted(tmp_path / "m.gguf")


def test_an_output_layer_of_the_embeddings_bytes_is_tied_and_another_is_not(tmp_path: Path) -> None:
    made = llama(tie_word_embeddings=True)
    tensors = tensors_of(made, "llama", tmp_path / "model")
    assert "output.weight" not in tensors
    metadata = metadata_of(made.config, "llama", **LLAMA)
    for name, head, tied in (
        ("absent", None, True),
        ("same", tensors["token_embd.weight"], True),
        ("other", tensors["token_embd.weight"] * 2, False),
    ):
        held = tensors if head is None else {**tensors, "output.weight": head}
        write_gguf(tmp_path / f"{name}.gguf", "llama", metadata, held)
        found = loaded(converted(tmp_path / f"{name}.gguf"))
        assert found.config.tie_word_embeddings is tied
        assert torch.equal(logits_of(found), logits_of(made) * (1 if tied else 2))


def with_tokens(path: Path, **changes: Any) -> Path:
    """Write a model whose tokenizer's metadata are changed; None leaves a key out."""
    made = llama()
    given = metadata_of(made.config, "llama", **LLAMA)
    given |= {f"tokenizer.{key.replace('__', '.')}": value for key, value in changes.items()}
    metadata = {key: value for key, value in given.items() if value is not None}
    write_gguf(path, "llama", metadata, tensors_of(made, "llama", path.with_suffix(".model")))
    return path


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, lambda text: text),
        ({"ggml__add_bos_token": True}, lambda text: [2, *text]),
        ({"ggml__add_bos_token": True, "ggml__add_eos_token": True}, lambda text: [2, *text, 0]),
        ({"ggml__add_bos_token": False}, lambda text: text),
        ({"ggml__pre": "llama-bpe"}, lambda text: [2, *text]),  # where llama.cpp adds BOS unless told otherwise
    ],
)
def test_bos_and_eos_are_added_as_the_metadata_say(
    tmp_path: Path, changes: dict[str, Any], ids: Callable[[list[int]], list[int]]
) -> None:
    path = with_tokens(tmp_path / "m.gguf", ggml__bos_token_id=2, **changes)
    words = AutoTokenizer.from_pretrained(converted(path))
    plain = tiny_gguf.tokenizer()("a bad cab", add_special_tokens=False)["input_ids"]
    assert words("a bad cab")["input_ids"] == ids(plain)
    assert words("a bad cab", add_special_tokens=False)["input_ids"] == plain


@pytest.mark.parametrize(
    ("name", "text", "pieces"),
    [
        ("default", "ab 123", ["ab", "Ġ123"]),
        ("smollm", "ab 123", ["ab", "Ġ", "1", "2", "3"]),
        ("starcoder", "ab 123", ["ab", "Ġ", "1", "2", "3"]),
        ("qwen2", "ab 123", ["ab", "Ġ", "1", "2", "3"]),
        ("llama-bpe", "ab 12345", ["ab", "Ġ", "123", "45"]),
        ("falcon", "a 1234|b", ["a", "Ġ", "123", "4", "|", "b"]),
        ("deepseek-coder", "a 12!", ["a", "Ġ", "1", "2", "!"]),
        ("bloom", "a 12. b", ["a", "Ġ12", ".", "Ġb"]),
    ],
)
def test_text_is_split_as_the_metadata_name_it(tmp_path: Path, name: str, text: str, pieces: list[str]) -> None:
    words = AutoTokenizer.from_pretrained(converted(with_tokens(tmp_path / "m.gguf", ggml__pre=name)))
    assert [piece for piece, _ in words.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)] == pieces


def test_named_templates_are_kept_beside_the_default_one(tmp_path: Path) -> None:
    changes = {
        "chat_template__tool_use": "tools: {{ messages }}",
        "chat_template__rag": "rag",
        "chat_templates": ["rag"],
    }
    words = AutoTokenizer.from_pretrained(converted(with_tokens(tmp_path / "m.gguf", **changes)))
    assert words.chat_template == {
        "default": CHAT_TEMPLATE,
        "tool_use": "tools: {{ messages }}",
        "rag": "rag",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, 0), ({"ggml__eot_token_id": 3}, [0, 3]), ({"ggml__eot_token_id": 0, "ggml__eom_token_id": 2}, [0, 2])],
)
def test_an_answer_ends_at_every_end_token_of_the_file(
    tmp_path: Path, changes: dict[str, Any], expected: object
) -> None:
    directory = converted(with_tokens(tmp_path / "m.gguf", **changes))
    assert json.loads((directory / "generation_config.json").read_text())["eos_token_id"] == expected


@pytest.mark.parametrize("marker", ["<｜User｜>", "<|終|>", "[用户]"])
def test_a_control_token_that_is_not_spelled_in_bytes_is_one_token(tmp_path: Path, marker: str) -> None:
    tokens = [TOKENS[0], TOKENS[1], marker, *TOKENS[3:]]
    words = AutoTokenizer.from_pretrained(converted(with_tokens(tmp_path / "m.gguf", ggml__tokens=tokens)))
    assert words(f"a{marker}b")["input_ids"] == [TOKENS.index("a"), 2, TOKENS.index("b")]
    assert words.decode([2]) == marker
    assert words.decode([TOKENS.index("a"), 2], skip_special_tokens=True) == "a"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ggml__pre": "no-such"}, "its way to split text, no-such, is not known"),
        ({"ggml__tokens": [TOKENS[1], *TOKENS[1:]]}, "its token 0|its eos token"),
        ({"ggml__tokens": [*TOKENS, "more"], "ggml__token_type": [1] * 269}, "269 tokens, and the embedding 268 rows"),
        ({"ggml__tokens": None}, "the file has no tokens"),
        ({"ggml__merges": ["a b c"]}, "the merge 'a b c' is not of two tokens"),
        ({"ggml__merges": ["a b"]}, "the merge 'a b' is not of two tokens"),
        ({"ggml__token_type": [1, 1]}, "another number of types"),
        ({"ggml__model": "rwkv"}, "transformers cannot build it"),
        ({"ggml__eos_token_id": 999}, "transformers cannot build it|its eos token"),
    ],
)
def test_a_tokenizer_that_would_lose_something_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        converted(with_tokens(tmp_path / "m.gguf", **changes))


PIECES = [
    "<unk>",
    "<s>",
    "</s>",
    "<|user|>",
    *(f"<0x{byte:02X}>" for byte in range(256)),
    "▁",
    "a",
    "b",
    "▁a",
    "ab",
    "▁ab",
]


def with_pieces(path: Path, model_type: str, architecture: str, name: str = "tiny", **changes: Any) -> Path:
    """Write a model with a SentencePiece vocabulary as Llama 2 has it."""
    made = tiny_gguf.model(model_type, vocab_size=len(PIECES), rms_norm_eps=1e-6, eos_token_id=2)
    kept = {
        key: value for key, value in metadata_of(made.config, architecture, **RMS).items() if "tokenizer" not in key
    }
    pieces = {
        "general.name": name,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": PIECES,
        "tokenizer.ggml.scores": [0.0] * 260 + [-9.0, -8.0, -7.0, -3.0, -2.0, -1.0],
        "tokenizer.ggml.token_type": [2, 3, 3, 3] + [6] * 256 + [1] * 6,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        **changes,
    }
    write_gguf(path, architecture, kept | pieces, tensors_of(made, architecture, path.with_suffix(".model")))
    return path


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({}, ["<s>", "▁ab", "▁ab"]),  # BOS and the space before a text are llama.cpp's defaults
        ({"tokenizer.ggml.add_bos_token": False}, ["▁ab", "▁ab"]),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_space_prefix": True}, ["<s>", "▁ab", "▁ab"]),
        ({"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_space_prefix": False}, ["ab", "▁ab"]),
    ],
)
def test_a_sentencepiece_vocabulary(tmp_path: Path, changes: dict[str, Any], pieces: list[str]) -> None:
    words = AutoTokenizer.from_pretrained(converted(with_pieces(tmp_path / "m.gguf", "llama", "llama", **changes)))
    assert words("ab ab").tokens() == pieces
    assert words.decode(words("ab ab")["input_ids"], skip_special_tokens=True) == "ab ab"


@pytest.mark.parametrize(("name", "kept"), [("Phi-3-mini", False), ("phi3 finetune", False), ("other", True)])
def test_control_tokens_of_phi_3_take_the_line_break_after_them(tmp_path: Path, name: str, kept: bool) -> None:
    path = with_pieces(tmp_path / "m.gguf", "phi3", "phi3", name)
    words = AutoTokenizer.from_pretrained(converted(path))
    assert (PIECES.index("<0x0A>") in words("<|user|>\na")["input_ids"]) is kept
    assert PIECES.index("<0x0A>") in words("a\na")["input_ids"]


def test_the_header_is_read_as_gguf_py_reads_it(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", llama(), "llama", **LLAMA)
    ours, theirs = read_gguf(path), GGUFReader(path)
    assert {
        key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")
    } == ours.metadata
    for tensor in theirs.tensors:
        assert ours.tensors[tensor.name].shape == tuple(reversed(tensor.shape.tolist()))
        assert np.array_equal(ours.tensors[tensor.name].values(), dequantize(tensor.data, tensor.tensor_type))


def test_a_full_disk_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_given: object, **_settings: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    path = written(tmp_path / "m.gguf", llama(), "llama", **LLAMA)
    monkeypatch.setattr("safescape.weights.shards.save_file", full)
    with pytest.raises(InputError, match=r"its checkpoint cannot be written .*No space left.*; free space"):
        converted(path)
    assert not list((tmp_path / "home" / "converted").glob("*/*"))


def test_a_model_of_several_shards_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safescape.weights.shards._SHARD", "100KB")
    made = llama()
    directory = converted(written(tmp_path / "m.gguf", made, "llama", **LLAMA))
    assert len(list(directory.glob("model-*.safetensors"))) > 2
    assert torch.equal(logits_of(loaded(directory)), logits_of(made))


def test_a_damaged_file_ends_in_one_line(tmp_path: Path) -> None:
    whole = bytearray(written(tmp_path / "m.gguf", llama(), "llama", **LLAMA).read_bytes())
    header = whole.index(b"token_embd.weight")
    generator = np.random.default_rng(0)
    for _ in range(120):
        damaged = bytearray(whole)
        for place in generator.integers(0, header + 2000, 3):
            damaged[place] = generator.integers(0, 256)
        (tmp_path / "damaged.gguf").write_bytes(damaged)
        with contextlib.suppress(InputError):  # any other exception fails
            converted(tmp_path / "damaged.gguf")
