"""The configuration that a GGUF file's metadata describes, as transformers writes it.

Every key of the metadata that belongs to the architecture is set, or compared, or known to change nothing; any other is
refused, because it would change what the model computes without being carried over. docs/howto/gguf.md lists the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from safescape.errors import InputError
from safescape.weights.gguf.file import Gguf
from safescape.weights.gguf.rope import rope_of

_EVERYWHERE = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
}
"""Keys of every architecture, behind its name, and the field of the configuration that they are."""
_RMS = {"attention.layer_norm_rms_epsilon": "rms_norm_eps"}
_EXPERTS = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
_HEADS = {"attention.key_length": "head_dim"}
_CHANGE_NOTHING = {"vocab_size", "rope.scaling.finetuned", "tensor_data_layout"}
"""The vocabulary is as large as the embedding has rows; the others describe how the file was made."""
_OF_IMAGES = ("vision.", "mm.")
"""Keys of a model's other part, whose tensors a text model lacks."""
_ROPE = {
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
}


class Family(NamedTuple):
    """An architecture of llama.cpp that can be converted."""

    model_type: str
    """Its name in transformers."""
    fields: Mapping[str, str]
    """Keys of the metadata and the fields of the configuration that they are, beyond those of every architecture."""
    further: Callable[[Gguf, dict[str, Any]], dict[str, Any]] = lambda _gguf, _settings: {}
    """Returns the settings that follow from several keys or from the tensors."""
    fixed: Mapping[str, object] = {}
    """Keys that must have one value, which is how transformers computes the architecture."""
    partial_rotary: bool = False
    """Whether transformers can rotate a part of each head only."""
    other: frozenset[str] = frozenset()
    """Keys that `further` reads."""


def family_of(gguf: Gguf) -> Family:
    """Return the architecture of a file.

    Raises:
        InputError: It is none that can be converted exactly.

    """
    if gguf.architecture not in FAMILIES:
        raise InputError(
            f"{gguf.paths[0]}: its architecture {gguf.architecture or '(not named)'} cannot be converted; expected one "
            f"of {', '.join(sorted(FAMILIES))}; give its safetensors version"
        )
    return FAMILIES[gguf.architecture]


def settings_of(gguf: Gguf) -> dict[str, Any]:
    """Return the settings for `AutoConfig.for_model` that a file's metadata and tensors describe.

    Raises:
        InputError: The metadata has a key that cannot be represented, lacks one, or contradicts the tensors.

    """
    family = family_of(gguf)
    everywhere = {name: field for name, field in _EVERYWHERE.items() if name not in family.other}
    fields = {**everywhere, **family.fields}
    known = fields.keys() | family.fixed.keys() | family.other | _CHANGE_NOTHING | _ROPE | {"attention.value_length"}
    settings: dict[str, Any] = {"model_type": family.model_type, "tie_word_embeddings": is_tied(gguf)}
    for key, value in gguf.metadata.items():
        architecture, _, name = key.partition(".")
        if architecture != gguf.architecture:
            continue
        if name in family.fixed and value != family.fixed[name]:
            raise _unknown(gguf, key, f"expected {family.fixed[name]}")
        if name not in known and not name.startswith(_OF_IMAGES):
            raise _unknown(gguf, key, "transformers has no such setting")
        if name in fields:
            settings[fields[name]] = _one_number(gguf, key, value)
    blocks = {name.split(".")[1] for name in gguf.tensors if name.startswith("blk.")}
    if settings.get("num_hidden_layers") != len(blocks):
        raise InputError(
            f"{gguf.paths[0]}: has tensors of {len(blocks)} layers, but its metadata say "
            f"{settings.get('num_hidden_layers')}; download it again"
        )
    if "token_embd.weight" not in gguf.tensors:
        raise InputError(f"{gguf.paths[0]}: has no token_embd.weight; download it again")
    for name in ("hidden_size", "num_attention_heads"):
        if not isinstance(settings.get(name), int) or settings[name] < 1:
            raise InputError(f"{gguf.paths[0]}: its metadata have no {name}; download it again")
    settings["vocab_size"] = gguf.tensors["token_embd.weight"].shape[0]
    settings |= {name: gguf.metadata.get(f"tokenizer.ggml.{key}") for name, key in _SPECIAL.items()}
    settings |= _rotation(gguf, family, settings)
    return settings | family.further(gguf, settings)


