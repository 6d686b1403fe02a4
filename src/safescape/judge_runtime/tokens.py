"""Tokenization of a guard's text, with special tokens in the template alone.

What came from a prompt or a response is tokenized as plain text, whatever it spells. This module knows no guard and no
verdict.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from safescape.errors import InputError
from safescape.judges.guard_prompts import Piece, Text
from safescape.judges.guards import Spellings


class Tokens:
    """Turns the pieces of a text into token IDs.

    Args:
        tokenizer: The guard's tokenizer.
        limit: The most tokens of a text.
        name: Name of the model, for error messages.

    Raises:
        InputError: the tokenizer is not a fast one; only those give the offsets of tokens.

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
        template.

        Raises:
            InputError: the template leaves no room within the limit.

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
        single token is identified by its first token. Tokens that begin two answers are left out.

        Raises:
            InputError: an answer has no token that begins it alone.

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
