"""What an option is: one field of a frozen pydantic model, which its flag, its keyword and its errors come from.

Knows no command and loads no torch.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, NamedTuple, ParamSpec, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from safescape.errors import InputError, either

_P = ParamSpec("_P")
_O = TypeVar("_O")
_R = TypeVar("_R")
_One = TypeVar("_One", bound=str | Path | float)

Kind = Literal[
    "switch", "count", "number", "limit", "counts", "numbers", "integers", "texts", "choice", "text", "file", "function"
]
"""How a value is typed. `limit`: a number, or off. `counts`, `numbers`: one or several with commas between them.
`integers`, `texts`: a flag that may be repeated. `function`: from Python only."""
_NOUNS: dict[Kind, str] = {
    "switch": "true or false",
    "count": "a whole number",
    "number": "a number",
    "limit": "a number, or off",
    "counts": "a whole number, or several with commas between them",
    "numbers": "a number, or several with commas between them",
    "integers": "whole numbers",
    "texts": "a text, or several",
    "text": "a text",
    "file": "the name of a file",
    "function": "a function",
}
_SCALARS: dict[type, Kind] = {bool: "switch", Path: "file", float: "number", int: "count", str: "text"}


class Option(NamedTuple):
    """What is said of an option beside its type, bounds, default and description."""

    metavar: str | None = None
    """Placeholder of the value in `--help`."""
    flags: tuple[str, ...] = ()
    """By default the field's name with `-` for `_`."""
    default: str | None = None
    """The default in words, where the field's own and the preset's do not say it."""
    expected: str | None = None
    """What an error message calls for, where the bounds do not say it."""


class Options(BaseModel):
    """The options of a command: frozen, and checked when they are made; `read` says in one line what is wrong.

    The docstring under a field is its help.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True, use_attribute_docstrings=True
    )

    defaults: ClassVar[Mapping[str, object]] = {}
    """Values that take the place of None or of an empty list, by field; shown in `--help`."""


def fields_of(options: type[Options]) -> dict[str, FieldInfo]:
    """Return the fields in the order of `--help`: arguments, the command's own options, shared ones, callbacks."""
    names = dict.fromkeys(name for model in options.__mro__ for name in inspect.get_annotations(model))
    fields = {name: options.model_fields[name] for name in names if name in options.model_fields}

    def rank(name: str) -> int:
        return 0 if fields[name].kw_only is False else 2 if kind_of(fields[name]) == "function" else 1

    return {name: fields[name] for name in sorted(fields, key=rank)}


def is_argument(field: FieldInfo) -> bool:
    """Return whether the command takes a field by its place and not by a flag."""
    return field.kw_only is False and not option_of(field).flags


def option_of(field: FieldInfo) -> Option:
    """Return what is said of a field."""
    return next((entry for entry in reversed(field.metadata) if isinstance(entry, Option)), Option())


def help_of(field: FieldInfo) -> str:
    """Return a field's description in one line, without its final period."""
    return " ".join((field.description or "").split()).removesuffix(".")


def flags_of(name: str, field: FieldInfo) -> tuple[str, ...]:
    """Return the flags of a field, the preferred one first; of an argument its placeholder."""
    option = option_of(field)
    if is_argument(field):
        return (option.metavar or name.upper(),)
    return option.flags or (f"--{name.replace('_', '-')}",)


def kind_of(field: FieldInfo) -> Kind:
    """Return how a field's value is typed, from its annotation."""
    members = _members(field)
    entries = {get_args(member)[0] for member in members if get_origin(member) is Sequence}
    if entries in ({str}, {str | Path}):
        return "texts"
    if entries <= {int, float} and entries:
        return "integers" if members.isdisjoint({int, float}) else "numbers" if float in entries else "counts"
    if choices := choices_of(field):
        return "count" if isinstance(choices[0], int) else "choice"
    if float in members and NoneType in members and isinstance(field.default, float):
        return "limit"
    return next((kind for scalar, kind in _SCALARS.items() if scalar in members), "function")


