"""`safescape path`: the landscape from a base to its finetune."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import show_run
from safescape.cli.progress import show_progress
from safescape.options import PathOptions


@with_options(PathOptions)
def path(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape path demo ./my-finetune --beyond 0.25 --out runs/path

    Interpolate from BASE (α = 0) to TUNED (α = 1) and beyond both, ask harmful requests at every point, and report
    where safety is lost on the way. With a THIRD model or --across random, a plane.
    """
    with show_progress() as on_progress:
        run = safescape.path(**given, on_progress=on_progress)
    show_run(run, as_json=as_json)
