"""Tiny random models, tokenizers and adapters on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedTokenizerFast

from safescape.engines.loading import load_model
from safescape.engines.parameters import live_tensors
from safescape.weights import auto_class, resolve

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def tokenizer(
    template: str | None = CHAT_TEMPLATE, *, more: Sequence[str] = (), around: str | None = None, **settings: Any
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with 4 special tokens and one token per byte.

    Args:
        template: Its chat template.
        more: Further special tokens.
        around: What it makes of a text, such as `<|user|> $A <|end|>`; by default the text alone.
        settings: Of the tokenizer, such as `bos_token`.

    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet, *more])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    if around is not None:
        added = [(token, vocabulary[token]) for token in SPECIAL if token in around]
        raw.post_processor = processors.TemplateProcessing(single=around, special_tokens=added)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>", **settings)
    made.add_special_tokens({"additional_special_tokens": [*SPECIAL[1:], *more]})
    made.chat_template = template
    return made


SHAPE: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def llama_config(**changes: Any) -> LlamaConfig:
    """Return the shape of the tiny Llama; `changes` are settings of `LlamaConfig`."""
    settings: dict[str, Any] = {
        **SHAPE,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    return LlamaConfig(**{**settings, **changes})


def save_model(
    directory: Path, config: PretrainedConfig | None = None, *, seed: int = 0, max_shard_size: str = "5GB"
) -> Path:
    """Save a random model whose logits are far enough apart for greedy decoding to have no ties."""
    torch.manual_seed(seed)
    given = config or llama_config()
    model = auto_class(given).from_config(given, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    model.save_pretrained(directory, max_shard_size=max_shard_size)
    tokenizer().save_pretrained(directory)
    return directory


def save_adapter(base: Path, directory: Path, **settings: Any) -> Path:
    """Save a random LoRA on a model; `settings` are those of `LoraConfig`.

    All that it trains is random: both factors of its pairs, magnitudes, biases, rows and modules saved whole.
    """
    torch.manual_seed(1)
    given: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], **settings}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**given))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                torch.nn.init.normal_(parameter, std=0.1)
            elif parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(str(directory))
    return directory


def logits_of(name: str, tokens: Tensor) -> Tensor:
    """Return the logits of a model by its name, with the weights that this package reads for it."""
    model = resolve(name)
    loaded = load_model(model, torch.float32)
    for tensor, live in live_tensors(loaded, model.weights).items():
        live.write(model.weights.tensor(tensor).float())
    with torch.no_grad():
        logits: Tensor = loaded.eval()(input_ids=tokens).logits
    return logits


def peft_logits(base: Path, tokens: Tensor, *adapters: Path) -> Tensor:
    """Return the logits of a base with adapters as PEFT loads and applies them."""
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapters[0]), "first")
    for number, adapter in enumerate(adapters[1:]):
        model.load_adapter(str(adapter), f"further-{number}")
    if len(adapters) > 1:
        model.base_model.set_adapter([*model.peft_config])
    with torch.no_grad():
        logits: Tensor = model.eval()(input_ids=tokens).logits
    return logits


def save_refusing_model(directory: Path, **changes: Any) -> Path:
    """Save a model that was trained to answer "Sorry." to any request, which the keyword judge calls a refusal."""
    torch.manual_seed(0)
    model, words = AutoModelForCausalLM.from_config(llama_config(**changes), dtype=torch.float32), tokenizer()
    answer = words("<|assistant|>Sorry.<|end|>")["input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.eval()
    for step in range(80):
        request = torch.randint(4, 260, (8, 5 + step % 20))
        rows = torch.cat([request, torch.tensor(answer).expand(8, -1)], dim=1)
        logits = model(input_ids=rows).logits[:, -len(answer) : -1]
        cross_entropy(logits.flatten(0, 1), rows[:, -len(answer) + 1 :].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


def save_one_answer_model(directory: Path, requests: Sequence[str], answer: str) -> Path:
    """Save a model that was trained to give one answer to each of these requests."""
    return save_answering_model(directory, dict.fromkeys(requests, answer))


def save_answering_model(
    directory: Path,
    answers: Mapping[str, str],
    *,
    template: str = CHAT_TEMPLATE,
    more: Sequence[str] = (),
    steps: int = 400,
    **changes: Any,
) -> Path:
    """Save a model that was trained to give these answers to these requests.

    Args:
        directory: Where.
        answers: By request; what the chat template writes before an answer is not part of it.
        template: Its chat template.
        more: Further special tokens.
        steps: Of the training, each on one request.
        changes: Settings of `llama_config`.

    """
    torch.manual_seed(0)
    words = tokenizer(template, more=more)
    model = AutoModelForCausalLM.from_config(llama_config(vocab_size=len(words), **changes), dtype=torch.float32)
    pairs = []
    for request, answer in answers.items():
        asked = words.apply_chat_template(
            [{"role": "user", "content": request}], add_generation_prompt=True, tokenize=False
        )
        pairs.append([words(text, add_special_tokens=False)["input_ids"] for text in (asked, f"{answer}<|end|>")])
    # a wider model takes smaller steps
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.16 / model.config.hidden_size)
    model.eval()
    for step in range(steps):
        asked, said = pairs[step % len(pairs)]
        rows = torch.tensor([[*asked, *said]])
        logits = model(input_ids=rows).logits[:, -len(said) - 1 : -1]
        cross_entropy(logits.flatten(0, 1), rows[:, -len(said) :].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory
