"""The script of a text: Latin, Cyrillic, Hangul and others, by blocks of Unicode."""

from __future__ import annotations

from collections import Counter

MOST_CHARACTERS = 2000
"""Characters of a text that are read: 400 tokens or more of English. The rest is ignored, which bounds the time."""
_ONE_SCRIPT = 0.75
"""The least share of letters that belong to one script."""
_BLOCKS = (
    ("Latin", 0x40, 0x24F),
    ("Latin", 0x1E00, 0x1EFF),
    ("Greek", 0x370, 0x3FF),
    ("Cyrillic", 0x400, 0x52F),
    ("Hebrew", 0x590, 0x5FF),
    ("Arabic", 0x600, 0x77F),
    ("Devanagari", 0x900, 0x97F),
    ("Bengali", 0x980, 0x9FF),
    ("Thai", 0xE00, 0xE7F),
    ("East Asian", 0x3040, 0x30FF),
    ("East Asian", 0x3400, 0x9FFF),
    ("Hangul", 0xAC00, 0xD7AF),
)
_SCRIPT = ["other"] * (0xD7B0 >> 4)
"""Script by block of 16 code points."""
for _name, _first, _last in _BLOCKS:
    _SCRIPT[_first >> 4 : (_last >> 4) + 1] = [_name] * ((_last >> 4) + 1 - (_first >> 4))
_SCRIPT.append("other")


def is_in_other_scripts(text: str) -> bool:
    """Return whether the letters of a text, at least two, are not mostly Latin."""
    text = text[:MOST_CHARACTERS]
    return sum(map(str.isalpha, text)) > 1 and script_of(text) != "Latin"


def script_of(text: str) -> str | None:
    """Return the script of at least `_ONE_SCRIPT` of the letters; None if there is no such script."""
    letters = {sign: text.count(sign) for sign in set(text) if sign.isalpha()}
    total = sum(letters.values())
    if total < 2:
        return None
    scripts: Counter[str] = Counter()
    for sign, count in letters.items():
        scripts[_SCRIPT[min(ord(sign) >> 4, len(_SCRIPT) - 1)]] += count
    name, count = scripts.most_common(1)[0]
    return name if count >= _ONE_SCRIPT * total and name != "other" else None
