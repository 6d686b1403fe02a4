"""`path`: from a base to its finetune, alone or across a second direction."""

from __future__ import annotations

from safescape.api.execution import Measuring
from safescape.api.run import Run
from safescape.api.scan import random_axis
from safescape.api.survey import measure_over
from safescape.errors import InputError
from safescape.options import PathOptions, each_of, takes
from safescape.survey import InterpolationAxis, Lines, Plane, Waypoint
from safescape.weights import Model, Subspace, inspect, resized_embeddings, resolve


class _Arguments(PathOptions, Measuring):
    """The arguments of `path`."""


@takes(_Arguments)
def path(options: _Arguments) -> Run:
    """Measure the landscape between two models, or on a plane that holds them; or resume.

    α = 0 is the base, α = 1 the finetune. Neither is scaled, and no tensor is left out. On a plane through a third
    model, its β is 1 and its direction is made orthogonal to the first.

    Returns:
        The run, complete.

    Raises:
        InputError: an argument cannot be used; the models are equal, of different shapes, or span no plane.
        RunError: the run could not be finished; called again, it resumes.

    """
    third, across = options.third, options.across
    count, low, high = options.steps or options.preset.steps, -options.beyond, 1 + options.beyond
    if third is not None and across is not None:
        raise InputError(f"--across {across}: the plane is already the one through {third}; leave one of them out")
    trusted = options.trust_remote_code
    origin = resolve(options.base, trust_remote_code=trusted)
    fingerprint = inspect(origin.weights)

    def axis_to(name: str) -> InterpolationAxis:
        return interpolation_axis(origin, fingerprint, name, count, low, high, trust_remote_code=trusted)

    axis = axis_to(options.tuned)
    waypoints = [_waypoint(origin, name, trust_remote_code=trusted) for name in each_of(options.through)]
    subspace: Lines | Plane = Lines(axes=(axis,))
    if across is not None:
        subspace = Plane(axes=(axis, random_axis(options.seed, options.span, count + count % 2)))
    if third is not None:
        subspace = _plane(origin, axis, axis_to(third), trust_remote_code=trusted)
    return measure_over(options, origin, subspace, waypoints, template_of=options.template_of)


def interpolation_axis(
    origin: Model,
    fingerprint: str,
    name: str,
    steps: int,
    low: float,
    high: float,
    *,
    trust_remote_code: bool = False,
) -> InterpolationAxis:
    """Return the axis from an origin to the model `name`.

    Args:
        origin: The origin.
        fingerprint: Its fingerprint.
        name: The other model.
        steps: Number of steps between the two.
        low: Where the axis begins; the origin is at 0.
        high: Where it ends; the other model is at 1.
        trust_remote_code: Whether the other model's own code may run.

    Raises:
        InputError: there is no such model, it is the origin itself, or it has another shape.

    """
    other = resolve(name, trust_remote_code=trust_remote_code)
    resized = resized_embeddings(origin.weights, other.weights, name)
    found = inspect(other.weights)
    if found == fingerprint:
        raise InputError(f"{name}: has the very weights of {origin.name}; give a model that was changed")
    return InterpolationAxis(toward=name, fingerprint=found, steps=steps, low=low, high=high, resized=resized)


def _plane(origin: Model, first: InterpolationAxis, second: InterpolationAxis, *, trust_remote_code: bool) -> Plane:
    """Return the plane of two interpolations, its first axis extended to the third model's own α."""
    plane = Plane(axes=(first, second))
    alpha = Subspace(plane, origin.weights, trust_remote_code=trust_remote_code).share
    wide = first.model_copy(update={"low": min(first.low, alpha), "high": max(first.high, alpha)})
    return Plane(axes=(wide, second))


def _waypoint(origin: Model, name: str, *, trust_remote_code: bool) -> Waypoint:
    other = resolve(name, trust_remote_code=trust_remote_code)
    resized_embeddings(origin.weights, other.weights, name)
    return Waypoint(model=name, fingerprint=inspect(other.weights))
