"""Decoding with CUDA graphs, on a CPU, where each captured step is run again instead of replayed.

`python benchmarks/gpu.py` runs the same on a GPU with graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig, PretrainedConfig, PreTrainedModel, Qwen2Config

from helpers.tiny_models import SHAPE, llama_config, save_model
from safescape.engines.attention import ATTENTION
from safescape.engines.cuda_graphs import GraphDecoder, supports_cuda_graphs
from safescape.engines.decoding import Continuation, decode
from safescape.survey import Finish

CONFIGS = {
    "llama": llama_config(),
    "llama with a head for each": llama_config(num_key_value_heads=4),
    "qwen2": Qwen2Config(**SHAPE),
    "gpt2": GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4),
}


def loaded(directory: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, attn_implementation=ATTENTION)
    return model.eval()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return loaded(save_model(tmp_path_factory.mktemp("replayed")))


class Captured:
    """A graph that stores the captured step and counts captures and replays."""

    def __init__(self) -> None:
        self.captured = self.replayed = 0

    def __call__(self, step: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            step()

        return replay


def answers(
    model: PreTrainedModel,
    prompts: list[list[int]],
    decoder: GraphDecoder | None,
    *,
    most: int = 40,
    batch_size: int = 128,
    settled_at: Callable[[int], int] = lambda first: 1000,
) -> list[Continuation]:
    return decode(
        model,
        prompts,
        end_tokens=frozenset({0}),
        max_new_tokens=most,
        batch_size=batch_size,
        ends_as=lambda tokens: Finish.SETTLED if len(tokens) >= settled_at(tokens[0]) else None,
        open_batch=decoder.open_batch if decoder else None,
    )


def some_prompts(count: int, seed: int, longest: int = 90) -> list[list[int]]:
    torch.manual_seed(seed)
    lengths = torch.randint(1, longest, (count,)).tolist()
    return [[5, 6, 7, *torch.randint(4, 260, (length,)).tolist()] for length in lengths]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_the_answers_are_those_of_the_cpu_batch(config: PretrainedConfig, tmp_path: Path) -> None:
    model = loaded(save_model(tmp_path, config))
    captured = Captured()
    decoder = GraphDecoder(model, lambda: captured)
    prompts = some_prompts(24, seed=1)
    assert answers(model, prompts, decoder) == answers(model, prompts, None)
    assert captured.captured
    assert captured.replayed > 2 * captured.captured


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 120), st.integers(1, 70)), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    spread=st.integers(1, 30),
    batch_size=st.sampled_from([7, 128]),
)
def test_earlier_batches_have_no_effect(
    llama: PreTrainedModel, sizes: list[tuple[int, int, int]], seed: int, spread: int, batch_size: int
) -> None:
    """Batches of any size and order share one buffer, and answers end at any step."""
    decoder = GraphDecoder(llama, Captured)
    for number, (count, longest, most) in enumerate(sizes):
        prompts = some_prompts(count, seed + number, longest + 1)

        def found(
            using: GraphDecoder | None, prompts: list[list[int]] = prompts, most: int = most
        ) -> list[Continuation]:
            return answers(
                llama, prompts, using, most=most, batch_size=batch_size, settled_at=lambda first: 1 + first % spread
            )

        assert found(decoder) == found(None)


def test_repeated_shapes_are_not_captured_again(llama: PreTrainedModel) -> None:
    captured = Captured()
    decoder = GraphDecoder(llama, lambda: captured)
    prompts = some_prompts(40, seed=3)
    first = answers(llama, prompts, decoder, settled_at=lambda token: 5 + token % 30)
    memory = decoder.memory
    assert answers(llama, prompts, decoder, settled_at=lambda token: 5 + token % 30) == first
    before = captured.captured
    assert answers(llama, prompts, decoder, settled_at=lambda token: 5 + token % 30) == first
    assert captured.captured == before
    assert decoder.memory is memory
    assert {finish for _, finish in first} >= {Finish.SETTLED}


def test_moved_weights_are_seen(tmp_path: Path) -> None:
    model = loaded(save_model(tmp_path))
    decoder, prompts = GraphDecoder(model, Captured), some_prompts(10, seed=4)
    before = answers(model, prompts, decoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    after = answers(model, prompts, decoder)
    assert after != before
    assert after == answers(model, prompts, None)


def test_only_what_does_the_same_work_for_any_token_is_replayed(tmp_path: Path) -> None:
    def on_gpu(config: PretrainedConfig, *, head: str = "meta") -> bool:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        model.get_output_embeddings().to_empty(device=head)
        type(model).device = property(lambda _: torch.device("cuda"))
        try:
            return supports_cuda_graphs(model)
        finally:
            del type(model).device

    assert all(on_gpu(config) for config in CONFIGS.values())
    assert not on_gpu(llama_config(tie_word_embeddings=False), head="cpu")
    assert not on_gpu(MistralConfig(**SHAPE, sliding_window=16))
    assert not on_gpu(llama_config(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}))
    assert not supports_cuda_graphs(loaded(save_model(tmp_path)))
