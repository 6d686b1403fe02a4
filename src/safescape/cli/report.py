"""`safescape report`: figures, picture and page of a run, written anew from what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safescape.cli.command import AsJson, SafeBelow
from safescape.cli.output import show_run
from safescape.errors import InputError
from safescape.landscape import SAFE_BELOW

__all__ = ["report"]


def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="a run directory", show_default=False)],
    figure: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="draw the landscape for a paper too, into .pdf, .svg or .png; may be repeated"
        ),
    ] = None,
    columns: Annotated[
        int | None, typer.Option(metavar="1|2", help="--figure: 1 column wide, 3.3 inches, or 2, 6.9 \\[default: 1]")
    ] = None,
    safe_below: SafeBelow = SAFE_BELOW,
    as_json: AsJson = False,
) -> None:
    """Example: safescape report runs/demo --figure landscape.pdf

    Write landscape.json, landscape.png and report.html of RUN anew; also of a run that is not finished. No model
    is loaded.
    """
    if columns is not None and not figure:
        raise InputError(f"--columns {columns} is for --figure FILE; give both")

    from safescape import api  # loads torch, which `--help` need not wait for

    run = api.report(directory, safe_below=safe_below, figures=figure or (), columns=1 if columns is None else columns)
    show_run(run, as_json=as_json, also=figure or ())
