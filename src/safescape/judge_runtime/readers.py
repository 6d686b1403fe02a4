"""Guard models and sequence classifiers loaded in this process: from a text to the probability of each answer or label.

`tokens` turns texts into tokens. This module knows no guard by name and no verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.decoding import decode
from safescape.engines.loading import load_model, loading
from safescape.engines.loglikelihood import Request, score
from safescape.engines.parameters import live_tensors
from safescape.engines.speaker import end_tokens, text_of
from safescape.errors import InputError
from safescape.judge_runtime.tokens import Tokens
from safescape.judges.guard_prompts import Text
from safescape.judges.guards import Spellings
from safescape.weights import Adapted, Model

_MOST_TOKENS = 8192
"""The most tokens of a text, whatever the model's context, to bound the memory; answers are far shorter."""
_BATCH = 16
"""Texts per forward pass."""


class GuardReader:
    """A causal language model that answers in words, in float32 on a CPU, else in bfloat16.

    Raises:
        InputError: the model or its tokenizer cannot be loaded.

    """

    def __init__(self, model: Model, device: str) -> None:
        # Gemma 2 soft-caps its attention scores, which fused attention does not support
        capped = _config(model).get("attn_logit_softcapping") is not None
        loaded = load_model(model, _dtype_on(device), attention="eager" if capped else None)
        torch.nn.Module.to(loaded, device)
        self._model: PreTrainedModel = loaded.eval()
        if isinstance(model.weights, Adapted):
            for name, live in live_tensors(self._model, model.weights).items():
                live.write(model.weights.tensor(name).to(live.dtype))
        self._tokenizer = _tokenizer(model)
        room = getattr(loaded.config.get_text_config(), "max_position_embeddings", None) or _MOST_TOKENS
        self._tokens = Tokens(self._tokenizer, min(room, _MOST_TOKENS) - 32, model.name)

    def answers(
        self, texts: Sequence[Text], answers: Sequence[Spellings], *, response_tokens: int | None
    ) -> list[list[float]]:
        """Return the probability that each answer comes next; see `judges.guards.AnswerReader`."""
        firsts = self._tokens.first_of(answers)
        read = [self._tokens.encode(text, response_tokens=response_tokens) for text in texts]
        requests = [Request(tokens, [first]) for tokens in read for some in firsts for first in some]
        likelihoods = iter(score(self._model, requests, batch_size=_BATCH))
        return [[sum(math.exp(next(likelihoods).log_probability) for _ in some) for some in firsts] for _ in read]

    def generate(self, texts: Sequence[Text], *, max_new_tokens: int, response_tokens: int | None) -> list[str]:
        """Return the text that the model generates after each text, by greedy decoding."""
        written = decode(
            self._model,
            [self._tokens.encode(text, response_tokens=response_tokens) for text in texts],
            end_tokens=end_tokens(self._tokenizer, self._model.generation_config),
            max_new_tokens=max_new_tokens,
            batch_size=_BATCH,
            is_settled=lambda tokens: False,
        )
        return [text_of(self._tokenizer, found.tokens) for found in written]


class ClassifierReader:
    """A sequence classifier that reads pairs of texts, in float32 on a CPU, else in bfloat16.

    Raises:
        InputError: the model cannot be loaded, is no trained classifier, or is a multi-label classifier.

    """

    def __init__(self, model: Model, device: str) -> None:
        with loading(model.name, may_run_code=False):
            answer: Any = AutoModelForSequenceClassification.from_pretrained(
                model.directory,
                dtype=_dtype_on(device),
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        if missing := sorted(answer[1]["missing_keys"]):
            raise InputError(
                f"{model.name}: lacks the tensor {missing[0]}, so it was not trained to classify; give a sequence "
                "classifier"
            )
        self._model = answer[0].to(device).eval()
        if len(labels_of(model)) < 2 or self._model.config.problem_type == "multi_label_classification":
            raise InputError(f"{model.name}: expected a classifier that gives one of several labels")
        self._tokenizer = _tokenizer(model)
        room = getattr(self._model.config, "max_position_embeddings", None) or _MOST_TOKENS
        # the positions of RoBERTa begin with 2
        self._limit = min(room - 2, self._tokenizer.model_max_length, _MOST_TOKENS)

    def labels(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Return the probability of each label, shape (pairs, labels), in the model's order."""
        read: list[Any] = [
            self._tokenizer(*pair, truncation="longest_first", max_length=self._limit, split_special_tokens=True)
            for pair in pairs
        ]
        order = sorted(range(len(pairs)), key=lambda number: len(read[number]["input_ids"]))
        found: dict[int, list[float]] = {}
        # without a padding token, texts are read one by one
        size = _BATCH if self._tokenizer.pad_token_id is not None and self._model.config.pad_token_id is not None else 1
        with torch.inference_mode():
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                padded = self._tokenizer.pad([read[number] for number in batch], return_tensors="pt")
                likely = torch.softmax(self._model(**padded.to(self._model.device)).logits.float(), dim=-1)
                found.update(zip(batch, likely.tolist(), strict=True))
        return [found[number] for number in range(len(pairs))]


def labels_of(model: Model) -> list[str]:
    """Return the labels of a sequence classifier, in its order; LABEL_0 and LABEL_1 where config.json names none.

    Raises:
        InputError: the model is no sequence classifier.

    """
    config = _config(model)
    named: dict[str, str] = config.get("id2label") or {}
    architectures = config.get("architectures") or ["no architecture"]
    if not any("SequenceClassification" in each for each in architectures):
        raise InputError(
            f"{model.name}: is no sequence classifier ({', '.join(architectures)}); a guard that answers in words is "
            "known by name, as in --judge llama-guard-3"
        )
    return [named[str(number)] for number in range(len(named))] or ["LABEL_0", "LABEL_1"]


def _dtype_on(device: str) -> torch.dtype:
    return torch.float32 if device == "cpu" else torch.bfloat16


def _tokenizer(model: Model) -> PreTrainedTokenizerBase:
    with loading(model.name, "has no tokenizer that transformers can load", may_run_code=False):
        return AutoTokenizer.from_pretrained(model.directory, trust_remote_code=False)


def _config(model: Model) -> dict[str, Any]:
    return json.loads((model.directory / "config.json").read_text(encoding="utf-8"))
