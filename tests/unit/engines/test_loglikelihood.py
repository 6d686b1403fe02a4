"""Likelihoods equal those of one forward pass per request, however requests are shared, merged or padded."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, MistralConfig, PretrainedConfig

from helpers import tiny_models
from safescape import InputError
from safescape.engines import Likelihood, TransformersEngine
from safescape.engines.kv_cache import common_prefix_length
from safescape.engines.loglikelihood import _groups
from safescape.engines.shared_cache import PASS
from safescape.probes import load_tokenizer
from safescape.survey import Lines, Point, RandomAxis
from safescape.weights import Subspace, resolve

LINE = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
SHOTS = "The following are questions.\n\nWhat is one and one?\nA. two\nB. three\nAnswer: A\n\n"
REQUESTS = [
    *[(f"{SHOTS}Which is larger?\nA. ten\nB. two\nAnswer:", option) for option in (" A", " B", " neither of them")],
    *[(f"{SHOTS}A much longer question about the weather of last week?\nA. sun\nB. rain\nAnswer:", " B")],
    ("something else altogether ", "and its end"),
    ("", "a text on its own"),
    ("", "a text on its own"),
    ("x", "y"),
]
ARCHITECTURES = {
    "llama": tiny_models.llama_config(),
    "mistral, sliding window": MistralConfig(
        **{**tiny_models.llama_config().to_dict(), "model_type": "mistral", "sliding_window": 16}
    ),
    "gpt2": GPT2Config(
        vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=None, eos_token_id=0
    ),
}


def engine_of(directory: Path, batch_size: int = 128) -> TransformersEngine:
    model = resolve(str(directory))
    tokenizer = load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    return TransformersEngine(model, tokenizer, Subspace(LINE, model.weights), batch_size=batch_size)


def one_by_one(engine: TransformersEngine, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
    found = []
    for context, continuation in requests:
        whole = engine._tokenizer(context + continuation)["input_ids"]
        given = len(engine._tokenizer(context.rstrip())["input_ids"]) or 1
        with torch.inference_mode():
            logits = engine._model(input_ids=torch.tensor([whole])).logits[0, :-1].double()
        log_probabilities = torch.log_softmax(logits, dim=-1)[given - 1 :]
        targets = torch.tensor(whole[given:])
        taken = log_probabilities.gather(1, targets[:, None]).sum()
        greedy = bool((log_probabilities.argmax(dim=1) == targets).all())
        found.append(Likelihood(float(taken), len(targets), greedy))
    return found


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@pytest.mark.parametrize("batch_size", [128, 2])
def test_likelihoods_equal_one_forward_pass_per_request(
    config: PretrainedConfig, batch_size: int, tmp_path: Path
) -> None:
    engine = engine_of(tiny_models.save_model(tmp_path / "model", config), batch_size)
    for point in (Point(None, (0.0,)), Point(0, (0.5,))):
        engine.move_to(point)
        for ours, theirs in zip(engine.loglikelihood(REQUESTS), one_by_one(engine, REQUESTS), strict=True):
            assert ours.log_probability == pytest.approx(theirs.log_probability, rel=1e-5)
            assert ours[1:] == theirs[1:]


def test_the_continuation_that_the_model_would_write_itself_is_greedy(tiny_model: Path) -> None:
    engine = engine_of(tiny_model)
    contexts = [letter * 2 for letter in string.ascii_letters]
    answers = engine.respond(contexts, max_new_tokens=1, stop=())
    writes = {context: answer.text for context, answer in zip(contexts, answers, strict=True) if answer.text.isalpha()}
    ascii_only = {context: text for context, text in writes.items() if text.isascii()}
    assert ascii_only, "a random model that never writes a letter cannot show this"
    for context, text in ascii_only.items():
        own, other = engine.loglikelihood([(context, text), (context, "!")])
        assert own.greedy
        assert not other.greedy
        assert other.log_probability < own.log_probability


def test_perplexity_is_that_of_transformers_loss(tiny_model: Path) -> None:
    engine = engine_of(tiny_model)
    for text in ("a short text", "Another text,\nwith two lines and many more words than the first one has."):
        ids = engine._tokenizer(text, return_tensors="pt").input_ids
        with torch.inference_mode():
            loss = float(engine._model(input_ids=ids, labels=ids).loss)
        (likelihood,) = engine.loglikelihood([("", text)])
        assert math.exp(-likelihood.log_probability / likelihood.tokens) == pytest.approx(math.exp(loss), rel=1e-5)


def test_a_text_of_one_token_cannot_be_scored(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="'x': too short to be scored"):
        engine_of(tiny_model).loglikelihood([("", "x")])


def test_logits_that_do_not_fit_are_computed_in_parts(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(tiny_model)
    whole = engine.loglikelihood(REQUESTS)
    monkeypatch.setattr("safescape.engines.loglikelihood.LOGITS", 260)
    for ours, theirs in zip(engine.loglikelihood(REQUESTS), whole, strict=True):
        assert ours.log_probability == pytest.approx(theirs.log_probability, rel=1e-5)


def time_of(groups: Sequence[Sequence[tuple[int, ...]]]) -> int:
    """Return how long groups take to be read, in tokens: each prefix once, the rest of each row, and two passes."""
    prefixes = [common_prefix_length(group) for group in groups]
    return sum(
        prefix + sum(len(row) - prefix for row in group) + 2 * PASS
        for group, prefix in zip(groups, prefixes, strict=True)
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 3), st.integers(1, 80), st.integers(0, 4)), min_size=1, max_size=40
    )
)
@settings(deadline=None)
def test_rows_are_grouped_where_that_saves_time(kinds: list[tuple[int, int, int, int]]) -> None:
    rows = sorted({(*[7] * common, *[which] * own, last) for common, which, own, last in kinds})
    groups = list(_groups(rows))
    assert sorted(row for group in groups for row in group) == rows
    assert time_of(groups) <= time_of([rows])


def test_the_options_of_questions_share_their_question_and_pairs_do_not() -> None:
    questions = [(*[question] * 100, option) for question in range(3) for option in range(4)]
    assert [len(group) for group in _groups(questions)] == [4, 4, 4]
    pairs = [(*[9] * 25, *[question] * 20, *[option] * 40) for question in range(3) for option in range(2)]
    assert [len(group) for group in _groups(sorted(pairs))] == [6]
