"""`path`: from a base to its finetune, alone or across a second direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from safescape.api.options import Asking, preset_of, run_over
from safescape.api.run import Run
from safescape.api.scan import random_axis
from safescape.errors import InputError
from safescape.survey import InterpolationAxis, Lines, Plane, Waypoint
from safescape.weights import Model, Subspace, inspect, resized_embeddings, resolve

__all__ = ["interpolation_axis", "path"]


def path(
    base: str,
    tuned: str,
    third: str | None = None,
    *,
    across: str | None = None,
    beyond: float = 0.25,
    through: Sequence[str] = (),
    span: float = 0.5,
    steps: int | None = None,
    seed: int = 0,
    **asking: Unpack[Asking],
) -> Run:
    """Measure the landscape between two models, or on a plane that holds them; or resume.

    α = 0 is the base, α = 1 the finetune. Neither is scaled, and no tensor is left out.

    Args:
        base: A Hub id, a directory, a `.gguf` file, `BASE+ADAPTER`, `demo` or `demo-base`.
        tuned: Another model of the same architecture.
        third: A third one: the plane through all three. Its β is 1; its direction is made orthogonal to the first.
        across: `random`: the plane over the line between the two and a random direction.
        beyond: How far the landscape goes on before the base and behind the finetune, in units of their distance.
        through: Checkpoints of a finetune, in their order. Each is measured where it stands and drawn where it lies
            on the line or plane.
        span: Of the random direction across.
        steps: Steps from the base to the finetune; 20 by default. As many beyond them as fit.
        seed: Of the random direction across.
        asking: What is asked at every point, and how; see `Asking`.

    Returns:
        The run, complete.

    Raises:
        InputError: something given cannot be used; the models are equal, of different shapes, or span no plane.
        RunError: the run could not go on; called again, it resumes.

    """
    preset = preset_of(asking)
    count = preset.steps if steps is None else steps
    if count < 1:
        raise InputError(f"--steps {count}: expected at least 1, for example 20")
    if not 0 <= beyond < float("inf"):
        raise InputError(f"--beyond {beyond}: expected 0 or more, for example 0.25")
    if third is not None and across is not None:
        raise InputError(f"--across {across}: the plane is already the one through {third}; leave one of them out")
    if across not in (None, "random"):
        raise InputError(f"--across {across}: expected random; a third model is given as a third argument")
    origin = resolve(base)
    fingerprint = inspect(origin.weights)
    axis = interpolation_axis(origin, fingerprint, tuned, count, -beyond, 1 + beyond)
    waypoints = [_waypoint(origin, name) for name in through]
    subspace: Lines | Plane = Lines(axes=(axis,))
    if across is not None:
        subspace = Plane(axes=(axis, random_axis(seed, span, count + count % 2)))
    if third is not None:
        subspace = _through(origin, axis, interpolation_axis(origin, fingerprint, third, count, -beyond, 1 + beyond))
    return run_over(origin, subspace, waypoints, **asking)


def interpolation_axis(
    origin: Model, fingerprint: str, name: str, steps: int, low: float, high: float
) -> InterpolationAxis:
    """Return the axis from an origin, whose fingerprint is known, to the model of a name.

    Raises:
        InputError: it is no model, the very same, or of another shape.

    """
    other = resolve(name)
    resized = resized_embeddings(origin.weights, other.weights, name)
    found = inspect(other.weights)
    if found == fingerprint:
        raise InputError(f"{name}: has the very weights of {origin.name}; give a model that was changed")
    return InterpolationAxis(toward=name, fingerprint=found, steps=steps, low=low, high=high, resized=resized)


def _through(origin: Model, first: InterpolationAxis, second: InterpolationAxis) -> Plane:
    """The plane of two interpolations, its first axis widened until the third model's own α lies on it."""
    alpha = Subspace(Plane(axes=(first, second)), origin.weights).share
    wide = first.model_copy(update={"low": min(first.low, alpha), "high": max(first.high, alpha)})
    return Plane(axes=(wide, second))


def _waypoint(origin: Model, name: str) -> Waypoint:
    other = resolve(name)
    resized_embeddings(origin.weights, other.weights, name)
    return Waypoint(model=name, fingerprint=inspect(other.weights))
