"""`safescape directions`: one model along several directions, on one axis."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import show_directions
from safescape.options import DirectionsOptions


@with_options(DirectionsOptions)
def directions(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape directions runs/random runs/gradient runs/harmful --out runs/directions

    Show scans of one model along different directions (scan --direction) in one unit: how far the weights move, as a
    share of their norm, until safety is lost, and until capability is. With --out, draw all of them on one logarithmic
    axis: directions.png, beside directions.json. No model is loaded.
    """
    show_directions(safescape.directions(**given), out=given.get("out"), as_json=as_json)
