"""`scan`: a model's random safety landscape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar, Unpack

from safescape.api.options import Asking, preset_of, run_over
from safescape.api.run import Run
from safescape.errors import InputError
from safescape.landscape import SAFE_BELOW
from safescape.survey import Adaptive, Lines, Plane, RandomAxis
from safescape.weights import resolve

__all__ = ["random_axis", "scan"]

_Number = TypeVar("_Number", int, float)
_SIDE = 25
"""Steps of an adaptive line's grid on each side, unless a tolerance is given: with the default span, 0.02 apart."""
_FURTHER = 4
"""So many times as many directions an adaptive scan may come to measure as it begins with."""


def scan(
    model: str,
    *,
    dim: int = 1,
    directions: int | None = None,
    span: float | Sequence[float] = 0.5,
    steps: int | Sequence[int] | None = None,
    seed: int = 0,
    adaptive: bool = False,
    edge_tolerance: float | None = None,
    interval: float | None = None,
    **asking: Unpack[Asking],
) -> Run:
    """Measure a model's random safety landscape, or resume the measurement.

    Args:
        model: A Hub id, a directory, a `.gguf` file, `BASE+ADAPTER`, `demo` or `demo-base`.
        dim: 1 for lines, 2 for a plane over two directions, the second orthogonal to the first.
        directions: How many random lines; 3 by default. A plane has two.
        span: The landscape runs from -span to span; 0.5 moves every tensor by half its own norm. Two numbers for a
            plane's two axes.
        steps: Steps along an axis, an even number; 20 by default, which makes 21 points. Two numbers for a plane's
            two axes.
        seed: Of the first direction; the others count up from it.
        adaptive: Choose the points that tell most instead of measuring a whole grid, and ask at each point no more of
            the prompts than its verdict needs; see docs/adaptive.md. For lines.
        edge_tolerance: How near, in |α|, the points around an edge of the basin are; by default a 25th of the span.
        interval: Measure further directions, up to four times as many, until VISAGE's 95 % interval is this wide, in
            percentage points, or narrower.
        asking: What is asked at every point, and how; see `Asking`.

    Returns:
        The run, complete.

    Raises:
        InputError: something given cannot be used.
        RunError: the run could not go on; called again, it resumes.

    """
    preset = preset_of(asking)
    if dim not in (1, 2):
        raise InputError(f"--dim {dim}: expected 1 (lines) or 2 (a plane)")
    if dim == 2 and directions not in (None, 2):
        raise InputError(f"--directions {directions}: a plane has 2; leave it out with --dim 2")
    if adaptive:
        if dim == 2:
            raise InputError("--adaptive: seeks the edges of lines; leave out --dim 2, or --adaptive")
        if steps is not None:
            raise InputError(
                f"--steps {_text(steps)}: --adaptive chooses its points; give --edge-tolerance, how near those around "
                "an edge are to each other"
            )
        (far,) = _each(span, 1, "--span")
        return _adaptively(model, directions, far, seed, edge_tolerance, interval, asking)
    for flag, given in (("--edge-tolerance", edge_tolerance), ("--interval", interval)):
        if given is not None:
            raise InputError(f"{flag} {given:g}: is for a scan that chooses its points; give --adaptive too")
    spans = _each(span, dim, "--span")
    counts = _each(preset.steps if steps is None else steps, dim, "--steps")
    subspace: Lines | Plane
    if dim == 2:
        first, second = (random_axis(seed + n, spans[n], counts[n]) for n in range(2))
        subspace = Plane(axes=(first, second))
    else:
        lines = preset.directions if directions is None else directions
        subspace = _lines(lines, seed, spans[0], counts[0])
    return run_over(resolve(model), subspace, **asking)


def _adaptively(
    model: str,
    directions: int | None,
    span: float,
    seed: int,
    tolerance: float | None,
    interval: float | None,
    asking: Asking,
) -> Run:
    safe_below, begin = asking.get("safe_below", SAFE_BELOW), directions
    if not 0 <= safe_below < 100:
        raise InputError(f"--safe-below {safe_below}: expected a percentage from 0 to below 100")
    if begin is None:
        # one direction says nothing of how directions differ
        begin = preset_of(asking).directions if interval is None else max(2, preset_of(asking).directions)
    if interval is not None and not 0 < interval <= 100:
        raise InputError(f"--interval {interval:g}: expected percentage points above 0, up to 100, for example 10")
    if interval is not None and begin == 1:
        raise InputError(f"--interval {interval:g} with --directions 1: how directions differ shows with 2 or more")
    if tolerance is not None and not span / 1000 <= tolerance <= span / 4:
        raise InputError(
            f"--edge-tolerance {tolerance:g}: expected a distance from {span / 1000:g} to {span / 4:g}, a thousandth "
            f"to a quarter of --span {span:g}"
        )
    side = _SIDE if tolerance is None else math.ceil(span / tolerance - 1e-9)
    lines = _lines(begin if interval is None else _FURTHER * begin, seed, span, 2 * side)
    return run_over(
        resolve(model),
        lines,
        adaptive=Adaptive(directions=begin, safe_below=safe_below, interval=interval),
        **asking,
    )


def _lines(count: int, seed: int, span: float, steps: int) -> Lines:
    if count < 1:
        raise InputError(f"--directions {count}: expected at least 1")
    return Lines(axes=tuple(random_axis(seed + n, span, steps) for n in range(count)))


def _text(values: int | Sequence[int]) -> str:
    return ",".join(map(str, values)) if isinstance(values, Sequence) else str(values)


def random_axis(seed: int, span: float, steps: int) -> RandomAxis:
    """Return a random axis.

    Raises:
        InputError: a number makes no axis.

    """
    if seed < 0:
        raise InputError(f"--seed {seed}: expected 0 or more")
    if not 0 < span < float("inf"):
        raise InputError(f"--span {span}: expected a number above 0, for example 0.5")
    if steps < 2 or steps % 2:
        raise InputError(f"--steps {steps}: expected an even number of at least 2, for example 20")
    return RandomAxis(seed=seed, span=span, steps=steps)


def _each(given: _Number | Sequence[_Number], dim: int, flag: str) -> list[_Number]:
    """One value an axis, given once for all or one by one."""
    values = list(given) if isinstance(given, Sequence) else [given] * dim
    if len(values) == 1:
        values *= dim
    if len(values) != dim:
        more = "give 1, or --dim 2 for a plane" if dim == 1 else f"give 1 or {dim}"
        raise InputError(f"{flag}: {len(values)} values for {dim} {'axis' if dim == 1 else 'axes'}; {more}")
    return values
