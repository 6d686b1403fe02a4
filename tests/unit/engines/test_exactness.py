"""What the fast way of decoding cannot do exactly goes by the model's own attention and cache, or is refused."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Phi3Config, PreTrainedConfig, PreTrainedModel, RwkvConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from helpers import tiny_models
from helpers.families import FAMILIES
from safescape import InputError
from safescape.engines import TransformersEngine, attention, borrow, exactness
from safescape.engines.attention import ATTENTION, InexactError
from safescape.engines.decoding import decode
from safescape.engines.exactness import plan_of
from safescape.engines.kv_cache import Caching
from safescape.engines.shared_cache import ends_of_passes
from safescape.probes import load_tokenizer
from safescape.survey import Finish, Lines, Point, RandomAxis
from safescape.weights import Subspace, resolve

FAST = (ATTENTION, Caching.SHARED)
CONFIGS = {family.model_type: family.config for family in FAMILIES}
PROMPTS = [[5, 6, 7], [5, 6, 9, 12], [5, 6, 7, 8, 9, 10, 11], [5, 6, 7]]


def live(config: PreTrainedConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    torch.nn.Module.to(model, dtype)
    return model.eval()


def engine_of(directory: Path) -> TransformersEngine:
    model = resolve(str(directory))
    tokenizer = load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    lines = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
    return TransformersEngine(model, tokenizer, Subspace(lines, model.weights))


def written(
    model: PreTrainedModel,
    caching: Caching,
    tokens: int = 20,
    batch_size: int = 8,
    *,
    padded: bool = False,
    prompts: Sequence[Sequence[int]] = PROMPTS,
) -> list[list[int]]:
    found = decode(
        model,
        prompts,
        end_tokens=frozenset({0}),
        max_new_tokens=tokens,
        batch_size=batch_size,
        caching=caching,
        padded=padded,
    )
    return [answer for answer, _ in found]


def generated(
    model: Any, tokens: int = 20, *, use_cache: bool = True, prompts: Sequence[Sequence[int]] = PROMPTS
) -> list[list[int]]:
    found = []
    for prompt in prompts:
        given = torch.tensor([prompt])
        settings = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": 0, "eos_token_id": 0}
        with torch.inference_mode():
            whole = model.generate(given, attention_mask=torch.ones_like(given), use_cache=use_cache, **settings)
        answer = whole[0, len(prompt) :].tolist()
        found.append(answer[: answer.index(0)] if 0 in answer else answer)
    return found


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral", "deepseek_v3", "gpt2"])
def test_plain_attention_goes_the_fast_way(kind: str) -> None:
    assert plan_of(live(CONFIGS[kind]()), kind)[:2] == FAST


@pytest.mark.parametrize("kind", ["gemma2", "vaultgemma"])
@pytest.mark.parametrize("cap", [2.0, 50.0])
def test_capped_scores_are_capped_however_little_it_changes(kind: str, cap: float) -> None:
    config = CONFIGS[kind]()
    config.attn_logit_softcapping = cap
    model = live(config)
    assert plan_of(model, kind)[:2] == ("eager", Caching.SHARED)
    assert written(model, Caching.SHARED) == generated(model)
    model.set_attn_implementation(ATTENTION)
    with pytest.raises(InexactError, match="softcap"):
        model(torch.tensor([[1, 2]]))


def test_a_cap_that_is_none_costs_nothing() -> None:
    config = CONFIGS["gemma2"]()
    config.attn_logit_softcapping = None
    assert plan_of(live(config), "gemma2")[:2] == FAST


def test_attention_sinks_take_part() -> None:
    model = live(CONFIGS["gpt_oss"]())
    for name, parameter in model.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.normal_(parameter, mean=2.0)
    assert plan_of(model, "gpt-oss")[:2] == ("eager", Caching.SHARED)
    assert written(model, Caching.SHARED) == generated(model)


def test_attention_that_is_wrong_without_any_sign_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sdpa_attention_forward

    def without_scale(*args: Any, **kwargs: Any) -> Any:
        return right(*args, **{**kwargs, "scaling": 0.9 * kwargs["scaling"]})

    monkeypatch.setattr(attention, "sdpa_attention_forward", without_scale)
    assert plan_of(live(tiny_models.llama_config()), "llama")[:2] == ("eager", Caching.SHARED)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "opt", "gemma", "deepseek_v3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_stays_within_the_tolerance(kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """In fp32 the margin is wide on both sides; in bf16 rounding hides what is small, which the rules know."""
    for seed in range(3):
        model = live(CONFIGS[kind](), seed, dtype)
        with torch.inference_mode():
            expected = exactness._expected(model, exactness._UNEQUAL)
            model.set_attn_implementation(ATTENTION)
            found = exactness._logits(model, exactness._UNEQUAL, Caching.SHARED, expected.cache)
        tolerance = exactness._tolerance(model, None) * expected.noise
        assert exactness._size(found - expected.logits) < tolerance / 2
        if dtype is torch.float32:
            assert tolerance < 1e-3 * exactness._size(expected.logits)


@pytest.mark.parametrize("kind", ["lfm2", "mamba", "jamba", "qwen3_next", "rwkv", "recurrent_gemma"])
def test_recurrent_models_decode_by_their_own_cache(kind: str) -> None:
    model = live(CONFIGS[kind]())
    plan = plan_of(model, kind)
    assert plan.caching is not Caching.SHARED
    assert written(model, plan.caching) == written(model, plan.caching, batch_size=1) == generated(model)


RAGGED = [[5, 6, 7], [9], [5, 6, 9, 12, *range(20, 33)], [5, 6, 7, 8, 9, 10, 11], [9, 8]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "kind", ["lfm2", "mamba2", "jamba", "qwen3_next", "falcon_h1", "granitemoehybrid", "openai-gpt"]
)
def test_padding_is_left_out_of_all_states(kind: str, dtype: torch.dtype) -> None:
    model = live(CONFIGS[kind]())
    plan = plan_of(live(CONFIGS[kind](), dtype=dtype), kind)
    assert plan.padded
    assert written(model, plan.caching, padded=True, prompts=RAGGED) == generated(model, prompts=RAGGED)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["mamba", "falcon_mamba", "minimax", "recurrent_gemma", "rwkv"])
def test_models_that_read_padding_are_not_padded(kind: str, dtype: torch.dtype) -> None:
    """The state spaces of these ignore the attention mask, in transformers' own `generate` as well."""
    assert not plan_of(live(CONFIGS[kind](), dtype=dtype), kind).padded


