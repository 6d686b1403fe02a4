"""`safescape data`: the public data sets that have names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from safescape.cli.command import AsJson, with_verbose
from safescape.cli.output import results

if TYPE_CHECKING:
    from safescape.probes import Located, PublicSet

data = typer.Typer(name="data", help="Public data sets by name: list them, fetch them.")


@data.callback(invoke_without_command=True)
def _data(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_sets(as_json=as_json, verbose=False)


@data.command("list")
@with_verbose
def list_sets(as_json: AsJson = False) -> None:
    """Example: safescape data

    List the public data sets that any flag for prompts or data takes by name, and where each one is: in the directory
    SAFESCAPE_DATA, in the cache, or not fetched yet.
    """
    from safescape.probes import catalogue, locate  # loads transformers, which `--help` need not wait for

    _show([(each, locate(each)) for each in catalogue()], as_json=as_json)


@data.command("fetch")
@with_verbose
def fetch_sets(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="names, as `safescape data` lists them")],
    as_json: AsJson = False,
) -> None:
    """Example: safescape data fetch advbench mmlu:abstract_algebra

    Fetch public data sets into the cache now, for a machine that will have no network. Sets that are on this machine
    are not fetched again.
    """
    from safescape.probes import fetch, set_named  # loads transformers, which `--help` need not wait for

    sets = [set_named(name) for name in dict.fromkeys(names)]
    _show([(each, fetch(each, each.name)) for each in sets], as_json=as_json)


def _show(listed: Sequence[tuple[PublicSet, Located]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_document(data, located) for data, located in listed]))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("set", "rows", "licence", "where", "holds"):
        table.add_column(heading, justify="right" if heading == "rows" else "left")
    for data, located in listed:
        where = f"{located.where}, {located.integrity}" if located.where else "not fetched"
        rows = "" if data.rows is None else str(data.rows)
        table.add_row(*map(Text, (data.name, rows, data.licence, where, data.holds)))
    results().print(table)


def _document(data: PublicSet, located: Located) -> dict[str, Any]:
    homes = {f"{'hub' if file.on_hub else 'github'}:{file.repository}@{file.revision}" for file in data.files}
    return {
        "name": data.name,
        "holds": data.holds,
        "rows": data.rows,
        "licence": data.licence,
        "citation": data.citation,
        "published": sorted(homes),
        "where": located.where,
        "files": [str(path) for path in located.paths],
        "integrity": located.integrity or None,
    }
