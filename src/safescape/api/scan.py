"""`scan`: a model's random safety landscape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from safescape.api.computed_axes import axis_along, span_of
from safescape.api.execution import Measuring
from safescape.api.run import Run
from safescape.api.survey import measure_over
from safescape.errors import InputError
from safescape.options import ScanOptions, takes
from safescape.survey import Adaptive, Lines, Plane, RandomAxis
from safescape.weights import chosen, resolve

_Number = TypeVar("_Number", int, float)
_SIDE = 25
"""Steps on each side of an adaptive line's grid by default: with the default span, 0.02 apart."""
_SPAN = 0.5
"""The span of random directions by default."""
_FURTHER = 4
"""An adaptive scan measures at most this many times as many directions as it begins with."""


class _Arguments(ScanOptions, Measuring):
    """The arguments of `scan`."""


@takes(_Arguments)
def scan(options: _Arguments) -> Run:
    """Measure a model's random safety landscape, or resume.

    Returns:
        The run, complete.

    Raises:
        InputError: an argument cannot be used.
        RunError: the run could not be finished; called again, it resumes.

    """
    dim, directions, steps = options.dim, options.directions, options.steps
    if options.direction != "random":
        return _scan_along(options)
    if dim == 2 and directions not in (None, 2):
        raise InputError(f"--directions {directions}: a plane has 2; leave it out with --dim 2")
    if options.adaptive:
        return _scan_adaptively(options)
    for flag, given in (("--edge-tolerance", options.edge_tolerance), ("--interval", options.interval)):
        if given is not None:
            raise InputError(f"{flag} {given:g}: is for a scan that chooses its points; give --adaptive too")
    spans = _per_axis(_SPAN if options.span is None else options.span, dim, "--span")
    counts = _per_axis(options.preset.steps if steps is None else steps, dim, "--steps")
    subspace: Lines | Plane
    if dim == 2:
        first, second = (random_axis(options.seed + n, spans[n], counts[n], options.only) for n in range(2))
        subspace = Plane(axes=(first, second))
    else:
        subspace = _lines(options, directions or options.preset.directions, spans[0], counts[0])
    return _measured(options, subspace)


def _scan_along(options: _Arguments) -> Run:
    """Measure the line along a computed direction."""
    usual = span_of(options.direction)
    for flag, is_given in (
        ("--dim 2", options.dim == 2),
        (f"--directions {options.directions}", options.directions not in (None, 1)),
        ("--adaptive", options.adaptive),
        ("--tensor-parallel", options.tensor_parallel > 1),
    ):
        if is_given:
            raise InputError(f"--direction {options.direction}: is one line at the points of a grid; leave out {flag}")
    (span,) = _per_axis(usual if options.span is None else options.span, 1, "--span")
    (steps,) = _per_axis(options.preset.steps if options.steps is None else options.steps, 1, "--steps")
    random_axis(0, span, steps)  # refuses what defines no axis
    model = resolve(options.model, trust_remote_code=options.trust_remote_code)
    return _measured(options, Lines(axes=(axis_along(options, model, span, steps),)))


def _scan_adaptively(options: _Arguments) -> Run:
    steps, interval, tolerance = options.steps, options.interval, options.edge_tolerance
    if options.dim == 2:
        raise InputError("--adaptive: seeks the edges of lines; leave out --dim 2, or --adaptive")
    if steps is not None:
        given = ",".join(map(str, steps)) if isinstance(steps, Sequence) else steps
        raise InputError(
            f"--steps {given}: --adaptive chooses its points; give --edge-tolerance, how near those around "
            "an edge are to each other"
        )
    (span,) = _per_axis(_SPAN if options.span is None else options.span, 1, "--span")
    # the interval needs two directions: one does not show how directions differ
    begin = options.directions or max(options.preset.directions, 1 if interval is None else 2)
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
    lines = _lines(options, begin if interval is None else _FURTHER * begin, span, 2 * side)
    adaptive = Adaptive(directions=begin, safe_below=options.safe_below, interval=interval)
    return _measured(options, lines, adaptive)


def _measured(options: _Arguments, subspace: Lines | Plane, adaptive: Adaptive | None = None) -> Run:
    model = resolve(options.model, trust_remote_code=options.trust_remote_code)
    if options.only is not None:
        chosen(options.only, model.weights)  # refuses what selects nothing
    return measure_over(options, model, subspace, adaptive=adaptive)


def _lines(options: _Arguments, count: int, span: float, steps: int) -> Lines:
    return Lines(axes=tuple(random_axis(options.seed + n, span, steps, options.only) for n in range(count)))


def random_axis(seed: int, span: float, steps: int, only: str | None = None) -> RandomAxis:
    """Return a random axis; `only` chooses what moves, see `weights.chosen`.

    Raises:
        InputError: `span` or `steps` define none.

    """
    if not 0 < span < float("inf"):
        raise InputError(f"--span {span}: expected a number above 0, for example 0.5")
    if steps < 2 or steps % 2:
        raise InputError(f"--steps {steps}: expected an even number of at least 2, for example 20")
    return RandomAxis(seed=seed, span=span, steps=steps, only=only)


def _per_axis(given: _Number | Sequence[_Number], dim: int, flag: str) -> list[_Number]:
    """Return one value per axis from one for all, or from one for each."""
    values = list(given) if isinstance(given, Sequence) else [given] * dim
    if len(values) == 1:
        values *= dim
    if len(values) != dim:
        more = "give 1, or --dim 2 for a plane" if dim == 1 else f"give 1 or {dim}"
        raise InputError(f"{flag}: {len(values)} values for {dim} {'axis' if dim == 1 else 'axes'}; {more}")
    return values
