"""Tiny models as GGUF files, laid out as llama.cpp's `convert_hf_to_gguf.py` does.

Names come from gguf-py's table, which that converter uses; what it changes in a tensor is written here again,
in its direction, so that a mistake in reading is not repeated in writing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quants
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from helpers.tiny_models import CHAT_TEMPLATE, SPECIAL

MERGES = [("Ġ", letter) for letter in "ABCDabcd"]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in MERGES)]
SHAPE: dict[str, Any] = {
    "vocab_size": len(TOKENS),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
Array = npt.NDArray[Any]


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer that the files have."""
    raw = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(TOKENS)}, merges=MERGES))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>")
    made.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    made.chat_template = CHAT_TEMPLATE
    return made


def model(model_type: str, **changes: Any) -> PreTrainedModel:
    """Return a random model in which every tensor differs from what a new model has."""
    torch.manual_seed(7)
    made: PreTrainedModel = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(model_type, **{**SHAPE, **changes}), dtype=torch.float32
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.2) if parameter.dim() > 1 else parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def permuted(values: Array, heads: int) -> Array:
    """Interleave the halves of each head, as `LlamaModel.permute` does."""
    return (
        values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    )


def of_llama(name: str, values: Array, config: Any) -> Array:
    if ".q_proj." in name:
        return permuted(values, config.num_attention_heads)
    return permuted(values, config.num_key_value_heads) if ".k_proj." in name else values


def of_gemma(name: str, values: Array, _config: Any) -> Array:
    return values + np.float32(1) if name.endswith("norm.weight") else values


def of_gpt2(name: str, values: Array, _config: Any) -> Array:
    return values.T if name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")) else values


def of_bloom(name: str, values: Array, config: Any) -> Array:
    if "query_key_value" not in name:
        return values
    parts = values.reshape(config.n_head, 3, config.hidden_size // config.n_head, -1)
    return np.concatenate([parts[:, number].reshape(config.hidden_size, -1) for number in range(3)]).reshape(
        values.shape
    )


def of_falcon(name: str, values: Array, config: Any) -> Array:
    if "query_key_value" not in name:
        return values
    groups, width = config.num_kv_heads, config.hidden_size // config.num_attention_heads
    parts = values.reshape(groups, config.num_attention_heads // groups + 2, width, config.hidden_size)
    pieces = (parts[:, :-2], parts[:, [-2]], parts[:, [-1]])
    return np.concatenate([piece.reshape(-1, config.hidden_size) for piece in pieces])


def parts_of_gpt_oss(name: str, values: Array) -> dict[str, Array]:
    """Return the tensors that `GptOssModel.modify_tensors` makes of one."""
    if name.endswith("sinks"):
        return {f"{name}.weight": values}
    if ".experts." not in name:
        return {name: values}
    stem, _, last = name.rpartition(".")
    kind = "bias" if last.endswith("_bias") else "weight"
    values = values if kind == "bias" else values.swapaxes(1, 2)
    if last.startswith("down_proj"):
        return {f"{stem}.down_proj.{kind}": values}
    return {f"{stem}.gate_proj.{kind}": values[:, ::2], f"{stem}.up_proj.{kind}": values[:, 1::2]}


CHANGED: dict[str, Callable[[str, Array, Any], Array]] = {
    "llama": of_llama,
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "nemotron"), of_gemma),
    "gpt2": of_gpt2,
    "bloom": of_bloom,
    "falcon": of_falcon,
}


def tensors_of(made: PreTrainedModel, architecture: str, directory: Path) -> dict[str, Array]:
    """Return the tensors that a GGUF file of a model has; experts are stacked."""
    made.save_pretrained(directory)
    (kind,) = (number for number, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(kind, made.config.num_hidden_layers)
    change = CHANGED.get(architecture, lambda _name, values, _config: values)
    found: dict[str, Array] = {}
    experts: dict[str, dict[int, Array]] = {}
    stored = {name: tensor.float().numpy() for name, tensor in load_file(directory / "model.safetensors").items()}
    if architecture == "gpt-oss":
        stored = {
            part: each for name, values in stored.items() for part, each in parts_of_gpt_oss(name, values).items()
        }
    for name, given in stored.items():
        known = re.sub(
            r"\.experts\.\d+\.", ".experts.", name.removeprefix("transformer." if architecture == "bloom" else "")
        )
        there = names.get_name(known, try_suffixes=(".weight", ".bias"))
        assert there is not None, name
        values = change(name, given, made.config)
        if expert := re.search(r"\.experts\.(\d+)\.", name):
            experts.setdefault(there, {})[int(expert[1])] = values
        else:
            found[there] = values
    return found | {name: np.stack([parts[n] for n in range(len(parts))]) for name, parts in experts.items()}


def metadata_of(config: Any, architecture: str, **changes: Any) -> dict[str, Any]:
    """Return the metadata that the converter writes for every architecture; `changes` are behind its name."""
    shape = {
        "context_length": config.max_position_embeddings if hasattr(config, "max_position_embeddings") else 512,
        "block_count": config.num_hidden_layers,
        "embedding_length": config.hidden_size,
        "feed_forward_length": getattr(config, "intermediate_size", SHAPE["intermediate_size"]),
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": SHAPE["num_key_value_heads"],
    }
    given = {f"{architecture}.{name.replace('__', '.')}": value for name, value in {**shape, **changes}.items()}
    return {name: value for name, value in given.items() if value is not None} | TOKENIZER


TOKENIZER: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)),
    "tokenizer.ggml.merges": [f"{left} {right}" for left, right in MERGES],
    "tokenizer.ggml.eos_token_id": 0,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.chat_template": CHAT_TEMPLATE,
}


def write_gguf(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Array],
    *,
    kind: GGMLQuantizationType | None = None,
    raw: Mapping[str, tuple[Array, GGMLQuantizationType]] | None = None,
    split: int = 0,
) -> None:
    """Write a GGUF file.

    Args:
        path: The file; with `split`, the stem of its parts.
        architecture: Its name in llama.cpp.
        metadata: Keys and values.
        tensors: In fp32.
        kind: The type that matrices are quantised to.
        raw: Further tensors, as bytes of a type.
        split: The largest number of tensors in one part.

    """
    out = GGUFWriter(path, architecture, split_max_tensors=split)
    for key, value in metadata.items():
        match value:
            case bool():
                out.add_bool(key, value)
            case int():
                out.add_uint32(key, value)
            case float():
                out.add_float32(key, value)
            case str():
                out.add_string(key, value)
            case Sequence():
                out.add_array(key, value)
    for name, values in tensors.items():
        if kind is None or values.ndim < 2:
            out.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
        else:
            out.add_tensor(name, quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    for name, (data, its_kind) in (raw or {}).items():
        out.add_tensor(name, data, raw_dtype=its_kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
