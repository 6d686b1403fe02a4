"""Tiny random guards on disk: each architecture with a tokenizer of its family and its special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    Gemma2Config,
    GemmaConfig,
    GemmaTokenizer,
    LlamaConfig,
    LlamaTokenizer,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

PRINTABLE = [chr(code) for code in range(33, 127)]


def merges_of(*words: str) -> list[tuple[str, str]]:
    """Return BPE merges that make one token of each word, from left to right."""
    return list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))


def vocabulary_of(start: list[str], merges: list[tuple[str, str]]) -> dict[str, int]:
    tokens = [*start, *PRINTABLE, "▁", "\n", *("".join(pair) for pair in merges)]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def llama_3() -> PreTrainedTokenizerBase:
    merges = merges_of("safe", "unsafe")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *("".join(pair) for pair in merges)]
    raw = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"]
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    made.add_special_tokens({"additional_special_tokens": special})
    return made


def llama_2(*special: str) -> PreTrainedTokenizerBase:
    merges = merges_of("▁Yes", "▁No", "▁yes", "▁no", "Yes", "No", "yes", "no")
    vocabulary = vocabulary_of(["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))], merges)
    del vocabulary["\n"]
    vocabulary = {token: number for number, token in enumerate(vocabulary)}
    made = LlamaTokenizer(vocab=vocabulary, merges=merges, legacy=False)
    if special:
        made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def gemma() -> PreTrainedTokenizerBase:
    merges = [*merges_of("Yes", "No"), ("\n", "\n")]
    start = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made = GemmaTokenizer(vocab=vocabulary_of(start, merges), merges=merges)  # type: ignore[arg-type]  # takes pairs
    made.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    return made


TOKENIZERS = {
    "harmbench": llama_2,
    "llama-guard-3": llama_3,
    "llama-guard-3-1b": llama_3,
    "shieldgemma": gemma,
    "strongreject": gemma,
    # Mistral's control tokens, which its chat template writes
    "wildguard": lambda: llama_2("[INST]", "[/INST]"),
}
"""A function that makes the tokenizer, by guard."""
_CONFIGS: dict[str, type[PretrainedConfig]] = {
    "harmbench": LlamaConfig,
    "llama-guard-3": LlamaConfig,
    "llama-guard-3-1b": LlamaConfig,
    "shieldgemma": Gemma2Config,
    "strongreject": GemmaConfig,
    "wildguard": MistralConfig,
}


def save_guard(directory: Path, guard: str, *, answers: list[list[int]] | None = None, seed: int = 0) -> Path:
    """Save a random guard. With `answers`, lists of token ids, it always answers with one of these tokens."""
    tokenizer = TOKENIZERS[guard]()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
    }
    if _CONFIGS[guard] is MistralConfig:
        settings["sliding_window"] = None
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(_CONFIGS[guard](**settings), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
            if "embed" in name:
                # a coordinate that all tokens share, on which the output head selects the answers
                parameter[:, 0] = 4.0
        for token in (token for tokens in answers or [] for token in tokens):
            model.lm_head.weight[token, 0] += 6.0
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def save_classifier(directory: Path, *labels: str, seed: int = 0) -> Path:
    """Save a random BERT classifier with these labels; LABEL_0 and LABEL_1 by default."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PRINTABLE, *(f"##{letter}" for letter in PRINTABLE)]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, do_lower_case=False)
    names: dict[str, Any] = {"id2label": dict(enumerate(labels)), "label2id": {k: n for n, k in enumerate(labels)}}
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=1.0,
        **(names if labels else {}),
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
