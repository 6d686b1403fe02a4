"""Generation settings: greedy decoding as `generate` does it with them; raw texts begin with BOS once."""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import families, tiny_models
from safescape import InputError
from safescape.engines import TransformersEngine, generation_of
from safescape.engines.greedy import check_in_vllm
from safescape.engines.stages import text_of
from safescape.probes import format_chats
from safescape.survey import Finish, Lines, Point, RandomAxis
from safescape.weights import Subspace, resolve

LINE = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=4),))
PROMPTS = ["a", "bb", "cc", "what is this", "a rather longer request than the others", "dd", string.printable]
TOKENS = 24

CHANGING: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 1.3},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.5},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "suppress_tokens": {"suppress_tokens": list(range(4, 260, 2))},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(4, 260, 2))},
    "bad_words_ids": {"bad_words_ids": [[n] for n in range(5, 260, 3)]},
    "sequence_bias": {"sequence_bias": [[[n], 9.0] for n in range(60, 90)]},
    "min_new_tokens": {"min_new_tokens": 20, "eos_token_id": list(range(0, 260, 9))},
    "min_length": {"min_length": 24, "eos_token_id": list(range(0, 260, 9))},
    "forced_eos_token_id": {"forced_eos_token_id": 7},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [2, 1.5]},
    "eos lists": {"eos_token_id": [0, *range(100, 160)]},
    "two at once": {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "suppress_tokens": [40, 41, 42]},
}


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose answers no setting leaves as they are; read-only."""
    return tiny_models.save_model(tmp_path_factory.mktemp("greedy") / "model", seed=5)


def with_settings(model: Path, directory: Path, **settings: Any) -> Path:
    shutil.copytree(model, directory)
    # transformers refuses to save some settings that published models have
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": 0, "pad_token_id": 0, **settings}))
    return directory


def engine_of(directory: Path, **arguments: Any) -> TransformersEngine:
    model = resolve(str(directory))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return TransformersEngine(model, tokenizer, Subspace(LINE, model.weights), **arguments)


def generated(directory: Path, chats: Sequence[str], **settings: Any) -> list[str]:
    """Return the answers of plain `generate(do_sample=False)`, one prompt at a time."""
    model: Any = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    answers = []
    for chat in chats:
        ids = tokenizer(chat, add_special_tokens=False, return_tensors="pt")["input_ids"]
        mask = torch.ones_like(ids)
        said = model.generate(ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, **settings)
        tokens = said[0, ids.shape[1] :].tolist()
        ends = model.generation_config.eos_token_id
        answers.append(text_of(tokenizer, tokens[:-1] if tokens[-1] in np.ravel(ends) else tokens))
    return answers


@pytest.mark.parametrize("settings", CHANGING.values(), ids=CHANGING.keys())
@pytest.mark.parametrize("batch_size", [128, 3])
def test_answers_are_those_of_generate_with_the_models_settings(
    settled: Path, tmp_path: Path, settings: dict[str, Any], batch_size: int
) -> None:
    where = with_settings(settled, tmp_path / "model", **settings)
    engine = engine_of(where, batch_size=batch_size)
    chats = format_chats(engine._tokenizer, PROMPTS, None)
    answers = [response.text for response in engine.respond(chats, max_new_tokens=TOKENS, stop=())]
    assert answers == generated(where, chats)
    assert answers != generated(settled, chats), "the setting changes the answers of this model"


@pytest.mark.parametrize("kind", ["mamba", "rwkv", "gemma2"])
def test_settings_hold_with_any_cache(tmp_path: Path, kind: str) -> None:
    (family,) = (each for each in families.FAMILIES if each.model_type == kind)
    saved = families.save(family, tmp_path / "saved")
    where = with_settings(saved, tmp_path / "model", repetition_penalty=1.3, no_repeat_ngram_size=3)
    engine = engine_of(where, batch_size=3)
    chats = format_chats(engine._tokenizer, PROMPTS, None)
    answers = [response.text for response in engine.respond(chats, max_new_tokens=TOKENS, stop=())]
    assert answers == generated(where, chats)
    assert answers != generated(saved, chats), "the settings change the answers of this model"


def test_an_answer_ends_at_a_stop_string(settled: Path, tmp_path: Path) -> None:
    chats = format_chats(tiny_models.tokenizer(), PROMPTS, None)
    plain = generated(settled, chats)
    pairs = [text[k : k + 2] for text in plain for k in range(4, 20) if text[k : k + 2].isascii()]
    strings = [pairs[0], pairs[-1]]
    where = with_settings(settled, tmp_path / "model", stop_strings=strings)
    engine = engine_of(where)
    found = engine.respond(chats, max_new_tokens=TOKENS, stop=())
    assert [each.text for each in found] == generated(where, chats, tokenizer=AutoTokenizer.from_pretrained(where))
    stopped = [each for each in found if any(text in each.text for text in strings)]
    assert len(stopped) >= 2
    assert {each.finish for each in stopped} == {Finish.STOP}


def test_settings_of_sampling_change_nothing(settled: Path, tmp_path: Path) -> None:
    where = with_settings(settled, tmp_path / "model", do_sample=True, temperature=0.6, top_p=0.9, top_k=20)
    assert generation_of(resolve(str(where)), tiny_models.tokenizer()) == {}
    chats = format_chats(tiny_models.tokenizer(), PROMPTS, None)
    answers = [response.text for response in engine_of(where).respond(chats, max_new_tokens=TOKENS, stop=())]
    assert answers == generated(settled, chats)


def test_given_settings_hold_whatever_the_files_say(settled: Path, tmp_path: Path) -> None:
    where = with_settings(settled, tmp_path / "model", repetition_penalty=1.5)
    chats = format_chats(tiny_models.tokenizer(), PROMPTS, None)
    for given, like in (({}, settled), ({"repetition_penalty": 1.5}, where)):
        engine = engine_of(where if like is settled else settled, generation=given)
        answers = [response.text for response in engine.respond(chats, max_new_tokens=TOKENS, stop=())]
        assert answers == generated(like, chats)


def test_only_what_changes_greedy_decoding_is_recorded(settled: Path, tmp_path: Path) -> None:
    where = with_settings(
        settled, tmp_path / "model", repetition_penalty=1.05, temperature=0.7, eos_token_id=[0, 3], min_new_tokens=0
    )
    found = generation_of(resolve(str(where)), tiny_models.tokenizer())
    assert found == {"repetition_penalty": 1.05, "eos_token_id": [0, 3]}
    assert generation_of(resolve(str(settled)), tiny_models.tokenizer()) == {}


@pytest.mark.parametrize(
    "settings", [{"num_beams": 4}, {"guidance_scale": 1.5}, {"penalty_alpha": 0.6, "top_k": 4}, {"token_healing": True}]
)
def test_another_kind_of_decoding_is_refused_by_name(settled: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    where = with_settings(settled, tmp_path / "model", **settings)
    name, value = next(iter(settings.items()))
    with pytest.raises(InputError, match=rf"generation_config\.json sets {name} to {value}, .* decoded greedily"):
        generation_of(resolve(str(where)), tiny_models.tokenizer())


def test_vllm_refuses_what_it_would_do_otherwise() -> None:
    check_in_vllm({"repetition_penalty": 1.1, "eos_token_id": [1, 2]})
    with pytest.raises(InputError, match=r"--engine vllm: does not apply suppress_tokens .*; leave --engine out"):
        check_in_vllm({"repetition_penalty": 1.1, "suppress_tokens": [4]})


# --- raw texts ---

AROUND = {
    "nothing": None,
    "BOS": "<|user|> $A",
    "EOS": "$A <|end|>",
    "both": "<|user|> $A <|end|>",
    "two before": "<|system|> <|user|> $A <|end|>",
}


def saved(model: Path, directory: Path, around: str | None) -> Path:
    shutil.copytree(model, directory)
    tiny_models.tokenizer(around=around, bos_token="<|user|>").save_pretrained(directory)
    return directory


def scored(directory: Path, *before: int) -> list[float]:
    """Return the log-probabilities of " b" after "a" and of "cd", by one forward pass each; `before` precedes both."""
    model: Any = AutoModelForCausalLM.from_pretrained(directory).eval()
    found = []
    for context, text in (("a", " b"), ("", "cd")):
        tokens = tiny_models.tokenizer()(context + text)["input_ids"]
        ids = torch.tensor([[*before, *tokens]])
        first = len(before) + len(context) or 1
        with torch.no_grad():
            places = model(input_ids=ids).logits[0].double().log_softmax(-1)
        found.append(sum(float(places[place - 1, ids[0, place]]) for place in range(first, ids.shape[1])))
    return found


@pytest.mark.parametrize(
    ("around", "before"), list(zip(AROUND.values(), ([], [2], [], [2], [1, 2]), strict=True)), ids=AROUND.keys()
)
def test_a_raw_text_begins_with_bos_once_and_never_ends_with_eos(
    tiny_model: Path, tmp_path: Path, around: str | None, before: list[int]
) -> None:
    engine = engine_of(saved(tiny_model, tmp_path / "model", around))
    found = engine.loglikelihood([("a", " b"), ("", "cd")])
    assert [each.log_probability for each in found] == pytest.approx(scored(tiny_model, *before), rel=1e-5)
    (same,) = engine.loglikelihood([("<|user|>a", " b")]) if before == [2] else (found[0],)
    # one pass of two rows rounds otherwise than one of one
    assert same.log_probability == pytest.approx(found[0].log_probability, rel=1e-5)


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
def test_a_chat_is_read_as_its_template_wrote_it(tiny_model: Path, tmp_path: Path, around: str | None) -> None:
    engine, plain = engine_of(saved(tiny_model, tmp_path / "model", around)), engine_of(tiny_model)
    chats = format_chats(engine._tokenizer, ["a", "bc"], None)
    assert engine.respond(chats, max_new_tokens=8, stop=()) == plain.respond(chats, max_new_tokens=8, stop=())
    pairs = [(chat, "Sorry") for chat in chats]
    assert engine.loglikelihood(pairs, raw=False) == plain.loglikelihood(pairs, raw=False)


def test_a_raw_text_is_continued_as_it_is_scored(tiny_model: Path, tmp_path: Path) -> None:
    engine = engine_of(saved(tiny_model, tmp_path / "model", "<|user|> $A <|end|>"))
    raw = engine.respond(["a", "bc"], max_new_tokens=8, stop=(), raw=True)
    assert raw == engine.respond(["<|user|>a", "<|user|>bc"], max_new_tokens=8, stop=())


def test_a_token_beyond_the_embedding_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    where = tmp_path / "model"
    shutil.copytree(tiny_model, where)
    tiny_models.tokenizer(more=["<|think|>"]).save_pretrained(where)
    engine = engine_of(where)
    for call in (
        lambda: engine.respond(["a<|think|>"], max_new_tokens=1, stop=()),
        lambda: engine.loglikelihood([("a", "<|think|>")]),
    ):
        with pytest.raises(InputError, match=r"'<\|think\|>' is token 260 of the tokenizer, and the embedding has 260"):
            call()


def test_the_origin_is_left_as_it_was(settled: Path, tmp_path: Path) -> None:
    engine = engine_of(with_settings(settled, tmp_path / "model", repetition_penalty=1.3))
    engine.move_to(Point(0, (0.25,)))
    engine.respond(["<|user|>a"], max_new_tokens=4, stop=())
    assert engine.close() == engine.fingerprint_at_start
