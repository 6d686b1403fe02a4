"""`safescape scan`: a model's random safety landscape."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import show_run
from safescape.cli.progress import show_progress
from safescape.options import ScanOptions


@with_options(ScanOptions, without={"adapter"})
def scan(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape scan demo --quick --out runs/demo

    Move MODEL's weights along random directions, ask it harmful requests at every point, and report where its
    safety basin ends. Writes landscape.json, landscape.png and report.html into the run directory.
    """
    with show_progress() as on_progress:
        run = safescape.scan(**given, on_progress=on_progress)
    show_run(run, as_json=as_json)
