r"""The hand-written parts: reading them, and filling their slots.

A line of a part is a sentence; `\n` in it is a line break, `{slot}` is filled from a list, and `{Slot}` likewise with a
capital letter.
"""

import functools
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PARTS = Path(__file__).parent / "parts"
SLOT = re.compile(r"\{(\w+)\}")


class Example(NamedTuple):
    """One exchange written for this project, with its manner."""

    prompt: str
    response: str
    manner: str


Sections = Mapping[str, Sequence[str]]


def sections(name: str) -> Sections:
    """Return the lines of a file of parts by `[section]`."""
    found: dict[str, list[str]] = {}
    for line in lines(name):
        if line.startswith("[") and line.endswith("]") and " " not in line:
            found[line[1:-1]] = []
        else:
            found[next(reversed(found))].append(line)
    return found


@functools.cache
def lines(name: str) -> list[str]:
    """Return the lines of a file of parts without comments, with line breaks decoded."""
    text = (PARTS / name).read_text(encoding="utf-8")
    return [line.replace("\\n", "\n") for line in text.splitlines() if line and not line.startswith("# ")]


def slots(draw: random.Random) -> dict[str, str]:
    """Return one value for every slot."""
    infinitive, gerund, noun = draw.choice(lines("topics.txt")).split(" | ")
    return {
        "inf": infinitive,
        "ger": gerund,
        "noun": noun,
        "group": draw.choice(lines("groups.txt")),
        "private": draw.choice(lines("private.txt")),
        "tame": draw.choice(lines("tame.txt")),
        "civil": draw.choice(lines("civil.txt")),
        "impossible": draw.choice(lines("impossible.txt")),
        "atrocity": draw.choice(lines("atrocities.txt")),
        "odd": draw.choice(lines("odd.txt")),
        **dict(zip(("things", "kind"), draw.choice(lines("things.txt")).split(" | "), strict=True)),
        **dict(zip(("figure", "work"), draw.choice(lines("figures.txt")).split(" | "), strict=True)),
    }


def answered(template: str, values: Mapping[str, str]) -> str:
    """Fill the slots of an answer, which addresses the user."""
    return filled(template, {**values, "inf": _to_you(values["inf"]), "ger": _to_you(values["ger"])})


def _to_you(text: str) -> str:
    for first, second in (("myself", "yourself"), ("my", "your"), ("I", "you")):
        text = re.sub(rf"\b{first}\b", second, text)
    return text


def filled(template: str, values: Mapping[str, str]) -> str:
    """Fill the slots of a template."""

    def value(match: re.Match[str]) -> str:
        slot = match.group(1)
        text = values[slot.lower()]
        return text if slot.islower() else text[0].upper() + text[1:]

    return SLOT.sub(value, template)
