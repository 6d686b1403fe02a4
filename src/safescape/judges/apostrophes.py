"""Apostrophes: the characters that models write for one, which every judge but `keyword` reads as the straight one."""

from __future__ import annotations

_ODD = "\u2019\u2018\u201b\u02bc\u02bb\u00b4\u2032\uff07"
"""Right, left and reversed quotation mark, modifier letters, acute accent, prime, and the fullwidth apostrophe."""
_STRAIGHT = str.maketrans(dict.fromkeys(_ODD, "'"))
_TYPOGRAPHIC = str.maketrans(dict.fromkeys(_ODD.replace("\u2019", "").replace("\u2018", ""), "'"))


def with_straight_apostrophes(text: str) -> str:
    """Return a text of the same length with every kind of apostrophe straight."""
    return text.translate(_STRAIGHT)


def with_known_apostrophes(text: str) -> str:
    """Return a text of the same length with rare apostrophes straight and typographic quotation marks as they are."""
    return text.translate(_TYPOGRAPHIC)
