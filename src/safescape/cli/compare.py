"""`safescape compare`: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safescape.cli.command import SafeBelow
from safescape.cli.output import show_comparison
from safescape.landscape import SAFE_BELOW

__all__ = ["compare"]


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="run directories", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="directory for comparison.json, .png and .html; without it nothing is written"),
    ] = None,
    safe_below: SafeBelow = SAFE_BELOW,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON on stdout")] = False,
) -> None:
    """Example: safescape compare runs/base runs/finetune --out runs/base-and-finetune

    Show the figures of runs that asked the same things, and how each differs from the first one, with paired 95 %
    intervals. With --out, draw all of them on one scale: comparison.png and comparison.html, beside comparison.json.
    No model is loaded.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    show_comparison(api.compare(runs, out=out, safe_below=safe_below), out=out, as_json=as_json)
