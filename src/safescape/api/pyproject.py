"""The table `[tool.safescape.check]` of a pyproject.toml: what `safescape check` is told beside its flags."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from safescape.errors import InputError

__all__ = ["configured"]

_WHERE = "[tool.safescape.check]"


class _Kind(NamedTuple):
    """What a key may be given."""

    expected: str
    allows: Callable[[object], bool]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


_LIMIT = _Kind('a number, or "off"', lambda value: _is_number(value) or value == "off")
_NUMBER = _Kind("a number", _is_number)
_COUNT = _Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
_SWITCH = _Kind("true or false", lambda value: isinstance(value, bool))
_TEXT = _Kind("a text", _is_text)
_TEXTS = _Kind("a list of texts", _is_texts)
_KEYS = {
    "max-asr": _LIMIT,
    "max-rise": _LIMIT,
    "min-radius": _LIMIT,
    "max-over-refusal": _LIMIT,
    "max-loss": _LIMIT,
    "strict": _SWITCH,
    "steps": _COUNT,
    "beyond": _NUMBER,
    "prompts": _TEXT,
    "limit": _COUNT,
    "system-prompt": _Kind("a text, or a list of texts", lambda value: _is_text(value) or _is_texts(value)),
    "also": _TEXTS,
    "also-limit": _COUNT,
    "engine": _TEXT,
    "adapter": _TEXT,
    "dtype": _TEXT,
    "max-new-tokens": _COUNT,
    "whole-answers": _SWITCH,
    "batch-size": _COUNT,
    "chat-template": _TEXT,
    "safe-below": _NUMBER,
}
"""What decides the verdict. Where it runs, and whether a model may bring code, is for the command line alone."""


def configured(path: Path = Path("pyproject.toml")) -> dict[str, object]:
    """Return what the table says, as keywords of `check`; empty where there is no such file or table.

    Keys are the flags' words, with `-` or `_`.

    Raises:
        InputError: the file is not TOML, or a key or its value is none that `check` takes.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); mend it") from error
    try:
        found: object = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML ({error}); mend it") from error
    for name in ("tool", "safescape", "check"):
        found = found.get(name, {}) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: {_WHERE}: expected a table of flags and their values, for example max-asr = 10")
    given: dict[str, object] = {}
    for key, value in found.items():
        word = key.replace("_", "-")
        if word not in _KEYS:
            raise InputError(f"{path}: {_WHERE} {key}: no such key; expected one of {', '.join(_KEYS)}")
        if word.replace("-", "_") in given:
            raise InputError(f"{path}: {_WHERE} {key}: given twice, with - and with _; give it once")
        kind = _KEYS[word]
        if not kind.allows(value):
            raise InputError(f"{path}: {_WHERE} {key} = {_shown(value)}: expected {kind.expected}")
        given[word.replace("-", "_")] = None if kind is _LIMIT and value == "off" else value
    return given


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
