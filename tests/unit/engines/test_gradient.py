"""The gradient of the refusal margin: against finite differences, and however chats and openings are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    MambaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from helpers import tiny_models
from safescape.engines import margin_gradient
from safescape.engines.gradient import margins_of, requests_of
from safescape.engines.kv_cache import Caching
from safescape.engines.loglikelihood import Request
from safescape.probes import Scored, load_tokenizer, margin_of
from safescape.survey import Openings
from safescape.weights import resolve

CONFIGS: dict[str, PretrainedConfig] = {
    "llama": tiny_models.llama_config(),
    "llama, tied": tiny_models.llama_config(tie_word_embeddings=True),
    "window": MistralConfig(**{**tiny_models.llama_config().to_dict(), "model_type": "mistral", "sliding_window": 16}),
    "gpt2": GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=256, eos_token_id=0),
    "mamba": MambaConfig(vocab_size=260, hidden_size=32, state_size=8, num_hidden_layers=2, eos_token_id=0),
}
CHATS = [f"<|user|>{'How? ' * (1 + number % 4)}<|end|><|assistant|>" for number in range(11)]
OPENINGS = [Openings(("No", "I cannot"), ("Sure", "1", "Here is"))] * 10 + [Openings(("N",), ("Sure",))]


def random_model(config: PretrainedConfig) -> PreTrainedModel:
    """Return a model in fp64 whose matrices are large enough for its margin to change with them."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return model


def prompts_of(tokenizer: PreTrainedTokenizerBase) -> list[list[Request]]:
    return requests_of(tokenizer, CHATS, OPENINGS)


def mean_margin(model: PreTrainedModel, prompts: list[list[Request]], caching: Caching) -> Tensor:
    return torch.cat(list(margins_of(model, prompts, OPENINGS, caching))).mean()


def plain_margin(model: PreTrainedModel, requests: list[Request], refusing: int) -> float:
    """Return a margin by its definition, with one forward pass for each opening."""

    def scored(request: Request) -> Scored:
        context, continuation = list(request.context), list(request.continuation)
        with torch.no_grad():
            found = model(input_ids=torch.tensor([[*context, *continuation]]), use_cache=False).logits[0]
        every = found.log_softmax(-1)[len(context) - 1 : -1]
        return Scored(float(every.gather(1, torch.tensor(continuation)[:, None]).sum()), len(continuation))

    each = [scored(request) for request in requests]
    return margin_of(each[:refusing], each[refusing:])


@pytest.fixture
def tokenizer(tmp_path: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_models.save_model(tmp_path / "words"), chat_template=None, trust_remote_code=False)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_is_that_of_finite_differences(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    model = random_model(CONFIGS[name])
    prompts, caching = prompts_of(tokenizer), Caching.NONE if name == "mamba" else Caching.SHARED
    refusing = [len(given.refusing) for given in OPENINGS]
    plain = [plain_margin(model, some, count) for some, count in zip(prompts, refusing, strict=True)]
    expected = sum(plain) / len(plain)
    margin = mean_margin(model, prompts, caching)
    assert margin.item() == pytest.approx(expected, abs=1e-6)
    margin.backward()
    # torch gives the row of a padding token no gradient; embeddings rest in a direction
    model.get_input_embeddings().weight.grad = None
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    assert len(parameters) > 10
    for seed in range(3):
        torch.manual_seed(seed)
        steps = [torch.randn_like(parameter) for parameter in parameters]
        slope = 0.0
        for step, parameter in zip(steps, parameters, strict=True):
            assert parameter.grad is not None
            slope += float((step * parameter.grad).sum())
        found = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                for step, parameter in zip(steps, parameters, strict=True):
                    parameter.add_(step, alpha=sign * 1e-4)
                found.append(mean_margin(model, prompts, caching).item())
                for step, parameter in zip(steps, parameters, strict=True):
                    parameter.sub_(step, alpha=sign * 1e-4)
        assert (found[0] - found[1]) / 2e-4 == pytest.approx(slope, rel=2e-3, abs=1e-3)


def test_a_cache_changes_no_gradient(tokenizer: PreTrainedTokenizerBase) -> None:
    model = random_model(CONFIGS["llama"])
    prompts, found = prompts_of(tokenizer), []
    for caching in (Caching.SHARED, Caching.NONE):
        model.zero_grad()
        mean_margin(model, prompts, caching).backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_embeddings_head_and_norms_rest_and_an_adapter_counts(
    tied: bool, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    base = tiny_models.save_model(tmp_path / "base", tiny_models.llama_config(tie_word_embeddings=tied))
    adapter = tiny_models.save_adapter(base, tmp_path / "adapter")
    model = resolve(f"{base}+{adapter}")
    found = margin_gradient(model, tokenizer, CHATS, OPENINGS)
    assert set(found) == {
        name
        for name in model.weights.names()
        if name.endswith(".weight") and not any(part in name for part in ("embed_tokens", "lm_head", "norm"))
    }
    merged = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in merged.named_parameters():
            if name in model.weights.names():
                parameter.copy_(model.weights.tensor(name))
    mean_margin(merged, prompts_of(tokenizer), Caching.NONE).backward()
    for name, parameter in merged.named_parameters():
        if name in found:
            assert parameter.grad is not None
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6)
