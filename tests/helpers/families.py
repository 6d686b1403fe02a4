"""A tiny random model of each family of transformers, and what the engine must do with it."""

from __future__ import annotations

import string
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from helpers import tiny_models
from safescape import InputError
from safescape.engines import TransformersEngine
from safescape.engines.kv_cache import Caching
from safescape.engines.stages import text_of
from safescape.probes import load_tokenizer
from safescape.survey import Lines, Point, RandomAxis
from safescape.weights import RandomDirection, Subspace, auto_class, resolve

_LINE = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
_AWAY = Point(0, (0.5,))
"""A power of two, whose product with a direction is exact in fp32."""
_PROMPTS = ["<|user|>a<|assistant|>", "<|user|>what is this?<|assistant|>", "<|user|>some more words<|assistant|>"]
_PROMPTS += [f"<|user|>{string.ascii_letters}<|assistant|>", "<|user|>b<|assistant|>"]
_REQUESTS = [("<|user|>Which?", " A"), ("<|user|>Which?", " B, the other one"), ("<|user|>Why is it so?", " none")]
TOKENS = 12

_SHAPE = {**tiny_models.SHAPE, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
_MOE = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}
_DEEPSEEK = {**_MOE, "first_k_dense_replace": 1, "n_shared_experts": 1, "n_group": 1, "topk_group": 1}
_MLA = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "num_key_value_heads": 4,
}
_MAMBA = {"mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_n_heads": 4, "mamba_d_head": 16}
_MAMBA |= {"mamba_n_groups": 1, "mamba_chunk_size": 8}
_LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_HEAD = {"head_dim": 8}
_WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
"""Windows shorter than the prompts."""

_HEAD_ROWS = "| family | `model_type` | result | attention and cache, or the refusal |\n|---|---|---|---|\n"

_CACHES = {
    Caching.SHARED: "shared cache",
    Caching.OWN: "the model's cache",
    Caching.ALONE: "the model's cache, one row at a time",
    Caching.NONE: "no cache",
}

_SSM = {"state_size": 8, "conv_kernel": 4}


_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
_QWEN_EYE: dict[str, Any] = {"depth": 2, "num_heads": 4, "out_hidden_size": 32, "patch_size": 14}