def is_tied(gguf: Gguf) -> bool:
    """Return whether the output layer is the embedding: it is absent, or the same bytes."""
    head, embedding = gguf.tensors.get("output.weight"), gguf.tensors.get("token_embd.weight")
    if head is None or embedding is None:
        return head is None
    return (head.kind, head.shape) == (embedding.kind, embedding.shape) and bool((head.data == embedding.data).all())


_SPECIAL = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}


def _unknown(gguf: Gguf, key: str, reason: str) -> InputError:
    value = gguf.metadata[key]
    shown = str(value) if not isinstance(value, list) else f"[{len(value)} values]"
    return InputError(
        f"{gguf.paths[0]}: {key} = {shown} cannot be represented ({reason}); give its safetensors version"
    )


def _one_number(gguf: Gguf, key: str, value: object) -> int | float:
    """Return a number, or the number that all layers have."""
    if isinstance(value, list) and len(set(value)) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unknown(gguf, key, "expected one number for all layers")
    return value


def _rotation(gguf: Gguf, family: Family, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the rotary embedding and of the width of a head."""
    key = f"{gguf.architecture}.rope.dimension_count"
    width = settings.get("head_dim")
    rotated = gguf.metadata.get(key)
    found: dict[str, Any] = {}
    if width is None and gguf.architecture in {"llama"} and isinstance(rotated, int):
        # Older converters of this architecture write only this key, and rotate whole heads.
        width = found["head_dim"] = rotated
    if width is None:
        width = settings["hidden_size"] // settings["num_attention_heads"]
    values = gguf.metadata.get(f"{gguf.architecture}.attention.value_length", width)
    if values != width:
        raise _unknown(gguf, f"{gguf.architecture}.attention.value_length", f"its keys have the length {width}")
    if gguf.architecture in {"gpt2", "bloom"}:
        return found
    rope = rope_of(gguf, rotated if isinstance(rotated, int) else width)
    if rotated is not None and rotated != width:
        if not family.partial_rotary:
            raise _unknown(gguf, key, f"its heads have the width {width}, and transformers rotates whole heads")
        rope["partial_rotary_factor"] = rotated / width
    elif family.partial_rotary:
        rope["partial_rotary_factor"] = 1.0
    return found | {"rope_parameters": rope}


def _has(gguf: Gguf, name: str) -> bool:
    return f"blk.0.{name}" in gguf.tensors


def _llama(gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    """Llama, Mistral and Mixtral share a name in llama.cpp."""
    window = gguf.metadata.get("llama.attention.sliding_window")
    if settings.get("num_experts"):
        return {
            "model_type": "mixtral",
            "num_local_experts": settings.pop("num_experts"),
            "sliding_window": window or None,
        }
    settings.pop("num_experts", None)
    settings.pop("num_experts_per_tok", None)
    if window:
        return {"model_type": "mistral", "sliding_window": window}
    return {"attention_bias": _has(gguf, "attn_q.bias"), "mlp_bias": _has(gguf, "ffn_gate.bias")}


def _experts(gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    """Files of the first converters do not state how wide an expert is."""
    found = {} if "moe_intermediate_size" in settings else _width(gguf, "ffn_gate_exps", "moe_intermediate_size")
    if gguf.architecture == "qwen3moe":
        return found | _biased(gguf, settings) | {"norm_topk_prob": True}
    if "shared_expert_intermediate_size" not in settings:
        found |= _width(gguf, "ffn_gate_shexp", "shared_expert_intermediate_size")
    return found | {"norm_topk_prob": False}


def _width(gguf: Gguf, tensor: str, name: str) -> dict[str, Any]:
    stored = gguf.tensors.get(f"blk.0.{tensor}.weight")
    return {} if stored is None or len(stored.shape) < 2 else {name: stored.shape[-2]}


def _biased(gguf: Gguf, _settings: dict[str, Any]) -> dict[str, Any]:
    return {"attention_bias": _has(gguf, "attn_q.bias")}


def _gemma(gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    """The largest Gemma 2 and 3 scale attention by hidden size over heads; llama.cpp knows them by their layers."""
    found: dict[str, Any] = {}
    if gguf.architecture == "gemma":
        return found
    largest = settings["num_hidden_layers"] == {"gemma2": 46, "gemma3": 62}[gguf.architecture]
    wide = settings["hidden_size"] // settings["num_attention_heads"]
    found["query_pre_attn_scalar"] = wide if largest else settings.get("head_dim", wide)
    # Files of llama.cpp's first converter of Gemma 2 do not state the caps; llama.cpp has them as defaults.
    caps = {"gemma2": (50.0, 30.0), "gemma3": (None, None)}[gguf.architecture]
    for name, default in zip(("attn_logit_softcapping", "final_logit_softcapping"), caps, strict=True):
        found[name] = gguf.metadata.get(f"{gguf.architecture}.{name}", default) or None
    if gguf.architecture == "gemma3":
        local = gguf.metadata.get("gemma3.rope.freq_base_swa", 10000.0)
        found["rope_parameters"] = {
            "full_attention": settings["rope_parameters"],
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        }
    return found


def _phi3(gguf: Gguf, _settings: dict[str, Any]) -> dict[str, Any]:
    """A window of 0 is none, as Phi-4 has it."""
    found: dict[str, Any] = {"sliding_window": gguf.metadata.get("phi3.attention.sliding_window") or None}
    original = gguf.metadata.get("phi3.rope.scaling.original_context_length")
    return found | ({} if original is None else {"original_max_position_embeddings": original})


def _starcoder2(gguf: Gguf, _settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "sliding_window": gguf.metadata.get("starcoder2.attention.sliding_window") or None,
        "use_bias": _has(gguf, "attn_q.bias"),
    }


def _stablelm(gguf: Gguf, _settings: dict[str, Any]) -> dict[str, Any]:
    return {"use_qkv_bias": _has(gguf, "attn_q.bias"), "use_parallel_residual": not _has(gguf, "ffn_norm.weight")}


def _gpt2(gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    positions = gguf.tensors.get("position_embd.weight")
    found = {"n_inner": settings.pop("intermediate_size", None)}
    return found if positions is None else found | {"max_position_embeddings": positions.shape[0]}


def _bloom(_gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    for name in ("intermediate_size", "num_key_value_heads", "max_position_embeddings"):
        settings.pop(name, None)
    return {}


def _falcon(gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    heads = settings.pop("num_key_value_heads", settings["num_attention_heads"])
    return {
        "num_kv_heads": heads,
        "new_decoder_architecture": heads != 1,
        "num_ln_in_parallel_attn": 2 if _has(gguf, "attn_norm_2.weight") else 1,
        "ffn_hidden_size": settings.pop("intermediate_size", None),
        "bias": _has(gguf, "attn_qkv.bias"),
    }


def _gpt_oss(gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    """Its frequencies are scaled without rounding the bounds of the ramp, which no key says."""
    found: dict[str, Any] = {"attention_bias": _has(gguf, "attn_q.bias")}
    rope = settings["rope_parameters"]
    return found | ({"rope_parameters": {**rope, "truncate": False}} if rope["rope_type"] == "yarn" else {})


def _lfm2(gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    """A layer without keys and values is a convolution."""
    key = "lfm2.attention.head_count_kv"
    heads = gguf.metadata.get(key)
    if not isinstance(heads, list) or len(heads) != settings["num_hidden_layers"]:
        raise InputError(f"{gguf.paths[0]}: its metadata have no {key} of each layer; download it again")
    if len(attending := {count for count in heads if count}) != 1:
        raise _unknown(gguf, key, "expected one number for all layers with attention")
    return {
        "num_key_value_heads": attending.pop(),
        "layer_types": ["full_attention" if count else "conv" for count in heads],
        "block_auto_adjust_ff_dim": False,
        "conv_bias": any(name.endswith("shortconv.conv.bias") for name in gguf.tensors),
    }


def _nemotron(_gguf: Gguf, settings: dict[str, Any]) -> dict[str, Any]:
    return {} if "head_dim" in settings else {"head_dim": settings["hidden_size"] // settings["num_attention_heads"]}


FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        "llama",
        _RMS | _HEADS | {"expert_count": "num_experts", "expert_used_count": "num_experts_per_tok"},
        _llama,
        other=frozenset({"attention.sliding_window"}),
    ),
    "qwen2": Family("qwen2", _RMS),
    "qwen3": Family("qwen3", _RMS | _HEADS, _biased),
    "qwen2moe": Family(
        "qwen2_moe",
        _RMS | _EXPERTS | {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
        _experts,
        {"expert_gating_func": 1, "expert_weights_norm": False},
    ),
    "qwen3moe": Family(
        "qwen3_moe",
        _RMS | _HEADS | _EXPERTS,
        _experts,
        {"expert_gating_func": 1, "expert_weights_norm": True},
    ),
    "gemma": Family("gemma", _RMS | _HEADS, _gemma),
    "gemma2": Family(
        "gemma2",
        _RMS | _HEADS | {"attention.sliding_window": "sliding_window"},
        _gemma,
        other=frozenset({"attn_logit_softcapping", "final_logit_softcapping"}),
    ),
    "gemma3": Family(
        "gemma3_text",
        _RMS | _HEADS | {"attention.sliding_window": "sliding_window"},
        _gemma,
        {"attention.sliding_window_pattern": 6},
        other=frozenset({"attn_logit_softcapping", "final_logit_softcapping", "rope.freq_base_swa"}),
    ),
    "phi3": Family("phi3", _RMS, _phi3, partial_rotary=True, other=frozenset({"attention.sliding_window"})),
    "starcoder2": Family(
        "starcoder2",
        {"attention.layer_norm_epsilon": "norm_epsilon"},
        _starcoder2,
        other=frozenset({"attention.sliding_window"}),
    ),
    "stablelm": Family(
        "stablelm",
        {"attention.layer_norm_epsilon": "layer_norm_eps"},
        _stablelm,
        partial_rotary=True,
        other=frozenset({"use_parallel_residual"}),
    ),
    "gpt2": Family("gpt2", {"attention.layer_norm_epsilon": "layer_norm_epsilon"}, _gpt2),
    "bloom": Family("bloom", {"attention.layer_norm_epsilon": "layer_norm_epsilon"}, _bloom),
    "falcon": Family("falcon", {"attention.layer_norm_epsilon": "layer_norm_epsilon"}, _falcon),
    "gpt-oss": Family(
        "gpt_oss",
        _RMS
        | _HEADS
        | {
            "expert_count": "num_local_experts",
            "expert_used_count": "num_experts_per_tok",
            "expert_feed_forward_length": "intermediate_size",
            "attention.sliding_window": "sliding_window",
        },
        _gpt_oss,
    ),
    "lfm2": Family(
        "lfm2",
        {"attention.layer_norm_rms_epsilon": "norm_eps", "shortconv.l_cache": "conv_L_cache"},
        _lfm2,
        other=frozenset({"attention.head_count_kv"}),
    ),
    "nemotron": Family(
        "nemotron",
        _HEADS | {"attention.layer_norm_epsilon": "norm_eps", "attention.layer_norm_rms_epsilon": "norm_eps"},
        _nemotron,
        partial_rotary=True,
    ),
}
"""The architectures by their names in llama.cpp; each is converted and answered by a tiny model in the tests."""
