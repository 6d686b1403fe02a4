"""`safescape report`: figures, picture and page of a run, written anew from what is stored."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import show_run
from safescape.errors import InputError
from safescape.options import ReportOptions


@with_options(ReportOptions)
def report(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape report runs/demo --figure landscape.pdf

    Write landscape.json, landscape.png and report.html of RUN anew; also of a run that is not finished. No model
    is loaded.
    """
    if "columns" in given and "figures" not in given:
        raise InputError(f"--columns {given['columns']} is for --figure FILE; give both")

    show_run(safescape.report(**given), as_json=as_json, also=given.get("figures", ()))
