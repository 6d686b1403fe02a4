"""`scan`: a model's random safety landscape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, Unpack

from safescape.api.asking import Asking, preset_of, run_over
from safescape.api.run import Run
from safescape.errors import InputError
from safescape.survey import Lines, Plane, RandomAxis
from safescape.weights import resolve

__all__ = ["random_axis", "scan"]

_Number = TypeVar("_Number", int, float)


def scan(
    model: str,
    *,
    dim: int = 1,
    directions: int | None = None,
    span: float | Sequence[float] = 0.5,
    steps: int | Sequence[int] | None = None,
    seed: int = 0,
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
    spans = _each(span, dim, "--span")
    counts = _each(preset.steps if steps is None else steps, dim, "--steps")
    subspace: Lines | Plane
    if dim == 2:
        first, second = (random_axis(seed + n, spans[n], counts[n]) for n in range(2))
        subspace = Plane(axes=(first, second))
    else:
        lines = preset.directions if directions is None else directions
        if lines < 1:
            raise InputError(f"--directions {lines}: expected at least 1")
        subspace = Lines(axes=tuple(random_axis(seed + n, spans[0], counts[0]) for n in range(lines)))
    return run_over(resolve(model), subspace, **asking)


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