def _members(field: FieldInfo) -> set[Any]:
    """The members of a union, or a type alone."""
    annotation = field.annotation
    return {*get_args(annotation)} if get_origin(annotation) in (Union, UnionType) else {annotation}


def choices_of(field: FieldInfo) -> tuple[Any, ...]:
    """Return what a `Literal` allows; empty for any other type."""
    return get_args(next((member for member in _members(field) if get_origin(member) is Literal), None))


def default_of(name: str, options: type[Options]) -> str | None:
    """Return a default in words: the field's own, or what takes the place of None or of an empty list."""
    field = options.model_fields[name]
    if option_of(field).default is not None or field.is_required():
        return option_of(field).default
    value = options.defaults.get(name) if field.default in (None, ()) else field.default
    if value in (None, ()) or isinstance(value, bool):
        return None
    words = [f"{each:g}" if isinstance(each, float) else str(each) for each in each_of(value)]
    return (" and " if kind_of(field) == "texts" else ",").join(words)


def expected_of(field: FieldInfo, *, is_other_type: bool = False, bounds: Mapping[str, Any] | None = None) -> str:
    """Return what an error message says is expected of a field's value.

    Args:
        field: The field.
        is_other_type: Whether the value is not even of the field's type.
        bounds: The bound that the value breaks, by pydantic's name: `ge`, `gt`, `le`.

    """
    kind, expected = kind_of(field), option_of(field).expected
    if kind == "choice":
        return expected or either(choices_of(field))
    if expected is None and bounds and "ge" in bounds:
        return "0 or more" if bounds["ge"] == 0 else f"at least {bounds['ge']}"
    return _NOUNS[kind] if expected is None or is_other_type else expected


def each_of(given: _One | Sequence[_One]) -> tuple[_One, ...]:
    """Return a tuple of values from one value or several; a text is one value, not a sequence of letters."""
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (cast(_One, given),)


def read(options: type[_O], given: Mapping[str, Any]) -> _O:
    """Return the options that are given by name.

    Raises:
        InputError: a value is of another type, or out of bounds.

    """
    try:
        return options(**given)
    except ValidationError as error:
        assert issubclass(options, Options)
        first = error.errors()[0]
        name = str(first["loc"][0])
        field = options.model_fields[name]
        expected = expected_of(field, is_other_type=first["type"].endswith("_parsing"), bounds=first.get("ctx"))
        value = given[name]
        shown = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        raise InputError(f"{flags_of(name, field)[0]} {shown}: expected {expected}") from error


def takes(options: Callable[_P, _O]) -> Callable[[Callable[[_O], _R]], Callable[_P, _R]]:
    """Let a function of one `Options` be called with its fields as arguments, which the model types.

    A field with `kw_only=False` may also be given by its place. `inspect.signature` and `help` show every argument.
    """
    assert isinstance(options, type)
    assert issubclass(options, Options)
    model = cast(type[_O], options)
    fields = fields_of(options)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if field.kw_only is False else inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else field.default,
            annotation=field.annotation,
        )
        for name, field in fields.items()
    ]
    described = "\n".join(f"    {name}: {_described(name, options)}" for name in fields)

    def decorate(function: Callable[[_O], _R]) -> Callable[_P, _R]:
        returned = function.__annotations__["return"]
        signature = inspect.Signature(parameters, return_annotation=returned)

        @functools.wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(read(model, given))

        head, *rest = re.split(r"\n\n(?=Returns:|Raises:)", inspect.getdoc(function) or "", maxsplit=1)
        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__doc__ = "\n\n".join([head, f"Args:\n{described}", *rest]) + "\n"
        return called

    return decorate


def _described(name: str, options: type[Options]) -> str:
    field = options.model_fields[name]
    said, default = help_of(field), default_of(name, options) if field.default in (None, ()) else None
    return f"{said}." if default is None else f"{said} (default: {default})."
