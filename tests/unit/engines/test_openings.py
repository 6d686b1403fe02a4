"""Likelihoods of openings equal those of one forward pass per opening, for every way in which a model is cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2Config, MambaConfig, MistralConfig, PretrainedConfig, PreTrainedModel

from helpers import tiny_models
from safescape.engines import TransformersEngine
from safescape.engines.kv_cache import Caching
from safescape.engines.loglikelihood import Request
from safescape.engines.openings import score_openings
from safescape.engines.speaker import opening_requests
from safescape.probes import Scored, load_tokenizer
from safescape.survey import Lines, Point, RandomAxis
from safescape.weights import Subspace, resolve

CONFIGS: dict[str, PretrainedConfig] = {
    "llama": tiny_models.llama_config(),
    "window": MistralConfig(**{**tiny_models.llama_config().to_dict(), "model_type": "mistral", "sliding_window": 16}),
    "gpt2": GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=256, eos_token_id=0),
    "mamba": MambaConfig(vocab_size=260, hidden_size=32, state_size=8, num_hidden_layers=2, eos_token_id=0),
}
CHATS = ["<|user|>How?<|end|><|assistant|>", "<|user|>A longer request, how?<|end|><|assistant|>", "x"]
OPENINGS = [("No", "I cannot", "Sure"), ("No", "Sure, here is how", "N"), ("y", "No")]


def alone(model: PreTrainedModel, request: Request) -> Scored:
    """Return the likelihood by one pass."""
    whole = torch.tensor([[*request.context, *request.continuation]])
    with torch.inference_mode():
        every = model(input_ids=whole).logits[0].double().log_softmax(-1)[len(request.context) - 1 : -1]
    targets = torch.tensor(list(request.continuation))
    return Scored(float(every.gather(1, targets[:, None]).sum()), len(targets))


def assert_alike(found: Sequence[Scored], expected: Sequence[Scored]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.log_probability == pytest.approx(theirs.log_probability, rel=1e-5, abs=1e-5)
        assert ours.tokens == theirs.tokens


@pytest.mark.parametrize("batch_size", [128, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_openings_are_scored_as_one_by_one_at_every_point(name: str, batch_size: int, tmp_path: Path) -> None:
    directory = tiny_models.save_model(tmp_path / "model", CONFIGS[name])
    model, tokenizer = resolve(str(directory)), load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    line = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
    engine = TransformersEngine(model, tokenizer, Subspace(line, model.weights), batch_size=batch_size)
    assert (engine.caching is Caching.SHARED) is (name != "mamba")
    requests = opening_requests(tokenizer, CHATS, OPENINGS)
    for point in (Point(None, (0.0,)), Point(0, (0.5,))):
        engine.move_to(point)
        for some, given_ones in zip(engine.openings(CHATS, OPENINGS), requests, strict=True):
            assert_alike(some, [alone(engine._model, request) for request in given_ones])


TOKENS = st.lists(st.integers(4, 60), min_size=1, max_size=6).map(tuple)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(TOKENS, st.lists(TOKENS, min_size=1, max_size=4)), min_size=1, max_size=6),
    st.integers(1, 9),
)
def test_any_chats_and_openings_are_scored_as_one_by_one(
    asked: list[tuple[tuple[int, ...], list[tuple[int, ...]]]], batch_size: int
) -> None:
    """Repeated chats, repeated openings, openings that begin alike, of one token or longer than the chats."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_models.llama_config(), dtype=torch.float32).eval()
    requests = [[Request(chat, opening) for opening in openings] for chat, openings in asked]
    found = score_openings(model, requests, batch_size=batch_size)
    for some, given_ones in zip(found, requests, strict=True):
        assert_alike(some, [alone(model, request) for request in given_ones])


def test_an_opening_begins_where_the_tokens_of_the_chat_end(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_models.save_model(tmp_path / "model"), chat_template=None, trust_remote_code=False)
    ((spaced, other),) = opening_requests(tokenizer, ["a \n"], [("No", " b")])
    assert tokenizer.decode([*spaced.context]) == "a \n"
    assert tokenizer.decode([*spaced.continuation]) == "No"
    assert tokenizer.decode([*other.continuation]) == " b"
