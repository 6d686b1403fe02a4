"""A guard model or a sequence classifier in this process: from somebody's text to the likelihood of an answer.

Here the text becomes tokens. Special tokens act where a template has them, and nowhere else: what came from a model
is read as plain text, whatever it spells. Knows no guard by name and no verdict.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.decoding import decode
from safescape.engines.live import live_tensors
from safescape.engines.loading import load_model, quiet
from safescape.engines.scoring import Request, score
from safescape.errors import InputError
from safescape.judges.guard_texts import Piece, Text
from safescape.judges.guards import Spellings
from safescape.weights import Adapted, Model

__all__ = ["ClassifierReader", "GuardReader", "Tokens", "labels_of"]

_MOST_TOKENS = 8192
"""No guard reads more at a time, however long its context: memory grows with it, and answers are far shorter."""
_BATCH = 16


class Tokens:
    """Turns the pieces of a text into token numbers.

    Args:
        tokenizer: The guard's.
        limit: The most tokens of a text that the model reads.
        name: Of the model, for errors.

    Raises:
        InputError: it has no fast tokenizer, which alone can tell where a token came from.

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
        """Return the tokens of a text.

        All pieces are read at once, as the guard's makers do, so that plain text has the tokens that it was trained
        on. Long responses, then long prompts, are cut at their ends; the template never is.

        Args:
            text: Its pieces.
            response_tokens: The most tokens of the response that are read; None: as many as there is room for.

        """
        tokens = self._encode(self._cut(text, {"response": response_tokens}))
        if len(tokens) > self._limit:
            own = len(self._encode([piece for piece in text if piece.source == "template"]))
            # a slack for words that have other tokens beside each other than apart
            room = self._limit - own - 16
            if room < 32:
                raise InputError(f"{self._name}: reads {self._limit} tokens at a time, and its template has {own}")
            prompt = min(room // 2, sum(len(self._plain(piece.text)) for piece in text if piece.source == "prompt"))
            tokens = self._encode(
                self._cut(text, {"prompt": prompt, "response": min(response_tokens or room, room - prompt)})
            )
        return tokens

    def first_of(self, answers: Sequence[Spellings]) -> list[list[int]]:
        """Return the tokens that each answer may begin with.

        A tokenizer has up to two for a word: at the beginning of a text and behind a space. A word without a token of
        its own is known by its first one. A token that begins two answers tells nothing and is left out.

        Raises:
            InputError: an answer has no token of its own.

        """
        vocabulary = self._tokenizer.get_vocab()
        found: list[set[int]] = []
        for spellings in answers:
            forms = [form for word in spellings for form in (word, f"▁{word}", f"Ġ{word}")]
            whole = {vocabulary[form] for form in forms if form in vocabulary}
            found.append(whole or {self._begins(word) for word in spellings})
        own = [
            sorted(tokens.difference(*(other for number, other in enumerate(found) if number != place)))
            for place, tokens in enumerate(found)
        ]
        for spellings, tokens in zip(answers, own, strict=True):
            if not tokens:
                raise InputError(f"{self._name}: its tokenizer has no token that begins {spellings[0]!r} alone")
        return own

    def _begins(self, word: str) -> int:
        # a tokenizer may put a space before a text, which no answer is known by
        tokens = self._plain(word)
        return next(token for token in tokens if str(self._tokenizer.decode([token])).strip())

    def _cut(self, text: Text, limits: dict[str, int | None]) -> list[Piece]:
        return [piece._replace(text=self._shortened(piece.text, limits.get(piece.source))) for piece in text]

    def _shortened(self, text: str, limit: int | None) -> str:
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
            tokens = self._apart(pieces)
        first = self._tokenizer.bos_token_id
        return tokens if first is None or tokens[:1] == [first] else [first, *tokens]

    def _without_special(self, text: str) -> str:
        """Take the first character from whatever spells a special token.

        Those of the known guards were made visible text before (`guard_texts.neutral`); these are all others.
        """
        while self._split.search(text):
            text = self._split.sub(lambda found: found[0][1:], text)
        return text

    def _apart(self, pieces: Sequence[Piece]) -> list[int]:
        """Read a text that becomes special only when the tokenizer normalises it, such as full-width brackets.

        Special tokens are put where the template has them, and none is looked for in between. Some tokenizers put a
        space behind each of them then, which is why this is not the usual way.
        """
        tokens: list[int] = []
        run = ""
        for piece in pieces:
            start = 0
            if piece.source == "template":
                for found in self._split.finditer(piece.text):
                    tokens += [*self._plain(run + piece.text[start : found.start()]), self._special[found[0]]]
                    run, start = "", found.end()
            run += piece.text[start:]
        return [*tokens, *self._plain(run)]

    def _plain(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


class GuardReader:
    """A causal language model that answers in words.

    Args:
        model: Where it is.
        device: Where it runs: in fp32 on a CPU, else in bf16.

    Raises:
        InputError: it cannot be loaded.

    """

    def __init__(self, model: Model, device: str) -> None:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        # Gemma 2 caps its attention scores, which fused attention does not
        capped = _config(model.directory).get("attn_logit_softcapping") is not None
        loaded = load_model(model, dtype, attention="eager" if capped else None)
        torch.nn.Module.to(loaded, device)
        self._model: PreTrainedModel = loaded.eval()
        if isinstance(model.weights, Adapted):
            for name, live in live_tensors(self._model, model.weights).items():
                live.write(model.weights.tensor(name).to(live.dtype))
        tokenizer = _tokenizer(model)
        room = getattr(loaded.config.get_text_config(), "max_position_embeddings", None) or _MOST_TOKENS
        self._tokenizer, self._tokens = tokenizer, Tokens(tokenizer, min(room, _MOST_TOKENS) - 32, model.name)

    def answers(
        self, texts: Sequence[Text], answers: Sequence[Spellings], *, response_tokens: int | None
    ) -> list[list[float]]:
        """Return, for each text, how likely each answer comes next; see `judges.guards.Reader`."""
        firsts = self._tokens.first_of(answers)
        read = [self._tokens.encode(text, response_tokens=response_tokens) for text in texts]
        requests = [Request(tokens, [first]) for tokens in read for some in firsts for first in some]
        likelihoods = iter(score(self._model, requests, batch_size=_BATCH))
        return [[sum(math.exp(next(likelihoods).log_probability) for _ in some) for some in firsts] for _ in read]

    def generate(self, texts: Sequence[Text], *, max_new_tokens: int, response_tokens: int | None) -> list[str]:
        """Return what the model writes after each text, greedily."""
        read = [self._tokens.encode(text, response_tokens=response_tokens) for text in texts]
        settings = self._model.generation_config
        ends = settings.eos_token_id if settings is not None else None
        written = decode(
            self._model,
            read,
            end_tokens=frozenset(
                int(end)
                for end in (*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id)
                if end is not None
            ),
            max_new_tokens=max_new_tokens,
            batch_size=_BATCH,
            is_settled=lambda tokens: False,
        )
        return [str(self._tokenizer.decode(found.tokens, skip_special_tokens=True)) for found in written]


class ClassifierReader:
    """A sequence classifier that reads pairs of texts.

    Args:
        model: Where it is.
        device: Where it runs: in fp32 on a CPU, else in bf16.

    Raises:
        InputError: it cannot be loaded, is no such classifier, or gives several labels at once.

    """

    def __init__(self, model: Model, device: str) -> None:
        self._name, self._device = model.name, device
        with quiet():
            try:
                answer: Any = AutoModelForSequenceClassification.from_pretrained(
                    model.directory,
                    dtype=torch.float32 if device == "cpu" else torch.bfloat16,
                    trust_remote_code=False,
                    use_safetensors=True,
                    output_loading_info=True,
                )
            except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
                raise InputError(f"{model.name}: transformers cannot load it ({_first_line(error)})") from error
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
        # RoBERTa counts its positions from 2
        self._limit = min(room - 2, self._tokenizer.model_max_length, _MOST_TOKENS)

    def labels(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Return, for each pair, how likely each of the model's labels is, in their order."""
        read = [self._read(*pair) for pair in pairs]
        order = sorted(range(len(pairs)), key=lambda number: len(read[number]["input_ids"]))
        found: dict[int, list[float]] = {}
        # without a token to fill shorter rows with, rows are read one by one
        size = _BATCH if self._tokenizer.pad_token_id is not None and self._model.config.pad_token_id is not None else 1
        with torch.inference_mode():
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                padded = self._tokenizer.pad([read[number] for number in batch], return_tensors="pt").to(self._device)
                likely = torch.softmax(self._model(**padded).logits.float(), dim=-1)
                found.update(zip(batch, likely.tolist(), strict=True))
        return [found[number] for number in range(len(pairs))]

    def _read(self, prompt: str, response: str) -> Any:
        return self._tokenizer(
            prompt, response, truncation="longest_first", max_length=self._limit, split_special_tokens=True
        )


def labels_of(model: Model) -> list[str]:
    """Return the labels of a sequence classifier, in its order; LABEL_0, LABEL_1, … where they have no names.

    Raises:
        InputError: it is no sequence classifier.

    """
    config = _config(model.directory)
    named: dict[str, str] = config.get("id2label") or {}
    if not any("SequenceClassification" in each for each in config.get("architectures") or []):
        raise InputError(
            f"{model.name}: is no sequence classifier ({', '.join(config.get('architectures') or ['no architecture'])})"
            "; a guard that answers in words is known by name, as in --judge llama-guard-3"
        )
    return [named[str(number)] for number in range(len(named))] or ["LABEL_0", "LABEL_1"]


def _tokenizer(model: Model) -> PreTrainedTokenizerBase:
    with quiet():
        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model.directory, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise InputError(
                f"{model.name}: has no tokenizer that transformers can load ({_first_line(error)})"
            ) from error
    return tokenizer


def _config(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
