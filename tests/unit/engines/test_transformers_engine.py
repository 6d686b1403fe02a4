"""The transformers engine on tiny models: it moves exactly, answers like `generate`, and returns to the origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from helpers import tiny_models
from helpers.some_noise import SomeNoise
from safescape import InputError, RunError
from safescape.engines import TransformersEngine
from safescape.engines.blocked_layers import BlockedLinear, block_linear_layers
from safescape.engines.parameters import LiveTensor
from safescape.engines.stages import text_of
from safescape.probes import format_chats, load_tokenizer
from safescape.survey import Finish, Lines, NoiseRule, Point, Position, RandomAxis
from safescape.weights import Checkpoint, Model, RandomDirection, Subspace, resolve

ORIGIN = Point(None, (0.0,))
LINES = Lines(axes=tuple(RandomAxis(seed=seed, span=0.5, steps=20) for seed in (0, 1)))
PROMPTS = ["a", "bb", "cc", "what is this", "a rather longer request than the others", "dd", "zebra crossing"]


def engine_of(directory: Path, dtype: torch.dtype = torch.float32, batch_size: int = 128) -> TransformersEngine:
    model = resolve(str(directory))
    tokenizer = load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    return TransformersEngine(model, tokenizer, Subspace(LINES, model.weights), dtype=dtype, batch_size=batch_size)


def generated(engine: TransformersEngine, chats: Sequence[str], tokens: int) -> list[str]:
    """Return the answers of transformers' greedy `generate`, one prompt at a time."""
    answers: list[str] = []
    model: Any = engine._model
    for chat in chats:
        prompt = engine._tokenizer(chat, add_special_tokens=False, return_tensors="pt")
        output = model.generate(**prompt, max_new_tokens=tokens, do_sample=False)
        answers.append(text_of(engine._tokenizer, output[0, prompt.input_ids.shape[1] :].tolist()))
    return answers


ARCHITECTURES = {
    "llama, grouped heads": tiny_models.llama_config(),
    "llama, untied head": tiny_models.llama_config(tie_word_embeddings=False, num_key_value_heads=4),
    "qwen3, head norms": Qwen3Config(
        **{**tiny_models.llama_config().to_dict(), "model_type": "qwen3", "head_dim": 16, "layer_types": None}
    ),
    "mistral, sliding window shorter than the prompts": MistralConfig(
        **{**tiny_models.llama_config().to_dict(), "model_type": "mistral", "sliding_window": 16}
    ),
    "qwen2, biases": Qwen2Config(
        **{
            **tiny_models.llama_config().to_dict(),
            "model_type": "qwen2",
            "use_sliding_window": False,
            "layer_types": None,
        }
    ),
    "gpt2, learned positions": GPT2Config(
        vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=None, eos_token_id=0
    ),
}


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@pytest.mark.parametrize("batch_size", [128, 3])
def test_answers_are_those_of_generate(config: PretrainedConfig, batch_size: int, tmp_path: Path) -> None:
    engine = engine_of(tiny_models.save_model(tmp_path / "model", config), batch_size=batch_size)
    chats = format_chats(engine._tokenizer, PROMPTS, "be brief")
    for point in (ORIGIN, Point(0, (0.2,))):
        engine.move_to(point)
        responses = engine.respond(chats, max_new_tokens=40, stop=())
        assert [response.text for response in responses] == generated(engine, chats, 40)
        assert all(r.tokens == 40 if r.finish is Finish.LENGTH else r.tokens < 40 for r in responses)
    assert engine.close() == engine.fingerprint_at_start


def test_a_settled_answer_is_the_beginning_of_the_whole_one(tiny_model: Path) -> None:
    engine = engine_of(tiny_model)
    chats = format_chats(engine._tokenizer, PROMPTS, None)
    whole = engine.respond(chats, max_new_tokens=60, stop=())
    # substrings that really occur: two characters from the middle of some answers
    stop = [response.text[20:22] for response in whole[:3]]
    assert all(len(text) == 2 for text in stop)
    cut = engine.respond(chats, max_new_tokens=60, stop=stop)
    assert any(response.finish is Finish.SETTLED for response in cut)
    for short, long in zip(cut, whole, strict=True):
        hit = any(text in long.text for text in stop)
        assert (short.finish is Finish.SETTLED) == hit
        assert long.text.startswith(short.text)
        assert any(text in short.text for text in stop) == hit
        if hit:
            assert not any(text in short.text[:-1] for text in stop), "it stops at the first token that settles it"


