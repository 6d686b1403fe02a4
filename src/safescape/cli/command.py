"""The flags of a command, from its options, which `safescape.options` defines once for commands and functions."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo

from safescape.errors import InputError
from safescape.options.option import (
    Options,
    choices_of,
    default_of,
    fields_of,
    flags_of,
    help_of,
    is_argument,
    kind_of,
    option_of,
)

Given = dict[str, Any]
"""The options that were typed, by name; all others have their defaults."""
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout")]

_Number = TypeVar("_Number", int, float)
_TYPES: dict[str, Any] = {
    "switch": bool,
    "count": int,
    "number": float,
    "integers": list[int],
    "texts": list[str],
    "file": Path,
}
"""Of all other kinds the text is parsed here."""


def with_options(
    options: type[Options], *, without: Container[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the arguments and flags of some options; its first parameter receives those that were typed.

    Args:
        options: Of the command.
        without: Fields that only the function in Python takes.

    """
    fields = {name: field for name, field in fields_of(options).items() if name not in without}
    parameters = [
        _keyword("context", typer.Context),
        *(_parameter(name, field, options) for name, field in fields.items()),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()

        @functools.wraps(function)
        def command(context: typer.Context, **values: Any) -> Any:
            given = {name: values.pop(name) for name in fields}
            typed = {
                name: _parsed(name, value, fields[name]) for name, value in given.items() if _is_typed(context, name)
            }
            return function(typed, **values)

        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*parameters, *(each.replace(kind=each.KEYWORD_ONLY) for each in own)]
        )
        return command

    return decorate


def with_verbose(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flag `--verbose`."""
    flag = Annotated[bool, typer.Option("--verbose", help="Print what safescape does on stderr")]
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def command(*, verbose: bool, **values: Any) -> Any:
        with _logging() if verbose else contextlib.nullcontext():
            return function(**values)

    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), _keyword("verbose", flag, False)]
    )
    return command


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    """Print the log records of safescape's modules on stderr."""
    log, handler = logging.getLogger("safescape"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _parameter(name: str, field: FieldInfo, options: type[Options]) -> inspect.Parameter:
    """One argument or flag, as Typer reads it from a signature."""
    option, kind, words, value = option_of(field), kind_of(field), default_of(name, options), field.default
    described = help_of(field) if words is None else f"{help_of(field)} [default: {words}]"
    shown: dict[str, Any] = {"help": described.replace("[", "\\["), "metavar": option.metavar}
    if kind == "choice":
        shown["metavar"] = "|".join(choices_of(field))
    if kind in ("texts", "integers", "limit"):
        value = None
    elif kind in ("numbers", "counts") and value is not None:
        value = ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else f"{value:g}"
    annotation = _TYPES.get(kind, str)
    if is_argument(field):
        (shown["metavar"],) = flags_of(name, field)
        info = typer.Argument(**shown, show_default=False)
    else:
        info = typer.Option(*flags_of(name, field), **shown, show_default=words is None)
    if field.is_required():
        return _keyword(name, Annotated[annotation, info])
    return _keyword(name, Annotated[annotation | None if value is None else annotation, info], value)


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _parsed(name: str, value: Any, field: FieldInfo) -> Any:
    kind, flag = kind_of(field), flags_of(name, field)[0]
    if kind in ("numbers", "counts"):
        return _numbers(float if kind == "numbers" else int, value, flag)
    if kind == "limit" and value == "off":
        return None
    with contextlib.suppress(ValueError):
        # what is not a number is refused with all other values that do not fit
        return float(value) if kind == "limit" else value
    return value


def _numbers(kind: type[_Number], given: str, flag: str) -> list[_Number]:
    """Return the numbers of a text such as `0.1,0.2`."""
    try:
        return [kind(part) for part in given.split(",")]
    except ValueError as error:
        word = "a whole number" if kind is int else "a number"
        raise InputError(f"{flag} {given}: expected {word}, or several with commas between them") from error
