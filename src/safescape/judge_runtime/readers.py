"""Guard models and sequence classifiers loaded in this process: from a text to the probability of each answer or label.

Special tokens take effect in the template of a guard alone: what came from a prompt or a response is tokenized as plain
text, whatever it spells. This module knows no guard by name and no verdict.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.decoding import decode
from safescape.engines.greedy import end_tokens
from safescape.engines.loading import load_model
from safescape.engines.loglikelihood import Request, score
from safescape.engines.parameters import live_tensors
from safescape.engines.stages import text_of
from safescape.errors import InputError
from safescape.judges.guard_prompts import Piece, Text
from safescape.judges.guards import Spellings
from safescape.weights import Adapted, Model, loading

_MOST_TOKENS = 8192
"""The most tokens of a text, whatever the model's context, to bound the memory; answers are far shorter."""
_BATCH = 16
"""Texts per forward pass."""


class GuardReader:
    """A causal language model that answers in words, in float32 on a CPU, else in bfloat16.

    InputError is raised if the model or its tokenizer cannot be loaded.
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
        )
        return [text_of(self._tokenizer, found.tokens) for found in written]


class Tokens:
    """Turns the pieces of a text into at most `limit` token IDs.

    The tokenizer must be a fast one, which gives the offsets of tokens; otherwise InputError is raised.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int, name: str) -> None:
        if not tokenizer.is_fast:
            raise InputError(f"{name}: has no tokenizer.json; save its tokenizer with a recent transformers")
        self._tokenizer, self._limit, self._name = tokenizer, limit, name
        self._special = {
            token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self._acting = set(self._special.values()) - {tokenizer.unk_token_id}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._split = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, text: Text, *, response_tokens: int | None = None) -> list[int]:
        """Return the token IDs of a text, of whose response at most `response_tokens` tokens are read.

        The pieces are tokenized together, as the guard's publisher does, so that the guard sees the tokens that it was
        trained on. A text over the limit is truncated at the ends of the response and of the prompt, never in the
        template; InputError is raised if the template alone leaves no room.
        """
        tokens = self._encode(self._truncate(text, {"response": response_tokens}))
        if len(tokens) > self._limit:
            own = len(self._encode([piece for piece in text if piece.source == "template"]))
            # 16 tokens of slack, because pieces may have other tokens together than apart
            room = self._limit - own - 16
            if room < 32:
                raise InputError(f"{self._name}: reads {self._limit} tokens at a time, and its template has {own}")
            length = sum(len(self._encode_plain(piece.text)) for piece in text if piece.source == "prompt")
            prompt = min(room // 2, length)
            limits = {"prompt": prompt, "response": min(response_tokens or room, room - prompt)}
            tokens = self._encode(self._truncate(text, limits))
        return tokens

    def first_of(self, answers: Sequence[Spellings]) -> list[list[int]]:
        """Return the token IDs with which each answer may begin.

        A tokenizer has up to two tokens for a word: at the beginning of a text and after a space. A word that is no
        single token is identified by its first token. Tokens that begin two answers are left out; InputError is raised
        if an answer has no other.
        """
        vocabulary = self._tokenizer.get_vocab()
        found: list[set[int]] = []
        for spellings in answers:
            forms = [form for word in spellings for form in (word, f"▁{word}", f"Ġ{word}")]
            whole = {vocabulary[form] for form in forms if form in vocabulary}
            found.append(whole or {self._first_token(word) for word in spellings})
        begins = Counter(token for tokens in found for token in tokens)
        own = [sorted(token for token in tokens if begins[token] == 1) for tokens in found]
        for spellings, tokens in zip(answers, own, strict=True):
            if not tokens:
                raise InputError(f"{self._name}: its tokenizer has no token that begins {spellings[0]!r} alone")
        return own

    def _first_token(self, word: str) -> int:
        # the first token may be a space that the tokenizer prepends
        tokens = self._encode_plain(word)
        return next(token for token in tokens if str(self._tokenizer.decode([token])).strip())

    def _truncate(self, text: Text, limits: Mapping[str, int | None]) -> list[Piece]:
        return [piece._replace(text=self._truncate_text(piece.text, limits.get(piece.source))) for piece in text]

    def _truncate_text(self, text: str, limit: int | None) -> str:
        if limit is None:
            return text
        read: Any = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        ends = [end for _, end in read["offset_mapping"]]
        return text if len(ends) <= limit else text[: ends[limit - 1] if limit else 0]

    def _encode(self, pieces: Sequence[Piece]) -> list[int]:
        whole = "".join(
            piece.text if piece.source == "template" else self._without_special(piece.text) for piece in pieces
        )
        tokens = list(self._tokenizer(whole, add_special_tokens=False)["input_ids"])
        expected = [
            self._special[found[0]]
            for piece in pieces
            if piece.source == "template"
            for found in self._split.finditer(piece.text)
        ]
        if [token for token in tokens if token in self._acting] != expected:
            tokens = self._encode_separately(pieces)
        first = self._tokenizer.bos_token_id
        return tokens if first is None or tokens[:1] == [first] else [first, *tokens]

    def _without_special(self, text: str) -> str:
        """Remove the first character of each special token; `guard_prompts.neutral` has replaced known markers."""
        while self._split.search(text):
            text = self._split.sub(lambda found: found[0][1:], text)
        return text

    def _encode_separately(self, pieces: Sequence[Piece]) -> list[int]:
        """Tokenize a text that spells special tokens only after normalisation, for example with full-width brackets.

        The text between the special tokens of the template is tokenized separately as plain text. Some tokenizers then
        add a space after each special token, which is why this is not the usual way.
        """
        tokens: list[int] = []
        run = ""
        for piece in pieces:
            start = 0
            if piece.source == "template":
                for found in self._split.finditer(piece.text):
                    tokens += [*self._encode_plain(run + piece.text[start : found.start()]), self._special[found[0]]]
                    run, start = "", found.end()
            run += piece.text[start:]
        return [*tokens, *self._encode_plain(run)]

    def _encode_plain(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


class ClassifierReader:
    """A sequence classifier that reads pairs of texts, in float32 on a CPU, else in bfloat16.

    InputError is raised if the model cannot be loaded, is no trained classifier, or is a multi-label classifier.
    """

    def __init__(self, model: Model, device: str) -> None:
        with loading(model.name):
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
    """Return the labels of a sequence classifier, in its order; raise InputError if the model is none."""
    config = _config(model)
    named: dict[str, str] = config.get("id2label") or {}
    architectures = config.get("architectures") or ["no architecture"]
    if not any("SequenceClassification" in each for each in architectures):
        raise InputError(
            f"{model.name}: is no sequence classifier ({', '.join(architectures)}); a guard that answers in words is "
            "known by name, as in --judge llama-guard-3"
        )
    # transformers names two labels so if config.json has none
    return [named[str(number)] for number in range(len(named))] or ["LABEL_0", "LABEL_1"]


def _dtype_on(device: str) -> torch.dtype:
    return torch.float32 if device == "cpu" else torch.bfloat16


def _tokenizer(model: Model) -> PreTrainedTokenizerBase:
    with loading(model.name, "has no tokenizer that transformers can load"):
        return AutoTokenizer.from_pretrained(model.directory, trust_remote_code=False)


def _config(model: Model) -> dict[str, Any]:
    return json.loads((model.directory / "config.json").read_text(encoding="utf-8"))