@pytest.mark.parametrize("kind", ["gpt_oss", "gemma3_text", "mistral", "falcon", "gpt_neo"])
def test_rows_beyond_a_window_are_padded(kind: str, batches: list[tuple[Caching, set[int]]]) -> None:
    model = live(CONFIGS[kind]())
    plan = plan_of(model, kind)
    assert (plan.caching, plan.padded) == (Caching.SHARED, True)
    batches.clear()
    assert written(model, plan.caching, padded=True, prompts=RAGGED) == generated(model, prompts=RAGGED)
    assert batches == [(Caching.OWN, {1, 2, 3, 7, 17})]


def test_a_long_prefix_is_shared_rather_than_padded(batches: list[tuple[Caching, set[int]]]) -> None:
    model = live(CONFIGS["mistral"]())
    prefix = list(range(10, 200))
    for rows, is_padded in ((2, True), (40, False)):
        prompts = [[*prefix, *[7] * (1 + row % 2)] for row in range(rows)]
        batches.clear()
        answers = written(model, Caching.SHARED, tokens=24, padded=True, batch_size=64, prompts=prompts)
        assert {caching for caching, _ in batches} == {Caching.OWN if is_padded else Caching.SHARED}
        assert answers[:2] == generated(model, tokens=24, prompts=prompts[:2])


def test_a_cache_that_changes_answers_is_not_used() -> None:
    """In transformers 5.19, Nemotron H limits its time steps from below only where it reads several tokens."""
    family = next(family for family in FAMILIES if family.model_type == "nemotron_h").deepened()
    model: Any = live(family.config())
    for bias, caching in ((0.0, Caching.OWN), (-9.0, Caching.NONE)):
        for layer in model.model.layers[::2]:
            layer.mixer.dt_bias.data.fill_(bias)
        assert plan_of(model, "nemotron").caching is caching


@pytest.mark.parametrize("what", ["left out", "refused"])
def test_a_mask_without_effect_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = live(CONFIGS["lfm2"]())
    forward = type(model).forward

    def unmasked(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        if attention_mask is not None and what == "refused":
            raise ValueError("no mask here")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", unmasked)
    plan = plan_of(model, "lfm2")
    assert (plan.caching, plan.padded) == (Caching.OWN, False)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 4000))
