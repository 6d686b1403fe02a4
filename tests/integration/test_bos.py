"""A chat is read with BOS once, as its template wrote it, also by a tokenizer that puts BOS before every text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import Embedding, Module
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

import safescape
from helpers import tiny_models
from safescape import SafetyMonitor
from safescape.engines import VllmEngine
from safescape.engines.decoding import Continuation
from safescape.engines.loglikelihood import Request
from safescape.probes import format_chats, load_tokenizer
from safescape.store import Store
from safescape.survey import Finish

BOS, NUMBER = "<|system|>", 1
SMALL: dict[str, Any] = {"limit": 4, "max_new_tokens": 8}


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """Save a model whose chat template writes BOS, and whose tokenizer puts it before every text."""
    return with_bos(tiny_model, tmp_path / "model")


def with_bos(source: Path, directory: Path) -> Path:
    shutil.copytree(source, directory)
    template = "{{ bos_token }}" + tiny_models.CHAT_TEMPLATE
    tiny_models.tokenizer(template, around=f"{BOS} $A", bos_token=BOS).save_pretrained(directory)
    words = AutoTokenizer.from_pretrained(directory)
    chat = words.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert words(chat)["input_ids"][:3] == [NUMBER, NUMBER, 2], "read as a raw text, a chat has BOS twice"
    return directory


@pytest.fixture
def rows() -> Iterator[list[list[int]]]:
    """Collect the rows of tokens that any model reads."""
    found: list[list[int]] = []

    def read(module: Module, given: tuple[Any, ...]) -> None:
        if isinstance(module, Embedding):
            found.extend(given[0].tolist())

    hook = register_module_forward_pre_hook(read)
    yield found
    hook.remove()


def check(rows: list[list[int]]) -> None:
    """Check that BOS is read, and never twice in a row of tokens."""
    assert any(row[0] == NUMBER for row in rows)
    assert max(row.count(NUMBER) for row in rows) == 1


def test_answers_evidence_and_calibration_have_bos_once(
    model: Path, tmp_path: Path, rows: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # let the refusal judge want evidence on every answer
    monkeypatch.setattr("safescape.judges.coherence.SURE", 0.0)
    monkeypatch.setattr("safescape.judges.refusal._SHORTEST_SCORED", 1)
    safescape.scan(str(model), out=tmp_path / "run", directions=1, steps=2, **SMALL)
    with Store.read(tmp_path / "run") as store:
        assert store.evidence.calibration() is not None
        evidence = [each.exchange.evidence for each in store.verdicts.exchanges()]
    assert any(evidence)
    check(rows)


def test_further_probes_have_bos_once(model: Path, tmp_path: Path, rows: list[list[int]]) -> None:
    asked = ["attack:builtin:harmful", "over-refusal:builtin:benign", "perplexity:builtin:benign"]
    safescape.scan(str(model), out=tmp_path / "run", directions=1, steps=2, also=asked, also_limit=2, **SMALL)
    check(rows)


def test_repair_scores_its_data_with_bos_once(tmp_path: Path, rows: list[list[int]]) -> None:
    base, tuned = (
        with_bos(tiny_models.save_model(tmp_path / f"plain {seed}", seed=seed), tmp_path / f"model {seed}")
        for seed in (0, 1)
    )
    row = {"prompt": "what is two?", "response": "it is two"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    seen: list[Any] = []
    safescape.repair(
        str(base), str(tuned), out=tmp_path / "out", data=str(tmp_path / "rows.jsonl"),
        on_evaluation=seen.append, **{**SMALL, "limit": 40},
    )  # fmt: skip
    check(rows)
    # the loss of the finetune's answer, by one forward pass of the chat as the template wrote it
    words = AutoTokenizer.from_pretrained(tuned)
    turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
    given, whole = (
        words.apply_chat_template(part, add_generation_prompt=part != turns, tokenize=False)
        for part in (turns[:1], turns)
    )
    tokens = words(whole, add_special_tokens=False, return_tensors="pt")["input_ids"]
    labels = tokens.clone()
    labels[:, : len(words(given, add_special_tokens=False)["input_ids"])] = -100
    with torch.no_grad():
        loss: Any = AutoModelForCausalLM.from_pretrained(tuned)(tokens, labels=labels).loss
    assert seen[0].loss == pytest.approx(float(loss.exp()), rel=1e-4)


def test_a_finetune_trains_on_chats_with_bos_once(model: Path, tmp_path: Path, rows: list[list[int]]) -> None:
    pairs = [{"prompt": f"what is {n}?", "response": f"it is {n}"} for n in range(4)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    safescape.finetune(str(model), out=tmp_path / "out", data=str(tmp_path / "pairs.jsonl"), epochs=1)
    check(rows)


def test_the_monitor_asks_with_bos_once(model: Path, tmp_path: Path, rows: list[list[int]]) -> None:
    words = AutoTokenizer.from_pretrained(model)
    row = words("a text", add_special_tokens=False)["input_ids"]
    trainer = Trainer(
        AutoModelForCausalLM.from_pretrained(model),
        TrainingArguments(str(tmp_path / "out"), max_steps=1, use_cpu=True, report_to="none", save_strategy="no"),
        DataCollatorForSeq2Seq(words),
        [{"input_ids": row, "labels": row}],
        processing_class=words,
        callbacks=[SafetyMonitor(also="perplexity:builtin:benign", also_limit=2, **SMALL)],
    )
    trainer.train()
    check(rows)


@pytest.mark.parametrize("raw", [False, True])
def test_vllm_is_given_tokens_with_bos_once(model: Path, monkeypatch: pytest.MonkeyPatch, raw: bool) -> None:
    """vLLM gets token numbers and adds none, so the engine's own tokens are what it reads; nothing is loaded here."""
    engine, read = object.__new__(VllmEngine), list[list[int]]()
    engine._tokenizer = load_tokenizer(model, chat_template=None, trust_remote_code=False)

    def continued(given: dict[int, list[int]], *_: object, **__: object) -> dict[int, Continuation]:
        read.extend(given.values())
        return {number: Continuation([], Finish.STOP) for number in given}

    def scored(requests: list[Request]) -> list[list[Any]]:
        read.extend([*request.context, *request.continuation] for request in requests)
        return [[] for _ in requests]

    monkeypatch.setattr(engine, "_continued", continued)
    monkeypatch.setattr(engine, "_scored", scored)
    texts = ["a", "bc"] if raw else format_chats(engine._tokenizer, ["a", "bc"], None)
    engine.respond(texts, max_new_tokens=4, stop=(), raw=raw)
    engine.loglikelihood([(text, " d") for text in texts], raw=raw)
    assert len(read) == 4
    check(read)
