"""`safescape export`: tables, a section of a model card and an Inspect log, made from a run."""

from __future__ import annotations

import safescape
from safescape.cli.command import Given, with_options
from safescape.cli.output import say
from safescape.options import ExportOptions


@with_options(ExportOptions)
def export(given: Given) -> None:
    """Example: safescape export runs/demo --to points.csv --to card.md

    Write files for other tools from RUN, finished or not: all of the files, or none. Nothing in RUN changes, and no
    model is loaded.
    """
    safescape.export(**given)
    say(*given["to"])
