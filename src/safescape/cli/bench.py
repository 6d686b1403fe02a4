"""`safescape bench`: how fast this machine measures."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import say, show_table
from safescape.options import BenchOptions

if TYPE_CHECKING:
    from safescape.speed import SideTiming


@with_options(BenchOptions)
def bench(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape bench demo --out bench

    Measure the same points of MODEL with the procedure of the paper's released script, with plain generate, and with
    each engine, one after another, each in its own process: times, ratios, peak memory, and the share of the time that
    the machine's own matrix products would take.
    """

    def show(found: SideTiming) -> None:
        print(f"{found.side.name}: {found.seconds:.1f} s", file=sys.stderr, flush=True)

    found = safescape.bench(**given, on_side=show).document()
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from safescape import views  # loads the drawing libraries, which `--help` need not wait for

    say(found["machine"])
    show_table(*views.speed_table(found))
    if out := given.get("out"):
        say(*(out / file for file in ("bench.md", "bench.png", "bench.json")))
