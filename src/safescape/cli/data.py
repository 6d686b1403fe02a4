"""`safescape data`: the public data sets that have names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from safescape.cli.output import results

if TYPE_CHECKING:
    from safescape.api.data import Listed

__all__ = ["data"]

AsJson = Annotated[bool, typer.Option("--json", help="print the sets as JSON on stdout")]

data = typer.Typer(name="data", help="Public data sets by name: list them, fetch them.")


@data.callback(invoke_without_command=True)
def _data(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_sets(as_json)


@data.command("list")
def list_sets(as_json: AsJson = False) -> None:
    """Example: safescape data

    List the public data sets that any flag for prompts or data takes by name, and where each one is: in the directory
    SAFESCAPE_DATA, in the cache, or not fetched yet.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    _show(api.list_sets(), as_json=as_json)


@data.command("fetch")
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="names, as `safescape data` lists them")],
    as_json: AsJson = False,
) -> None:
    """Example: safescape data fetch advbench mmlu:abstract_algebra

    Fetch public data sets into the cache now, for a machine that will have no network. Sets that are on this machine
    are not fetched again.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    _show(api.fetch_sets(names), as_json=as_json)


def _show(listed: Sequence[Listed], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([each.to_dict() for each in listed]))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("set", "rows", "licence", "where", "holds"):
        table.add_column(heading, justify="right" if heading == "rows" else "left")
    for data, located in listed:
        where = f"{located.where}, {located.integrity}" if located.where else "not fetched"
        rows = "" if data.rows is None else str(data.rows)
        table.add_row(*map(Text, (data.name, rows, data.licence, where, data.holds)))
    console = results()
    console.print(table)