def test_an_answer_ends_as_noise_at_the_first_check_that_says_so(tiny_model: Path) -> None:
    engine = engine_of(tiny_model)
    chats = format_chats(engine._tokenizer, PROMPTS, None)
    whole = engine.respond(chats, max_new_tokens=60, stop=())
    noise = SomeNoise(NoiseRule(checks=((5, 0.5), (11, 0.5), (60, 0.5)), refusal=0.5))
    ended = engine.respond(chats, max_new_tokens=60, stop=(), noise=noise)
    for short, long in zip(ended, whole, strict=True):
        said = [tokens for tokens in (5, 11) if long.tokens >= tokens]
        texts = {tokens: engine.respond(chats, max_new_tokens=tokens, stop=()) for tokens in said}
        first = next((tokens for tokens in said if noise(texts[tokens][whole.index(long)].text)), None)
        assert short == (long if first is None else texts[first][whole.index(long)]._replace(finish=Finish.NOISE))
    assert Finish.NOISE in (finishes := {response.finish for response in ended})
    assert len(finishes) > 1, "some answers are written on"


def test_a_phrase_settles_before_noise_ends(tiny_model: Path) -> None:
    engine = engine_of(tiny_model)
    chats = format_chats(engine._tokenizer, PROMPTS, None)
    fifth = engine.respond(chats, max_new_tokens=5, stop=())
    noise = SomeNoise(NoiseRule(checks=((5, 0.5),), refusal=0.5))
    given = engine.respond(chats, max_new_tokens=60, stop=[fifth[0].text[-2:]], noise=noise)
    assert given[0].finish is Finish.SETTLED