def _seeing(text: dict[str, Any], eye: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a model that also reads images; its text model is as large as the others."""
    vision: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 14,
        **changes,
    }
    return {
        "text_config": {**_SHAPE, **text},
        "vision_config": {**vision, **({"model_type": eye} if eye else {})},
        "tie_word_embeddings": True,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "bos_token_id": None,
    }


class Family(NamedTuple):
    """A family and how its tiny model differs from the tiny Llama."""

    name: str
    model_type: str
    settings: dict[str, Any]

    def widened(self) -> Family:
        """Return the family with windows and chunks that are longer than the prompts with their answers."""
        return self._replace(settings=_widened(self.settings))

    def deepened(self) -> Family:
        """Return the family with twice as many layers, for those whose layers are counted as Llama's."""
        return self._replace(settings=_deepened(self.settings))

    def config(self) -> PreTrainedConfig:
        """Return the configuration of the tiny model."""
        shape = {} if "text_config" in self.settings else _SHAPE
        return AutoConfig.for_model(self.model_type, **{**shape, **self.settings})


def _deepened(settings: dict[str, Any]) -> dict[str, Any]:
    if "text_config" in settings:
        return {**settings, "text_config": _deepened(settings["text_config"])}
    kinds: dict[str, Any] = {
        name: 2 * settings[name] for name in ("layer_types", "layers_block_type") if name in settings
    }
    return {**settings, **kinds, "num_hidden_layers": 2 * tiny_models.SHAPE["num_hidden_layers"]}


def _widened(settings: dict[str, Any]) -> dict[str, Any]:
    wide: dict[str, Any] = {name: 256 for name in ("sliding_window", "attention_chunk_size") if name in settings}
    text = {"text_config": _widened(settings["text_config"])} if "text_config" in settings else {}
    return {**settings, **wide, **text}


FAMILIES = (
    Family("GPT-2", "gpt2", _GPT),
    Family("GPT (the first)", "openai-gpt", _GPT),
    Family(
        "GPT-Neo",
        "gpt_neo",
        {"num_layers": 2, "num_heads": 4, "window_size": 8, "attention_types": [[["global", "local"], 1]]},
    ),
    Family("GPT-J", "gptj", {**_GPT, "rotary_dim": 4}),
    Family("GPT-NeoX, Pythia", "gpt_neox", {}),
    Family("GPT-BigCode, StarCoder", "gpt_bigcode", _GPT),
    Family("CodeGen", "codegen", {**_GPT, "rotary_dim": 4, "n_ctx": 512}),
    Family("BLOOM", "bloom", {"n_layer": 2, "n_head": 4}),
    Family("MPT", "mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 512}),
    Family("Falcon", "falcon", {}),
    Family("Falcon, ALiBi", "falcon", {"alibi": True, "new_decoder_architecture": False}),
    Family("OPT", "opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    Family("XGLM", "xglm", {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4}),
    Family("Phi 1 and 2", "phi", {}),
    Family("Phi 3 and 4", "phi3", {}),
    Family("Phi 3.5 MoE", "phimoe", _MOE),
    Family("Llama 1 to 3", "llama", {}),
    Family("Llama 4, text", "llama4_text", {**_MOE, **_HEAD, "intermediate_size_mlp": 48, "attention_chunk_size": 8}),
    Family("Mistral", "mistral", {"sliding_window": 8}),
    Family("Ministral 3", "ministral3", {}),
    Family("Mixtral", "mixtral", _MOE),
    Family("Qwen 2 and 2.5", "qwen2", {}),
    Family("Qwen 2 MoE", "qwen2_moe", {**_MOE, "shared_expert_intermediate_size": 16}),
    Family("Qwen 3", "qwen3", _HEAD),
    Family("Qwen 3 MoE", "qwen3_moe", {**_MOE, **_HEAD}),
    Family("Qwen3-Next", "qwen3_next", {**_MOE, **_HEAD, **_LINEAR, "shared_expert_intermediate_size": 16}),
    Family("Qwen 3.5, text", "qwen3_5_text", {**_HEAD, **_LINEAR}),
    Family("Gemma 1", "gemma", _HEAD),
    Family(
        "Gemma 2",
        "gemma2",
        {**_HEAD, "sliding_window": 8, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0},
    ),
    Family("VaultGemma", "vaultgemma", {**_HEAD, "sliding_window": 8}),
    Family("Gemma 3, text", "gemma3_text", {**_HEAD, **_WINDOWS}),
    Family(
        "Gemma 3n, text",
        "gemma3n_text",
        {
            **_HEAD,
            "sliding_window": 8,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 260,
            "intermediate_size": [48] * 4,
            "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
        },
    ),
    Family("OLMo 1", "olmo", {}),
    Family("OLMo 2", "olmo2", {}),
    Family("OLMo 3", "olmo3", _WINDOWS),
    Family("OLMoE", "olmoe", _MOE),
    Family("OLMo hybrid", "olmo_hybrid", {**_LINEAR}),
    Family("DeepSeek V2", "deepseek_v2", {**_DEEPSEEK, **_MLA}),
    Family("DeepSeek V3, R1", "deepseek_v3", {**_DEEPSEEK, **_MLA, "n_group": 2}),
    Family("gpt-oss", "gpt_oss", {**_MOE, **_HEAD, **_WINDOWS}),
    Family("GLM 4 (first)", "glm", _HEAD),
    Family("GLM 4", "glm4", _HEAD),
    Family("GLM 4.5 MoE", "glm4_moe", {**_DEEPSEEK, **_HEAD}),
    Family("Granite", "granite", {}),
    Family("Granite MoE", "granitemoe", _MOE),
    Family(
        "Granite 4 hybrid",
        "granitemoehybrid",
        {**_MOE, **_MAMBA, "shared_intermediate_size": 16, "layer_types": ["mamba", "attention"]},
    ),
    Family("Cohere, Command R", "cohere", {}),
    Family("Cohere 2", "cohere2", _WINDOWS),
    Family("EXAONE 4", "exaone4", {**_WINDOWS, "sliding_window_pattern": "LG"}),
    Family("SmolLM 3", "smollm3", {}),
    Family("Nemotron", "nemotron", {}),
    Family(
        "Nemotron H",
        "nemotron_h",
        {
            **_HEAD,
            **_MOE,
            "layers_block_type": ["mamba", "attention"],
            "ssm_state_size": 8,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 1,
            "chunk_size": 8,
        },
    ),
    Family("StarCoder 2", "starcoder2", {"sliding_window": 8}),
    Family("StableLM", "stablelm", {}),
    Family("LFM 2", "lfm2", {"layer_types": ["conv", "full_attention"], "block_ff_dim": 48}),
    Family("LFM 2 MoE", "lfm2_moe", {**_MOE, "layer_types": ["conv", "full_attention"], "num_dense_layers": 1}),
    Family("Falcon-H1", "falcon_h1", {**_MAMBA, "mamba_d_ssm": 64}),
    Family("Falcon Mamba", "falcon_mamba", _SSM),
    Family("Mamba 1", "mamba", _SSM),
    Family("Mamba 2", "mamba2", {**_SSM, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8}),
    Family("RWKV 4", "rwkv", {"context_length": 512, "rescale_every": 1}),
    Family(
        "Jamba",
        "jamba",
        {
            **_MOE,
            **_MAMBA,
            "mamba_dt_rank": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
        },
    ),
    Family("Bamba", "bamba", {**_MAMBA, "attn_layer_indices": [1]}),
    Family(
        "RecurrentGemma",
        "recurrent_gemma",
        {**_HEAD, "lru_width": 32, "attention_window_size": 8, "block_types": ["recurrent", "attention"]},
    ),
    Family(
        "MiniMax",
        "minimax",
        {**_MOE, **_HEAD, "layer_types": ["linear_attention", "full_attention"], "block_size": 8},
    ),
    Family("MiniMax M2", "minimax_m2", {**_MOE, **_HEAD}),
    Family("ERNIE 4.5", "ernie4_5", _HEAD),
    Family("ERNIE 4.5 MoE", "ernie4_5_moe", {**_MOE, "moe_num_experts": 4, "moe_k": 2}),
    Family("Hunyuan", "hunyuan_v1_dense", _HEAD),
    Family("Seed-OSS", "seed_oss", _HEAD),
    Family("Helium", "helium", _HEAD),
    Family("Apertus", "apertus", {}),
    Family("Arcee", "arcee", {}),
    Family("BitNet", "bitnet", {}),
    Family("Persimmon", "persimmon", {}),
    Family("BioGPT", "biogpt", {}),
    Family("DiffLlama", "diffllama", {}),
    Family("MiniCPM 3", "minicpm3", {**_MLA, "v_head_dim": 8}),
    Family("JetMoE", "jetmoe", _MOE),
    Family("Gemma 3, with images", "gemma3", _seeing({**_HEAD, **_WINDOWS}, "siglip_vision_model")),
    Family(
        "Llama 4, with images",
        "llama4",
        _seeing(
            {**_MOE, **_HEAD, "intermediate_size_mlp": 48, "attention_chunk_size": 8},
            "llama4_vision_model",
            vision_output_dim=32,
            projector_input_dim=32,
            projector_output_dim=32,
            pixel_shuffle_ratio=0.5,
        ),
    ),
    Family("Mistral 3, with images", "mistral3", _seeing({**_HEAD, "model_type": "mistral"}, "pixtral")),
    Family("Qwen 2-VL", "qwen2_vl", _seeing(_MROPE, "", **_QWEN_EYE)),
    Family("Qwen 2.5-VL", "qwen2_5_vl", _seeing(_MROPE, "", **_QWEN_EYE)),
    Family("Qwen 3-VL", "qwen3_vl", _seeing({**_HEAD, **_MROPE}, "", **_QWEN_EYE, deepstack_visual_indexes=[0])),
    Family(
        "Qwen 3-VL MoE",
        "qwen3_vl_moe",
        _seeing({**_MOE, **_HEAD, **_MROPE}, "", **_QWEN_EYE, deepstack_visual_indexes=[0]),
    ),
    Family("LLaVA", "llava", _seeing({"model_type": "llama"}, "clip_vision_model")),
    Family("InternVL", "internvl", _seeing({"model_type": "qwen2"}, "internvl_vision")),
    Family("SmolVLM", "smolvlm", _seeing({"model_type": "llama"}, "smolvlm_vision")),
)


class Outcome(NamedTuple):
    """What the engine does with a family."""

    state: str
    """`exact`, or `refused`."""
    note: str
    """The attention and the cache, or the line of the refusal."""


def save(family: Family, directory: Path) -> Path:
    """Save the family's tiny model, whose rare parts (caps, sinks, states) change its answers."""
    return tiny_models.save_model(directory, family.config())


def examine(directory: Path) -> Outcome:
    """Open the engine on a model as a user does; assert that it decodes, moves, returns and scores exactly.

    The truth is plain transformers with eager attention, one prompt at a time, on the files and on moved files.
    """
    model = resolve(str(directory))
    tokenizer = load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    try:
        engine = TransformersEngine(model, tokenizer, Subspace(_LINE, model.weights), batch_size=4)
    except InputError as error:
        return Outcome("refused", str(error).replace(str(directory), "MODEL"))
    moved, stored = directory / "moved", load_file(directory / "model.safetensors")
    _save_moved(directory, moved, engine._live, RandomDirection(0, model.weights.inventory.norms))
    for point, files in ((Point(None, (0.0,)), directory), (_AWAY, moved)):
        engine.move_to(point)
        kind = auto_class(AutoConfig.from_pretrained(files))
        truth: Any = kind.from_pretrained(files, attn_implementation="eager", dtype=torch.float32)
        truth.eval()
        buffers = {_last(name) for name, _ in truth.named_buffers()}
        assert {_last(name) for name in stored.keys() - engine._live.keys()} <= buffers, "a parameter does not move"
        answers = [response.text for response in engine.respond(_PROMPTS, max_new_tokens=TOKENS, stop=())]
        assert answers == _generated(truth, engine, _PROMPTS)
        for request, found in zip(_REQUESTS, engine.loglikelihood(_REQUESTS), strict=True):
            likely = _log_probability(truth, engine, *request)
            assert abs(found.log_probability - likely) <= 1e-4 * abs(likely), (request, found, likely)
    expected = load_file(moved / "model.safetensors")
    for name, live in engine._live.items():
        assert torch.equal(live.read(), expected[name]), name
    assert engine.close() == engine.fingerprint_at_start
    attention = engine._model.config.get_text_config()._attn_implementation
    words = {"safescape_sdpa": "fused attention", "eager": "the model's attention"}
    by_length = ", prompts of equal length" if engine.caching is Caching.OWN and not engine.padded else ""
    return Outcome("exact", f"{words[attention]}, {_CACHES[engine.caching]}{by_length}")


def _last(name: str) -> str:
    """Return the last part of a tensor's name, which is the same in the files and in the live model."""
    return name.rpartition(".")[2]


def _save_moved(directory: Path, moved: Path, names: Iterable[str], direction: RandomDirection) -> None:
    """Save the model with the named tensors at `_AWAY`, by arithmetic in fp64 on the files, rounded once."""
    tensors = load_file(directory / "model.safetensors")
    for name in names:
        tensor = tensors[name]
        tensors[name] = (tensor.double() + _AWAY.coords[0] * direction.tensor(name, tensor).double()).float()
    moved.mkdir()
    save_file(tensors, moved / "model.safetensors", metadata={"format": "pt"})
    for file in directory.glob("*.json"):
        (moved / file.name).write_bytes(file.read_bytes())


def _generated(truth: Any, engine: TransformersEngine, prompts: Sequence[str]) -> list[str]:
    texts = []
    for prompt in prompts:
        given = engine._tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        written = truth.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=TOKENS, do_sample=False, pad_token_id=0
        )
        texts.append(text_of(engine._tokenizer, written[0, given.shape[1] :].tolist()))
    return texts


def _log_probability(truth: Any, engine: TransformersEngine, context: str, continuation: str) -> float:
    given = len(engine._tokenizer(context)["input_ids"])
    tokens = torch.tensor([engine._tokenizer(context + continuation)["input_ids"]])
    with torch.inference_mode():
        likely = torch.log_softmax(truth(input_ids=tokens).logits[0, given - 1 : -1].double(), dim=-1)
    return float(likely.gather(1, tokens[0, given:, None]).sum())


def row_of(family: Family, outcome: Outcome) -> str:
    """Return the family's row of the table in docs/models.md."""
    note = f"`{outcome.note}`" if outcome.state == "refused" else outcome.note
    return f"| {family.name} | `{family.model_type}` | {outcome.state} | {note} |"


def table_of(page: Path) -> list[str]:
    """Return the rows of the table in docs/models.md."""
    return _table(page)[1]


def write_table(page: Path, rows: Sequence[str]) -> None:
    """Replace the table in docs/models.md, and the sentence that counts it."""
    before, _, after = _table(page)
    states = [row.split(" | ")[2] for row in rows]
    untested = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - {family.model_type for family in FAMILIES})
    count = (
        f"Of {len(rows)} families {states.count('exact')} are exact and {states.count('refused')} are refused, with "
        f"transformers {transformers.__version__}.\n\n"
    )
    rest = (
        f"Untested are {len(untested)} more architectures that transformers lists as causal language models, because "
        f"no tiny model was made of them: {', '.join(f'`{name}`' for name in untested)}."
    )
    wrapped = textwrap.fill(rest, 140, break_on_hyphens=False)
    table = "\n".join(rows)
    page.write_text(f"{before}{count}{_HEAD_ROWS}{table}\n\n{wrapped}\n{after}", encoding="utf-8")


def _table(page: Path) -> tuple[str, list[str], str]:
    """Return a page before, in and after the part that `write_table` writes."""
    before, begin, rest = page.read_text(encoding="utf-8").partition("<!-- families -->\n")
    table, end, after = rest.partition("\n<!-- end of families -->")
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return before + begin, rows, end + after
