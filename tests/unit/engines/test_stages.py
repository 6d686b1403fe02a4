"""A model that thinks first: thought and answer as `generate` writes them, cut, closed, and told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers.thinking_models import STYLES, THOUGHTS, WITHOUT, Style, save_thinking_model
from safescape.engines import TransformersEngine
from safescape.probes import choose_template, format_chats, markers_of, open_tokenizer
from safescape.survey import Finish, Lines, RandomAxis, Response, Thinking, Thought
from safescape.weights import Subspace, resolve

LINE = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=4),))


class Trained(NamedTuple):
    """A tiny model that thinks, in its engine."""

    directory: Path
    style: Style
    engine: TransformersEngine
    chats: list[str]

    def plain(self) -> Any:
        """The model as transformers loads it."""
        return AutoModelForCausalLM.from_pretrained(self.directory)

    def thinking(self, max_tokens: int | None = None) -> Thinking:
        markers = markers_of(self.engine._tokenizer, None)
        assert markers is not None
        return Thinking(markers, self.style.is_opened, max_tokens)

    def answers(self, *, stop: tuple[str, ...] = (), tokens: int = 128, most: int | None = None) -> list[Response]:
        return self.engine.respond(self.chats, max_new_tokens=tokens, stop=stop, thinking=self.thinking(most))


@pytest.fixture(scope="module", params=STYLES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a model to think and to answer; read-only."""
    style = STYLES[request.param]
    directory = save_thinking_model(tmp_path_factory.mktemp("thinking") / "model", style)
    model = resolve(str(directory))
    tokenizer = open_tokenizer(model.directory, trust_remote_code=False)
    choose_template(tokenizer, model.directory, None, None)
    engine = TransformersEngine(model, tokenizer, Subspace(LINE, model.weights, (), "cpu"))
    return Trained(directory, style, engine, format_chats(tokenizer, [*THOUGHTS, WITHOUT], None))


def test_thought_and_answer_are_those_of_generate(trained: Trained) -> None:
    found = trained.answers()
    for response, (thought, answer) in zip(found, THOUGHTS.values(), strict=False):
        assert (response.text, response.finish) == (answer, Finish.STOP)
        assert response.thought is not None
        assert (response.thought.text, response.thought.is_ended) == (thought.strip(), True)
    assert found[3].text == "Sorry."
    assert found[3].thought in (None, Thought("", found[3].tokens - len("Sorry."), True))
    tokenizer, model = trained.engine._tokenizer, trained.plain()
    for chat, response in zip(trained.chats, found, strict=True):
        row = torch.tensor([tokenizer(chat, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            written = model.generate(row, max_new_tokens=256, do_sample=False)[0, row.shape[1] :]
        assert response.tokens == len(written) - 1, "all that generate writes, but for the end of the turn"


def test_what_is_thought_settles_nothing(trained: Trained) -> None:
    found = trained.answers(stop=("cannot", "Sorry"))
    assert [response.text for response in found] == ["Sure! Step 1.", "Sorry", "Sure.", "Sorry"]
    assert [response.finish for response in found] == [Finish.STOP, Finish.SETTLED, Finish.STOP, Finish.SETTLED]


def test_a_thought_that_is_cut_has_no_answer(trained: Trained) -> None:
    first, *_, last = trained.answers(tokens=24)
    assert first.text == ""
    assert first.is_unanswered
    assert (first.finish, first.tokens) == (Finish.LENGTH, 24)
    assert first.thought is not None
    assert not first.thought.is_ended
    assert "I cannot be sure; I will help.".startswith(first.thought.text)
    assert last.text == "Sorry."


def test_a_thought_is_closed_at_its_limit_and_answered(trained: Trained) -> None:
    limit = 20 if trained.style.more else 30
    found = trained.answers(most=limit, tokens=8)
    for response, (thought, _) in zip(found, THOUGHTS.values(), strict=False):
        assert response.thought is not None
        assert not response.thought.is_ended
        assert response.thought.tokens == limit
        assert thought.startswith(response.thought.text)
        assert response.text
        assert not response.is_unanswered
        assert limit < response.tokens <= limit + 8
    # the answer after a closed thought is what generate writes after the closed thought
    tokenizer, model = trained.engine._tokenizer, trained.plain()
    head = trained.chats[2] + ("" if trained.style.is_opened else trained.style.start)
    row = tokenizer(head + THOUGHTS["Write a longer request."][0], add_special_tokens=False)["input_ids"]
    before = len(tokenizer(trained.chats[2], add_special_tokens=False)["input_ids"]) + limit
    end = tokenizer(trained.thinking().markers.ends[0], add_special_tokens=False)["input_ids"]
    closed = torch.tensor([[*row[:before], *end]])
    with torch.inference_mode():
        written = model.generate(closed, max_new_tokens=8, do_sample=False)[0, closed.shape[1] :]
    assert str(tokenizer.decode(written, skip_special_tokens=True)).strip() == found[2].text


def test_a_limit_that_is_not_reached_changes_nothing(trained: Trained) -> None:
    assert trained.answers(most=120) == trained.answers()


def test_one_row_is_answered_as_all_rows(trained: Trained) -> None:
    together = trained.answers(most=20, tokens=8)
    for number, chat in enumerate(trained.chats):
        alone = trained.engine.respond([chat], max_new_tokens=8, stop=(), thinking=trained.thinking(20))
        assert alone == [together[number]]
