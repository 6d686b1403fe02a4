"""`safescape bench`: how fast this machine measures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safescape.cli import options
from safescape.cli.output import numbers, show_speed

if TYPE_CHECKING:
    from safescape.speed import SideTiming

__all__ = ["bench"]


def bench(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="as for scan", show_default="demo")] = "demo",
    prompts: options.Prompts = "builtin:harmful",
    limit: Annotated[int, typer.Option(help="how many prompts")] = 80,
    max_new_tokens: Annotated[int, typer.Option(help="most tokens of an answer")] = 64,
    alphas: Annotated[
        str, typer.Option(metavar="A,B,…", help="the points, along one random direction; 0 is the origin")
    ] = "-0.2,-0.1,0,0.1,0.2",
    side: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="only this one, for example 'vllm, float32'; may be repeated"),
    ] = None,
    device: options.Device = None,
    out: Annotated[Path | None, typer.Option(help="directory for bench.json, bench.md and bench.png")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print bench.json on stdout")] = False,
) -> None:
    """Example: safescape bench demo --out bench

    Measure the same points of MODEL with the procedure of the paper's released script, with plain generate, and with
    each engine, one after another, each in a process of its own: times, ratios, peak memory, and what share of the
    time the machine's own matrix products would take.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    def told(found: SideTiming) -> None:
        print(f"{found.side.name}: {found.seconds:.1f} s", file=sys.stderr, flush=True)

    found = api.bench(
        model,
        prompts=prompts,
        limit=limit,
        max_new_tokens=max_new_tokens,
        alphas=numbers(float, alphas, "--alphas"),
        sides=side or (),
        device=device,
        out=out,
        on_side=told,
    ).document()
    if as_json:
        print(json.dumps(found, indent=1))
        return
    show_speed(found, out=out)