def test_prompts_that_are_equal_or_prefixes_of_each_other(tiny_model: Path) -> None:
    engine = engine_of(tiny_model)
    chats = ["<|user|>a", "<|user|>ab", "<|user|>a", "<|user|>abc"]
    answers = [response.text for response in engine.respond(chats, max_new_tokens=12, stop=())]
    assert answers == generated(engine, chats, 12)
    assert answers[0] == answers[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_move_is_origin_plus_coordinate_times_direction_rounded_once(tiny_model: Path, dtype: torch.dtype) -> None:
    engine, origin = engine_of(tiny_model, dtype), Checkpoint(tiny_model)
    engine.move_to(Point(1, (0.3,)))
    for name, live in engine._live.items():
        wide = origin.tensor(name).float()
        expected = torch.add(wide, RandomDirection(1).tensor(name, wide), alpha=0.3).to(dtype)
        assert torch.equal(live.read(), expected), name


def test_tied_weights_move_once(tiny_model: Path) -> None:
    engine = engine_of(tiny_model)
    assert "lm_head.weight" not in engine._live
    engine.move_to(Point(0, (0.5,)))
    assert torch.equal(engine._model.lm_head.weight, engine._model.model.embed_tokens.weight)


def test_on_a_cpu_only_a_tied_head_is_stored_twice(tiny_model: Path, tmp_path: Path) -> None:
    untied = tiny_models.save_model(tmp_path / "untied", tiny_models.llama_config(tie_word_embeddings=False))
    for directory, heads in ((tiny_model, 1), (untied, 1)):
        model = engine_of(directory)._model
        blocked = [module for module in model.modules() if isinstance(module, BlockedLinear)]
        assert len(blocked) == 2 * 7 + heads
        assert not [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
        left = {name for name, parameter in model.named_parameters() if parameter.dim() > 1}
        assert left == {"model.embed_tokens.weight"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_blocked_layer_holds_the_same_numbers_and_computes_the_same(dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(33, 17, bias=bias, dtype=dtype)
    if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        # this CPU has no such layout in bf16; the engine leaves its layers as they are
        block_linear_layers(torch.nn.Sequential(plain))  # type: ignore[arg-type]
        assert "forward" not in vars(plain)
        return
    blocked = BlockedLinear(plain)
    assert torch.equal(blocked.weight, plain.weight)
    for shape in ((1, 33), (2, 5, 33), (70, 33)):
        states = torch.randn(shape, dtype=dtype)
        # bf16 has 8 bits, fp32 has 24: sums of 33 products in another order
        torch.testing.assert_close(
            blocked(states), plain(states), rtol=2e-2 if dtype is torch.bfloat16 else 1e-5, atol=1e-5
        )
    other = torch.randn(17, 33, dtype=dtype)
    blocked.put(other)
    assert torch.equal(blocked.weight, other)


points = st.tuples(st.integers(0, 1), st.floats(-0.5, 0.5)).map(lambda p: Point(p[0], (p[1],))) | st.just(ORIGIN)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(journey=st.lists(points, max_size=6), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_after_any_sequence_of_moves_the_origin_is_bit_equal(
    tiny_model: Path, journey: list[Point], dtype: torch.dtype
) -> None:
    engine = engine_of(tiny_model, dtype)
    start = {name: live.read().clone() for name, live in engine._live.items()}
    for point in journey:
        engine.move_to(point)
    assert engine.close() == engine.fingerprint_at_start
    for name, live in engine._live.items():
        assert torch.equal(live.read(), start[name])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(journey=st.lists(points, max_size=4), last=points)
def test_a_point_is_the_same_whatever_came_before(tiny_model: Path, journey: list[Point], last: Point) -> None:
    engine, direct = engine_of(tiny_model), engine_of(tiny_model)
    for point in journey:
        engine.move_to(point)
    assert engine.move_to(last) == direct.move_to(last)
    assert engine.fingerprint() == direct.fingerprint()


def test_effective_coordinates(tiny_model: Path) -> None:
    assert engine_of(tiny_model).move_to(ORIGIN) == ((0.0,), 0.0)
    assert engine_of(tiny_model).move_to(Point(0, (0.3,))).effective == (0.3,)
    engine, origin = engine_of(tiny_model, torch.bfloat16), Checkpoint(tiny_model)
    for alpha in (0.3, 1e-4):
        (effective,), _ = engine.move_to(Point(0, (alpha,)))
        along = square = 0.0
        for name, live in engine._live.items():
            wide = origin.tensor(name)
            direction = RandomDirection(0).tensor(name, wide).double()
            along += float(((live.read().double() - wide.bfloat16().double()) * direction).sum())
            square += float(direction.square().sum())
        assert effective == pytest.approx(along / square, rel=1e-4)
        assert effective != alpha, "what counts is where the rounded weights really are"


def test_the_canary_passes_and_catches_a_model_that_does_not_move(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(tiny_model)
    engine.canary(Point(0, (0.05,)))
    monkeypatch.setattr(LiveTensor, "write", lambda self, values: None)
    with pytest.raises(RunError, match="changed no logit"):
        engine.canary(Point(0, (0.05,)))


def test_close_notices_weights_that_did_not_come_back(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(tiny_model)
    monkeypatch.setattr(TransformersEngine, "move_to", lambda self, point: Position((0.0,), 0.0))
    live = next(iter(engine._live.values()))
    live.write(live.read() + 1)
    with pytest.raises(RunError, match="did not return"):
        engine.close()


def test_a_checkpoint_that_lacks_a_tensor(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    directory = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    tensors = load_file(directory / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks the tensor model\.layers\.1\.mlp\.up_proj\.weight"):
        engine_of(directory)


def test_weights_of_another_shape_than_the_config_says(tiny_model: Path, tmp_path: Path) -> None:
    other = tiny_models.save_model(tmp_path / "other", tiny_models.llama_config(intermediate_size=64))
    tokenizer = load_tokenizer(tiny_model, chat_template=None, trust_remote_code=False)
    with pytest.raises(InputError, match="has shape"):
        TransformersEngine(Model("m", tiny_model, Checkpoint(other)), tokenizer, Subspace(LINES, Checkpoint(other)))
