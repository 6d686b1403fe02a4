"""`safescape export`: tables, a section of a model card and an Inspect log, made from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safescape.cli.command import SafeBelow, numbers
from safescape.cli.output import say
from safescape.landscape import SAFE_BELOW

__all__ = ["export"]


def export(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="a run directory", show_default=False)],
    to: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="a table: .csv or .parquet; a model card's section: .md; a log of Inspect AI: .eval; may be repeated",
        ),
    ] = None,
    what: Annotated[
        str | None, typer.Option(metavar="points|responses|verdicts", help="which table \\[default: points]")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="ALPHA[,BETA]", help=".eval: of which point \\[default: the origin]")
    ] = None,
    line: Annotated[int | None, typer.Option(metavar="N", help=".eval: on which line, from 0 \\[default: 0]")] = None,
    waypoint: Annotated[
        int | None, typer.Option(metavar="W", help=".eval: of which checkpoint, from 0, instead")
    ] = None,
    probe: Annotated[
        str | None, typer.Option(metavar="NAME", help=".eval: which prompts \\[default: the first probe's]")
    ] = None,
    safe_below: SafeBelow = SAFE_BELOW,
) -> None:
    """Example: safescape export runs/demo --to points.csv --to card.md

    Write what other tools read of RUN, finished or not: all of the files, or none. Nothing in RUN changes, and no model
    is loaded.
    """
    coords = None if at is None else numbers(float, at, "--at")

    from safescape import api  # loads torch, which `--help` need not wait for

    files = to or []
    api.export(directory, files, what=what, at=coords, line=line, waypoint=waypoint, probe=probe, safe_below=safe_below)
    say(*files)
