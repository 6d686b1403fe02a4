"""`safescape compare`: several runs side by side."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import show_comparison
from safescape.options import CompareOptions


@with_options(CompareOptions)
def compare(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape compare runs/base runs/finetune --out runs/base-and-finetune

    Show the figures of runs that asked the same things, and how each differs from the first one, with paired 95 %
    intervals. With --out, draw all of them on one scale: comparison.png and comparison.html, beside comparison.json.
    No model is loaded.
    """
    show_comparison(safescape.compare(**given), out=given.get("out"), as_json=as_json)