def test_prompts_are_read_in_few_passes(lengths: list[int], positions: int) -> None:
    lengths.sort()
    ends = list(ends_of_passes(lengths, positions))
    assert ends == sorted(set(ends))
    assert ends[-1] == len(lengths)
    parts = [lengths[start:end] for start, end in itertools.pairwise([0, *ends])]
    assert len(parts) <= len(set(lengths)), "more passes than one for each length"
    for part in parts:
        assert len(set(part)) == 1 or (part[-1] - part[0] + 1) * len(part) <= positions
    padding = sum(part[-1] - length for part in parts for length in part)
    assert padding <= 32 * (len(set(lengths)) - len(parts)), "padding takes longer than the passes that it saves"


@pytest.mark.parametrize("kind", ["lfm2", "mamba2", "rwkv"])
def test_early_stopping_works_with_the_models_own_cache(kind: str) -> None:
    model = live(CONFIGS[kind]())
    plan = plan_of(model, kind)
    whole = written(model, plan.caching)
    cut = decode(
        model,
        [prompt for prompt in PROMPTS for _ in range(4)],
        padded=plan.padded,
        end_tokens=frozenset({0}),
        max_new_tokens=20,
        batch_size=8,
        ends_as=lambda answer: Finish.SETTLED if len(answer) == 3 + answer[0] % 5 else None,
        caching=plan.caching,
    )
    assert {finish for _, finish in cut} == {Finish.SETTLED}
    assert [tokens for tokens, _ in cut] == [answer[: 3 + answer[0] % 5] for answer in whole for _ in range(4)]


@pytest.mark.parametrize("limit", [12, 24])
def test_rotary_frequencies_that_change_with_the_length(limit: int) -> None:
    """LongRoPE of Phi 3: rows that grow beyond the limit are read again with the other frequencies.

    The truth is `generate` without its cache, which transformers 5.19 loses together with the prompt at the limit.
    """
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    config = Phi3Config(
        **{**tiny_models.SHAPE, "pad_token_id": 0, "eos_token_id": 0, "bos_token_id": None},
        original_max_position_embeddings=limit,
        rope_parameters={**rope, "original_max_position_embeddings": limit},
    )
    model = live(config)
    assert plan_of(model, "phi3")[:2] == FAST
    for padded in (False, True):
        assert written(model, Caching.SHARED, padded=padded) == generated(model, use_cache=False)


def test_rwkv_keeps_the_weights_that_it_was_given() -> None:
    config = RwkvConfig(vocab_size=260, hidden_size=32, num_hidden_layers=2, context_length=512, rescale_every=1)
    model = live(config)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with borrow(model):
        model(torch.tensor([[1, 2, 3]]))
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert model.config.rescale_every == 1


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_a_model_that_looks_ahead_is_refused(kind: str) -> None:
    config = AutoConfig.for_model(kind, **{**tiny_models.SHAPE, "is_decoder": False, "embedding_size": 32})
    with pytest.raises(InputError, match="answers otherwise token by token than in one forward pass"):
        plan_of(live(config), "MODEL")


def test_a_model_that_cannot_be_run_is_refused_in_one_line() -> None:
    model = live(tiny_models.llama_config())
    del model.model.norm
    with pytest.raises(InputError, match="MODEL: cannot be run as a causal language model") as refused:
        plan_of(model, "MODEL")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss"])
def test_experts_move_under_the_names_of_the_files(kind: str, tmp_path: Path) -> None:
    directory = tiny_models.save_model(tmp_path / "model", CONFIGS[kind]())
    engine = engine_of(directory)
    stored = load_file(directory / "model.safetensors")
    tied = {"lm_head.weight"} if engine._model.config.tie_word_embeddings else set()
    assert engine._live.keys() == stored.keys() - tied - {name for name in stored if "e_score_correction" in name}
    engine.move_to(Point(0, (0.5,)))
    routers = [name for name in engine._live if ".gate.weight" in name or "router.weight" in name]
    assert routers
    for name in [*routers, *(name for name in engine._live if "experts" in name)]:
        assert not torch.equal(engine._live[name].read(), stored[name]), name


def test_an_expert_that_the_files_lack_is_named(tmp_path: Path) -> None:
    directory = tiny_models.save_model(tmp_path / "model", CONFIGS["mixtral"]())
    stored = load_file(directory / "model.safetensors")
    lost = next(name for name in stored if "experts.1" in name)
    save_file(
        {name: t for name, t in stored.items() if name != lost}, directory / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError):
        engine_of(directory)
