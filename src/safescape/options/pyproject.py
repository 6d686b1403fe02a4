"""The table `[tool.safescape.check]` of a pyproject.toml: settings of `safescape check` beside its flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from safescape.errors import InputError
from safescape.options.measure import CheckOptions
from safescape.options.option import expected_of, fields_of, is_argument, kind_of, read

_WHERE = "[tool.safescape.check]"
_FLAGS_ONLY = {
    *("out", "junit", "summary", "quick", "paper", "device", "tensor_parallel", "workers", "ray", "gpus_per_worker"),
    *("judges", "labels", "rubric", "max_requests", "trust_remote_code"),
}
"""What depends on the machine or on who calls, and what may run code or send answers elsewhere."""
_FIELDS = {
    name.replace("_", "-"): field
    for name, field in fields_of(CheckOptions).items()
    if name not in _FLAGS_ONLY and not is_argument(field)
}


def configured(path: Path = Path("pyproject.toml")) -> dict[str, Any]:
    """Return the table as keywords of `check`; empty if there is no such file or table.

    Keys are the flags' words, with `-` or `_`.

    Raises:
        InputError: the file is not TOML, or a key or its value is not one that `check` takes.

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
    given: dict[str, Any] = {}
    for key, value in found.items():
        word = key.replace("_", "-")
        name, field = word.replace("-", "_"), _FIELDS.get(word)
        if field is None:
            raise InputError(f"{path}: {_WHERE} {key}: no such key; expected one of {', '.join(_FIELDS)}")
        if name in given:
            raise InputError(f"{path}: {_WHERE} {key}: given twice, with - and with _; give it once")
        given[name] = None if kind_of(field) == "limit" and value == "off" else value
        if not _is_allowed(given[name], field):
            raise InputError(f"{path}: {_WHERE} {key} = {value!r:.60}: expected {_expected(field)}")
    try:
        read(CheckOptions, {"base": "", "tuned": "", **given})
    except InputError as error:
        raise InputError(f"{path}: {_WHERE}: {error}") from error
    return given


def _is_allowed(value: object, field: FieldInfo) -> bool:
    """Whether a value is of the field's type."""
    if kind_of(field) == "texts" and isinstance(value, str):
        return isinstance(field.default, str)
    try:
        TypeAdapter[Any](cast(Any, field.annotation)).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _expected(field: FieldInfo) -> str:
    match kind_of(field):
        case "limit":
            return 'a number, or "off"'
        case "texts":
            return "a text, or a list of texts" if isinstance(field.default, str) else "a list of texts"
    return expected_of(field, is_other_type=True)
