"""`safescape data`: the public data sets that have names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from safescape.cli.command import AsJson, with_verbose
from safescape.cli.output import show_table

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

    List the public data sets that every flag for prompts or data accepts by name, and where each set is stored: in the
    directory SAFESCAPE_DATA, in the cache, or not on this machine yet.
    """
    from safescape.probes import catalogue, locate  # loads transformers, which `--help` need not wait for

    _show([(each, locate(each)) for each in catalogue()], as_json=as_json)


@data.command("fetch")
@with_verbose
def fetch_sets(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of sets, as `safescape data` lists them")],
    as_json: AsJson = False,
) -> None:
    """Example: safescape data fetch advbench mmlu:abstract_algebra

    Download public data sets into the cache, for example before the machine goes offline. Sets that are on this machine
    are not downloaded again.
    """
    from safescape.probes import fetch, set_named  # loads transformers, which `--help` need not wait for

    sets = [set_named(name) for name in dict.fromkeys(names)]
    _show([(each, fetch(each, each.name)) for each in sets], as_json=as_json)


def _show(sets: Sequence[tuple[PublicSet, Located]], *, as_json: bool) -> None:
    documents, rows = [], []
    for each, located in sets:
        homes = {f"{'hub' if file.on_hub else 'github'}:{file.repository}@{file.revision}" for file in each.files}
        documents.append(
            {
                **{key: getattr(each, key) for key in ("name", "holds", "rows", "licence", "citation")},
                "published": sorted(homes),
                "where": located.where,
                "files": [str(path) for path in located.paths],
                "integrity": located.integrity or None,
            }
        )
        where = f"{located.where}, {located.integrity}" if located.where else "not fetched"
        rows.append((each.name, "" if each.rows is None else str(each.rows), each.licence, where, each.holds))
    if as_json:
        print(json.dumps(documents))
    else:
        show_table(("set", "rows", "licence", "where", "holds"), rows, left={0, 2, 3, 4})
