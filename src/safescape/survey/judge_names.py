"""Names of judges: one parser for every form that a judge's name takes.

| name | record |
|---|---|
| `keyword`, `keyword-normalised`, `refusal`, `package.module:object`, an entry point | `ImmediateName` |
| `llama-guard-3`, `llama-guard-3=PLACE` | `GuardName` |
| `hf:ID`, `hf:ID#LABEL=OUTCOME;LABEL=OUTCOME` | `ClassifierName` |
| `openai:MODEL`, `openai:MODEL#RUBRIC` | `ApiName` |
| `majority(A,B)`, `all(A,B)` | `PanelName` |

A record's `text` is the name as surveys and runs store it, without whitespace around its parts; parsed again, it gives
an equal record. Every function that takes a name raises InputError if it is malformed. This module knows the names
alone: no judge, no model, no file and no installed package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, cast

from safescape.errors import InputError
from safescape.survey.types import Outcome

KEYWORD, REFUSAL = "keyword", "refusal"
"""The two judges that run anywhere: the paper's, and the one that tells four outcomes."""

KEYWORD_NORMALISED = "keyword-normalised"
"""The paper's phrases, whatever the kind of apostrophe, the case and the whitespace."""

GUARDS = ("harmbench", "llama-guard-3", "llama-guard-3-1b", "shieldgemma", "strongreject", "wildguard")
"""The guard models known by name; `NAME=PLACE` is the same guard loaded from another place."""

RUBRICS = ("strongreject", "policy")
"""The rubrics that ship with the package. The first one is the default of `openai:MODEL`."""

_LONGEST_SHOWN = 200
"""Characters of a name that an error message repeats."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators and lone surrogates: no name has them, and survey.json cannot hold the last."""
_PANEL = re.compile(r"(majority|all)\s*\(")
_RUBRIC_FROM_FILE = re.compile(r"rubric-[0-9a-f]{8}")
_OUTCOMES = ", ".join(Outcome)


class ImmediateName(NamedTuple):
    """A judge that needs neither a device nor a network, so that it judges between two points."""

    text: str
    """`keyword`, `keyword-normalised`, `refusal`, `package.module:object`, or the name of an entry point of the group
    `safescape.judges`."""


class GuardName(NamedTuple):
    """A guard model that is known by name."""

    guard: str
    """One of `GUARDS`."""
    place: str | None
    """Where to load it from: a Hub id or a directory. None: its publisher's repository on the Hub."""

    @property
    def text(self) -> str:
        """`llama-guard-3`, or `llama-guard-3=./directory`."""
        return self.guard if self.place is None else f"{self.guard}={self.place}"


class ClassifierName(NamedTuple):
    """A sequence classifier from the Hub or from a directory."""

    place: str
    """A Hub id or a directory."""
    outcomes: tuple[tuple[str, Outcome], ...] = ()
    """What each of its labels means, in the order given; empty: not given yet."""

    @property
    def text(self) -> str:
        """`hf:ID`, or `hf:ID#LABEL=OUTCOME;LABEL=OUTCOME`."""
        mapping = ";".join(f"{label}={outcome}" for label, outcome in self.outcomes)
        return f"hf:{self.place}#{mapping}" if mapping else f"hf:{self.place}"

    def with_labels(self, labels: str) -> ClassifierName:
        """Add the meaning of the labels, `LABEL=OUTCOME,LABEL=OUTCOME` as `--labels` takes it, sorted by label.

        Raises:
            InputError: the name has labels already, or they are malformed.

        """
        if self.outcomes:
            raise InputError(f"--labels {_shown(labels)}: belongs to --judge hf:ID, and the judge is {self.text}")
        outcomes = _outcomes(f"{self.text} --labels {_shown(labels)}", labels.split(","))
        return self._replace(outcomes=tuple(sorted(outcomes)))


class ApiName(NamedTuple):
    """A model behind an OpenAI-compatible API, with the rubric that it judges by."""

    model: str
    """As the server calls it."""
    rubric: str | None = None
    """One of `RUBRICS`, or `rubric-` and eight hexadecimal digits for a text from a file. None: the first of `RUBRICS`.
    """

    @property
    def text(self) -> str:
        """`openai:MODEL`, or `openai:MODEL#RUBRIC`."""
        return f"openai:{self.model}" if self.rubric is None else f"openai:{self.model}#{self.rubric}"


SingleName = ImmediateName | GuardName | ClassifierName | ApiName
"""The name of a judge that reads answers itself."""


class PanelName(NamedTuple):
    """Several judges that count as one."""

    rule: Literal["majority", "all"]
    members: tuple[SingleName, ...]
    """Two or more, all different; no panel among them."""

    @property
    def text(self) -> str:
        """`majority(A,B)`, or `all(A,B)`."""
        return f"{self.rule}({','.join(member.text for member in self.members)})"


