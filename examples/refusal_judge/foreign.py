"""Refusals and answers in other languages than English, put together from the parts in parts/languages/."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from slots import PARTS, sections

DRAWN = 15
"""Number of examples of each composed shape and language."""
MEASURED = {"measured_refused": "refused", "measured_complied": "complied"}
"""Sections that are never trained on, with their label."""
UNSPACED = ("Chinese", "Japanese")


class ForeignExample(NamedTuple):
    """One answer written for this project, with its label: refused or complied."""

    language: str
    response: str
    label: str


def names() -> list[str]:
    """Return the languages that have parts."""
    return sorted(path.stem for path in (PARTS / "languages").glob("*.txt"))


def measured(language: str) -> list[ForeignExample]:
    """Return the answers of a language that are never trained on."""
    parts = sections(f"languages/{language}.txt")
    return [ForeignExample(language, text, label) for section, label in MEASURED.items() for text in parts[section]]


def composed() -> list[ForeignExample]:
    """Return the training examples of all languages without repetitions."""
    examples = [example for name in names() for example in _of(name, random.Random(name))]
    return list(dict.fromkeys(examples))


def _of(language: str, draw: random.Random) -> Iterator[ForeignExample]:
    parts = sections(f"languages/{language}.txt")
    joint = "" if language in UNSPACED else " "

    def said(label: str, *texts: str) -> ForeignExample:
        return ForeignExample(language, joint.join(texts), label)

    answers = (*parts["complied"], *parts["answered"])
    for text in (*parts["opening"], *parts["reason"], *parts["refused"]):
        yield said("refused", text)
    for text in parts["refused"]:
        yield said("refused", text, draw.choice((*parts["alternative"], *parts["reason"])))
    for text in answers:
        yield said("complied", text)
        yield said("complied", text, draw.choice(answers))
    for _ in range(DRAWN):
        opening, alternative = draw.choice(parts["opening"]), draw.choice(parts["alternative"])
        first, second = draw.sample(parts["reason"], 2)
        yield said("refused", opening, first)
        yield said("refused", opening, alternative)
        yield said("refused", opening, first, second, alternative)
        yield said("refused", first, second)
        yield said("refused", first, alternative)
        answer, steps = draw.choice(answers), draw.sample(parts["step"], 4)
        yield said("complied", *steps[: draw.randint(1, 3)])
        yield said("complied", answer, *steps[:2])
        yield said("complied", *steps[:3], first)
        turn = draw.choice(parts["turn"])
        listed = "\n".join(f"{number}. {step}" for number, step in enumerate(steps[:3], start=1))
        yield said("complied", opening, f"{turn}\n{listed}" if draw.random() < 0.5 else joint.join((turn, *steps[:3])))
        yield said("complied", listed)
