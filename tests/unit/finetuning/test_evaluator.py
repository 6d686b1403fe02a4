"""A repair reads a reasoning model's answers, and counts a thought without one as answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.thinking_models import STYLES, THOUGHTS, WITHOUT, save_thinking_model
from safescape.engines import TransformersEngine
from safescape.finetuning.evaluations import Evaluator
from safescape.probes import choose_template, format_chats, open_tokenizer, thinking_of
from safescape.survey import Lines, PromptProbe, RandomAxis
from safescape.weights import Subspace, resolve

ASKED = (*THOUGHTS, WITHOUT)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model of which two of four answers begin with "Sorry", and one of the thoughts with "I cannot"."""
    return save_thinking_model(tmp_path_factory.mktemp("thoughts") / "model", STYLES["tokens"])


@pytest.mark.parametrize(("limit", "answered"), [(100, 2), (None, 3)])
def test_an_evaluation_of_a_repair_counts_answers(model: Path, limit: int | None, answered: int) -> None:
    found = resolve(str(model))
    tokenizer = open_tokenizer(model, trust_remote_code=False)
    choose_template(tokenizer, model, None, None)
    chats = format_chats(tokenizer, ASKED, None)
    thinking = thinking_of(tokenizer, ASKED, chats, limit)
    assert thinking is not None
    line = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))

    def engine() -> TransformersEngine:
        return TransformersEngine(found, tokenizer, Subspace(line, found.weights))

    probe = PromptProbe(name="harmful", source="", prompts=ASKED)
    # without a limit a thought may have 24 tokens, and three have more
    evaluator = Evaluator(engine, probe, chats, None, (), 24, thinking)
    assert evaluator.at((0.0,)).complied == answered
