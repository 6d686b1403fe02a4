"""Fill the reference pages of the site with the commands and the Python names, read from the code at each build."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

import safescape
from safescape.cli import app

_LINES = re.compile(r"\s*\n\s*")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the comments `<!-- commands -->`, `<!-- functions -->` and so on of a page."""
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", "\n".join(_commands(get_command(app), "safescape")))
    if "<!-- functions -->" in markdown:
        values = {name: getattr(safescape, name) for name in safescape.__all__}
        errors = [name for name, value in values.items() if inspect.isclass(value) and issubclass(value, Exception)]
        functions = [name for name, value in values.items() if inspect.isfunction(value)]
        classes = [name for name in values if name not in {*errors, *functions}]
        for mark, names in (("functions", functions), ("classes", classes), ("errors", errors)):
            markdown = markdown.replace(f"<!-- {mark} -->", "\n\n".join(f"::: safescape.{name}" for name in names))
    return markdown


def _commands(group: Any, above: str) -> Iterator[str]:
    """Yield the lines of each command: example, description, and the table of its arguments and options."""
    for name, command in sorted(group.commands.items()):
        called = f"{above} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, called)
            continue
        example, _, rest = inspect.cleandoc(command.help or "").partition("\n")
        yield f"## {called}\n"
        yield f"```\n{example.removeprefix('Example: ')}\n```\n"
        yield f"{rest.strip()}\n"
        yield "| option | value | meaning |\n|---|---|---|"
        yield from map(_row, command.params)
        yield ""


def _row(parameter: Any) -> str:
    """Return the table row of one argument or option."""
    is_option = parameter.param_type_name == "option"
    taken = parameter.metavar or getattr(parameter.type_descriptor.annotation, "__name__", "").lower()
    if is_option:
        typed = ", ".join([*parameter.opts, *parameter.secondary_opts])
        value = "" if parameter.is_flag else taken
    else:
        typed, value = taken, ""
    said = _LINES.sub(" ", parameter.help or "").replace("\\[", "[")
    default = parameter.default
    if (
        is_option
        and isinstance(default, int | float | str)
        and not isinstance(default, bool)
        and "[default" not in said
    ):
        said += f" [default: {default}]"
    return f"| {_code(typed)} | {_code(value)} | {_cell(said)} |"


def _code(text: str) -> str:
    return f"<code>{_cell(text)}</code>" if text else ""


def _cell(text: str) -> str:
    return html.escape(str(text), quote=False).replace("|", "&#124;").replace("*", "&#42;").replace("_", "&#95;")
