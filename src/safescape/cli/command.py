"""The flags of a command, from its options, which `safescape.options` defines once for commands and functions."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import re
import sys
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from safescape.options import Options, option

Given = dict[str, Any]
"""The options that were typed, by name; all others have their defaults."""
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout")]

_TYPES: dict[str, Any] = {"switch": bool, "integers": list[str], "texts": list[str], "file": Path}
"""Of all other kinds the text is parsed here, so that every error of a value has the same words."""
_NUMBERS: dict[str, type[int | float]] = {"count": int, "number": float, "limit": float}


def with_options(
    options: type[Options], *, without: Container[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the arguments and flags of some options; its first parameter receives those that were typed.

    Args:
        options: Of the command.
        without: Fields that only the function in Python takes.

    """
    fields = {name: field for name, field in option.fields_of(options).items() if name not in without}
    parameters = [_parameter(name, field, options) for name, field in fields.items()]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()

        @functools.wraps(function)
        def command(**values: Any) -> Any:
            typed = {}
            for name, field in fields.items():
                if (value := values.pop(name)) is not None:
                    typed[name] = _parsed(value, option.kind_of(field))
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
    # one line per paragraph, which the terminal wraps
    command.__doc__ = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(function) or "")
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
    """One argument or flag, as Typer reads it from a signature; None where it is not typed."""
    kind, said, words = option.kind_of(field), option.help_of(field), option.default_of(name, options)
    said = (said if words is None else f"{said} [default: {words}]").replace("[", "\\[")
    flags = option.flags_of(name, field)
    if option.is_argument(field):
        info = typer.Argument(help=said, metavar=flags[0])
    else:
        metavar = option.option_of(field).metavar
        if kind == "choice":
            metavar = "|".join(option.choices_of(field))
        elif metavar is None and kind in _NUMBERS:
            metavar = f"<{_NUMBERS[kind].__name__}>"
        info = typer.Option(*flags, help=said, metavar=metavar)
    annotation = _TYPES.get(kind, str)
    if field.is_required():
        return _keyword(name, Annotated[annotation, info])
    return _keyword(name, Annotated[annotation | None, info], None)


def _parsed(value: Any, kind: option.Kind) -> Any:
    """A value as its model takes it; what does not fit is refused there."""
    if kind in ("numbers", "counts"):
        return value.split(",") if "," in value else value
    if kind == "limit" and value == "off":
        return None
    with contextlib.suppress(ValueError):
        return _NUMBERS[kind](value) if kind in _NUMBERS else value
    return value
