"""`bench`: how fast this machine measures, and beside what."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from safescape import views
from safescape.api.options import device_of
from safescape.api.run import write_picture
from safescape.errors import InputError, RunError
from safescape.probes import load_prompts
from safescape.speed import Bench, Side, SideTiming, Task, measure_sides, sides_here
from safescape.store import write_text
from safescape.weights import resolve

__all__ = ["ALPHAS", "bench", "side_names"]

ALPHAS = (-0.2, -0.1, 0.0, 0.1, 0.2)


def side_names() -> list[str]:
    """Return what `sides` may name on this machine."""
    return [side.name for side in sides_here()]


def bench(
    model: str = "demo",
    *,
    prompts: str = "builtin:harmful",
    limit: int = 80,
    max_new_tokens: int = 64,
    alphas: Sequence[float] = ALPHAS,
    sides: Sequence[str] = (),
    device: str | None = None,
    out: str | Path | None = None,
    on_side: Callable[[SideTiming], None] | None = None,
) -> Bench:
    """Measure the same points with the procedure of the paper's script, plain `generate`, and the engines, in turn.

    Args:
        model: A Hub id, a directory, a `.gguf` file, `BASE+ADAPTER`, `demo` or `demo-base`.
        prompts: As for `scan`.
        limit: How many of them.
        max_new_tokens: The most tokens of an answer.
        alphas: The points, along one random direction; 0 is the origin.
        sides: Which ones, by name; see `side_names`. All by default.
        device: `cpu`, `cuda`, `cuda:1`; by default the first GPU if there is one.
        out: A directory for bench.json, bench.md and bench.png; nothing is written by default.
        on_side: Told after each side.

    Returns:
        Times, ratios, peak memory, and shares of the machine's own rate of matrix products.

    Raises:
        InputError: something given cannot be used.
        RunError: a side's process died, or a file cannot be written.

    """
    here = {side.name: side for side in sides_here()}
    for name in sides:
        if name not in here:
            raise InputError(f"--side {name}: no such side here; expected one of {'; '.join(here)}")
    for flag, number in {"--limit": limit, "--max-new-tokens": max_new_tokens}.items():
        if number < 1:
            raise InputError(f"{flag} {number}: expected at least 1")
    if not alphas or not all(math.isfinite(alpha) for alpha in alphas):
        raise InputError(f"--alphas {','.join(map(str, alphas))}: expected numbers, for example 0,0.1")
    resolve(model)
    count = len(load_prompts(prompts, limit))
    task = Task(model, prompts, count, max_new_tokens, tuple(alphas), device_of(device))
    chosen: list[Side] = [here[name] for name in sides] or list(here.values())
    if out is not None:
        # said now, not after minutes of measuring
        try:
            Path(out).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{out}: cannot be written ({error.strerror}); give another --out") from error
    found = measure_sides(task, chosen, on_side or (lambda _: None))
    if out is not None:
        directory, document = Path(out), found.document()
        write_text(directory / "bench.json", json.dumps(document, indent=1) + "\n")
        write_text(directory / "bench.md", views.speed_table(document))
        write_picture(directory / "bench.png", views.draw_speed(document))
    return found
