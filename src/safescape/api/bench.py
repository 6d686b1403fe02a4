"""`bench`: how fast this machine measures, and beside what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safescape import views
from safescape.api.settings import device_of
from safescape.errors import InputError, RunError
from safescape.options import BenchOptions, each_of, takes
from safescape.probes import load_prompts
from safescape.speed import Bench, SideTiming, Task, measure_sides, sides_here
from safescape.store import write_text
from safescape.weights import resolve


class _Arguments(BenchOptions):
    """The arguments of `bench`."""

    on_side: Callable[[SideTiming], None] | None = None
    """Called after each procedure."""


@takes(_Arguments)
def bench(options: _Arguments) -> Bench:
    """Measure the same points with the procedure of the paper's script, plain `generate`, and the engines, in turn.

    Returns:
        Times, ratios, peak memory, and shares of the machine's own rate of matrix products.

    Raises:
        InputError: an argument cannot be used.
        RunError: a procedure's process died, or a file cannot be written.

    """
    sides, alphas = each_of(options.sides), each_of(options.alphas)
    directory = None if options.out is None else Path(options.out)
    here = {side.name: side for side in sides_here()}
    for name in sides:
        if name not in here:
            raise InputError(f"--side {name}: no such side here; expected one of {'; '.join(here)}")
    if not alphas:
        raise InputError(f"--alphas {','.join(map(str, alphas))}: expected numbers, for example 0,0.1")
    resolve(options.model)
    count = len(load_prompts(options.prompts, options.limit))
    task = Task(options.model, options.prompts, count, options.max_new_tokens, alphas, device_of(options.device))
    chosen = [here[name] for name in sides] or list(here.values())
    if directory is not None:
        # an error is raised now, not after minutes of measuring
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{directory}: cannot be written ({error.strerror}); give another --out") from error
    found = measure_sides(task, chosen, options.on_side or (lambda _: None))
    if directory is not None:
        document = found.document()
        write_text(directory / "bench.json", json.dumps(document, indent=1) + "\n")
        write_text(directory / "bench.md", views.speed_text(document))
        views.save_figure(views.draw_speed(document), directory / "bench.png")
    return found