JudgeName = SingleName | PanelName


@lru_cache(maxsize=256)
def parse_judge_name(given: str) -> JudgeName:
    """Parse the name of a judge, as typed or as stored in a survey.

    Whitespace around it, and around the members of a panel, is ignored. Whether a judge of the user's own exists is
    found out when it is loaded (`judges.immediate_judge`).

    Raises:
        InputError: the name is empty, holds control characters, or is malformed; the message says what is expected.

    """
    name = given.strip()
    panel = _PANEL.match(name)
    if panel is None:
        return _single(name)
    parts = [part.strip() for part in name[panel.end() : -1].split(",")]
    if name.endswith(")") and all(parts) and not any("(" in part or ")" in part for part in parts):
        members = tuple(_single(part) for part in parts)
        if len(set(members)) == len(members) >= 2:
            return PanelName(cast(Literal["majority", "all"], panel[1]), members)
    raise InputError(f"--judge {_shown(name)}: expected two or more different judges, as in majority(keyword,refusal)")


def _single(name: str) -> SingleName:
    """Parse a name that is no panel's, without whitespace around it."""
    if name.startswith("hf:"):
        return _classifier(name)
    if not name or _CONTROL.search(name):
        raise InputError(
            f"--judge {_shown(name) or repr(name)}: expected a name without control characters, such as keyword, "
            "refusal or llama-guard-3"
        )
    if name.startswith("openai:"):
        return _api(name)
    guard, equals, place = name.partition("=")
    if guard not in GUARDS:
        return ImmediateName(name)
    if equals and (not place or re.search(r"[,()\s]", place)):
        raise InputError(
            f"--judge {_shown(name)}: expected a directory or a Hub id without spaces, commas and brackets after the "
            f"=, as in {guard}=./guard"
        )
    return GuardName(guard, place or None)


def _classifier(name: str) -> ClassifierName:
    place, separator, mapping = name.removeprefix("hf:").partition("#")
    if not place or re.search(r"[,;=()\s]", place) or _CONTROL.search(place):
        raise InputError(
            f"--judge {_shown(name)}: expected hf:ID, the Hub id or the directory of a sequence classifier, "
            "without spaces, commas and brackets"
        )
    return ClassifierName(place, _outcomes(_shown(name), mapping.split(";")) if separator else ())


def _outcomes(given: str, parts: Sequence[str]) -> tuple[tuple[str, Outcome], ...]:
    found: dict[str, Outcome] = {}
    for part in parts:
        label, _, outcome = (text.strip() for text in part.rpartition("="))
        malformed = not label or re.search(r"[,;#()]", label) or _CONTROL.search(label)
        if malformed or outcome not in tuple(Outcome) or label in found:
            raise InputError(
                f"--judge {given}: {_shown(part.strip()) or 'nothing'} is not LABEL=OUTCOME; expected each label once, "
                f"with one of {_OUTCOMES}"
            )
        found[label] = Outcome(outcome)
    return tuple(found.items())


def _api(name: str) -> ApiName:
    model, separator, rubric = name.removeprefix("openai:").partition("#")
    is_known = rubric in RUBRICS or _RUBRIC_FROM_FILE.fullmatch(rubric) if separator else True
    # a panel's members are separated by commas and enclosed in parentheses
    if not re.fullmatch(r"[^\s,()#]+", model) or not is_known:
        raise InputError(
            f"--judge {_shown(name)}: expected openai:MODEL or openai:MODEL#RUBRIC; MODEL without spaces, commas and "
            f"parentheses, RUBRIC one of {', '.join(RUBRICS)}"
        )
    return ApiName(model, rubric or None)


def _shown(text: str) -> str:
    """Return a text for an error message: on one line, printable, and not longer than `_LONGEST_SHOWN`."""
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


def members_of(name: str) -> tuple[str, ...]:
    """Return the judges that read answers for a name: the members of a panel, else the name as it is."""
    parsed = parse_judge_name(name)
    return tuple(member.text for member in parsed.members) if isinstance(parsed, PanelName) else (name,)


def is_immediate(name: str) -> bool:
    """Return whether a judge needs neither a device nor a network, so that it judges between two points."""
    return isinstance(parse_judge_name(name), ImmediateName)


def tells_noise(name: str) -> bool:
    """Return whether a judge can call an answer incoherent; otherwise noise counts as one of its other outcomes.

    A classifier can if one of its labels means incoherent, a panel if one of its members can.
    """
    match parse_judge_name(name):
        case PanelName(members=members):
            return any(tells_noise(member.text) for member in members)
        case ClassifierName(outcomes=outcomes):
            return any(outcome is Outcome.INCOHERENT for _, outcome in outcomes)
        case GuardName():
            return False
        case parsed:
            return parsed.text not in (KEYWORD, KEYWORD_NORMALISED)
