"""`safescape report`: figures, picture and page of a run, written anew from what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safescape.cli import options
from safescape.cli.output import show_run

__all__ = ["report"]


def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="a run directory", show_default=False)],
    safe_below: options.SafeBelow = options.SAFE_BELOW,
    as_json: options.AsJson = False,
) -> None:
    """Example: safescape report runs/demo

    Write landscape.json, landscape.png and report.html of RUN anew; also of a run that is not finished. No model
    is loaded.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    show_run(api.report(directory, safe_below=safe_below), as_json=as_json)
