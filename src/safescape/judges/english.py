"""English as statistics: classes of characters and of words, and how likely they follow each other.

`python examples/coherence/make_english.py` writes `data/english.npz` with the functions of this module, from texts that
it lists.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.judges.shipped import ENGLISH

LETTERS = 65
"""Number of classes of characters."""
PMI_STEP = TRIGRAM_STEP = 1 / 16
"""Resolution in nats at which the mutual information, and the surprisal of trigrams, are stored."""
SPACE, NEWLINE = 0, 28
"""The classes of blanks and of the newline."""

_MARKS = ".,:;!?-'\"()[]{}=+*/\\#&%$@<>|_~^`"
_ALIKE = {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "•": "*", "…": "."}
_ENDINGS = ("ing", "ed", "ly", "ion", "s", "er", "al", "able", "ive", "ous", "y", "ity", "ment", "ness")

MARKS = {mark: number for number, mark in enumerate(_MARKS)}
MARKS |= {odd: MARKS[mark] for odd, mark in _ALIKE.items()} | {"\n": len(_MARKS)}
_OTHER_MARK, _NUMBER, UNKNOWN, _UNKNOWN_NAME, ENDING = range(len(_MARKS) + 1, len(_MARKS) + 6)
FIRST_WORD = ENDING + len(_ENDINGS) + 1
"""The class of the first frequent word; each frequent word has its own class."""

_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+|[^\w\s]|_|\n")


def tokens_of(text: str) -> list[str]:
    """Split a text into words, numbers, punctuation marks and newlines."""
    return _TOKEN.findall(text)


def letters_of(text: str) -> NDArray[np.uint8]:
    """Return the class of each character, shape (characters,), below `LETTERS`; any code point has one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    letters = _LETTER[np.minimum(codes, len(_LETTER) - 1)]
    # a capital after a small letter is a sign of tokens that do not belong together
    humps = (codes[1:] - np.uint32(ord("A")) < 26) & (codes[:-1] - np.uint32(ord("a")) < 26)
    letters[1:][humps] = LETTERS - 1
    return letters


def ending_of(word: str) -> int:
    """Return the class of a known word that is not frequent, which depends on its ending."""
    for number, ending in enumerate(_ENDINGS):
        if len(word) > len(ending) + 2 and word.endswith(ending):
            return ENDING + number
    return ENDING + len(_ENDINGS)


def class_of(token: str, number_of: dict[str, int]) -> int:
    """Return the class of a token, given the classes of known words and marks."""
    number = number_of.get(token)
    if number is None:
        number = number_of.get(token.lower())
    if number is not None:
        return number
    first = token[0]
    if first.isalpha():
        return _UNKNOWN_NAME if first.isupper() else UNKNOWN
    return _NUMBER if first.isdigit() else _OTHER_MARK


class English(NamedTuple):
    """The content of `english.npz`."""

    pmi: NDArray[np.int8]
    """Mutual information of a class and the next, in units of `PMI_STEP`; shape (classes²,)."""
    classes: int
    """Number of classes of tokens."""
    trigrams: NDArray[np.uint8]
    """Surprisal of a letter after two others, in units of `TRIGRAM_STEP`; shape (LETTERS³,)."""
    number_of: dict[str, int]
    """Class of each known word and mark."""


@functools.cache
def english() -> English:
    """Load `english.npz`; the result is cached."""
    with resources.as_file(resources.files("safescape") / "data" / ENGLISH) as path, np.load(path) as file:
        known = file["known"].tobytes().decode().split("\n")
        frequent = file["frequent"].tobytes().decode().split("\n")
        number_of = {word: ending_of(word) for word in known}
        number_of |= {word: FIRST_WORD + number for number, word in enumerate(frequent)} | MARKS
        return English(file["pmi"].ravel(), len(file["pmi"]), file["trigrams"], number_of)


def _letter_table() -> NDArray[np.uint8]:
    table = np.full(0x2100, LETTERS - 2, dtype=np.uint8)
    table[0x80:0x250] = LETTERS - 3
    table[:0x80] = LETTERS - 4
    table[[9, 13, 32]] = SPACE
    for number in range(26):
        table[[ord("a") + number, ord("A") + number]] = 1 + number
    table[ord("0") : ord("9") + 1] = 27
    table[ord("\n")] = NEWLINE
    for number, mark in enumerate(_MARKS):
        table[ord(mark)] = 29 + number
    for odd, mark in _ALIKE.items():
        table[ord(odd)] = table[ord(mark)]
    return table


_LETTER = _letter_table()
