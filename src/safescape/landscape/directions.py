"""One model along several directions, on one axis: how far the weights move until safety, and capability, is lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from safescape.errors import InputError
from safescape.landscape.comparison import Compared, comparable
from safescape.landscape.figures import landscape_of
from safescape.landscape.schema import MAX_UNSCORED, SAFE_BELOW, Landscape, Metric, Record, StrictFigures
from safescape.survey import ComputedAxis, InterpolationAxis, Lines, RandomAxis

_ANYWHERE = {"subspace": Lines(axes=(RandomAxis(seed=0, span=1.0, steps=2),)), "adaptive": None}
"""What replaces the points of surveys that are compared by what they ask."""


class DirectionFigures(Record):
    """The figures of one run, with distances in shares of the norm of the weights that move."""

    name: str
    """Of the run: its directory."""
    direction: str
    """In words; `random` of random directions."""
    lines: int
    """Number of directions."""
    length: float
    """The distance at α = 1."""
    radius: Metric
    """The basin radius by the first judge."""
    capability: str | None = None
    """The probe that the following are by; None: no capability was measured, or no judge tells noise."""
    strict: StrictFigures | None = None
    """With radii and gap as distances, and α as it was measured."""


class Directions(Record):
    """Runs of one model that asked the same things along different directions."""

    schema_version: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    model: str
    safe_below: float
    directions: tuple[DirectionFigures, ...]
    landscapes: tuple[Landscape, ...]
    """Of the runs, in their order."""

    def to_json(self) -> str:
        """Return the text of directions.json: the figures without the landscapes, which the runs have."""
        document = self.model_dump(mode="json", by_alias=True, exclude={"landscapes"})
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def directions_of_model(
    runs: Sequence[Compared], *, safe_below: float = SAFE_BELOW, max_unscored: float = MAX_UNSCORED
) -> Directions:
    """Return the figures of runs of one model along different directions.

    Args:
        runs: At least two, over lines that are no lines to another model.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        max_unscored: The share of unscored answers, in percent, above which a rate decides nothing.

    Raises:
        InputError: There are fewer than two, one is of another model or of another kind, or did not ask the same; the
            message names what differs.

    """
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run given; directions are compared of at least 2 run directories")
    for run in runs:
        _check(run, runs[0])
    landscapes = [
        landscape_of(run.survey, run.measured, safe_below=safe_below, max_unscored=max_unscored).decided for run in runs
    ]
    return Directions(
        model=runs[0].survey.model,
        safe_below=safe_below,
        directions=tuple(_figures(run, landscape) for run, landscape in zip(runs, landscapes, strict=True)),
        landscapes=tuple(landscapes),
    )


def _check(run: Compared, first: Compared) -> None:
    survey = run.survey
    if not run.measured:
        raise InputError(f"{run.name}: no point was measured in it yet; repeat the command that began it")
    if survey.model_fingerprint != first.survey.model_fingerprint:
        raise InputError(
            f"{run.name}: is of another model than {first.name} ({survey.model}, {first.survey.model}); give runs of "
            "one model, or compare several with safescape compare"
        )
    axes = survey.subspace.axes
    if not isinstance(survey.subspace, Lines) or any(isinstance(axis, InterpolationAxis) for axis in axes):
        raise InputError(
            f"{run.name}: is {'a line to another model' if isinstance(survey.subspace, Lines) else 'a plane'}; give "
            "scans along lines: safescape scan MODEL --direction toward:OTHER measures the way to another model as one"
        )
    asked, first_asked = (comparable(one.model_copy(update=_ANYWHERE)) for one in (survey, first.survey))
    if differing := first_asked.differences(asked):
        raise InputError(
            f"{run.name}: did not ask what {first.name} asked ({'; '.join(differing[:3])}); scan with the same flags "
            "but --direction, --directions, --span, --steps and --adaptive"
        )


def _figures(run: Compared, landscape: Landscape) -> DirectionFigures:
    axis, lines = run.survey.subspace.axes[0], len(landscape.axes)
    # every tensor of a random direction is as long as the origin's
    length = 1.0
    if isinstance(axis, ComputedAxis):
        if axis.length is None:
            raise InputError(
                f"{run.name}: was begun by an earlier version, which did not store how long its direction is; scan anew"
            )
        length = axis.length
    found = next(iter(landscape.strict.items()), None)
    capability, strict = found or (None, None)
    if strict is not None:
        scaled = {name: _times(getattr(strict, name), length) for name in ("strict_radius", "capability_radius", "gap")}
        strict = strict.model_copy(update=scaled)
    return DirectionFigures(
        name=run.name,
        direction=axis.recipe.label if isinstance(axis, ComputedAxis) else "random",
        lines=lines,
        length=length,
        radius=Metric() if landscape.has_basin is False else _times(landscape.metrics["basin_radius"], length),
        capability=capability,
        strict=strict,
    )


def _times(metric: Metric, length: float) -> Metric:
    ends = {name: getattr(metric, name) for name in ("value", "low", "high")}
    scaled = {name: None if end is None else end * length for name, end in ends.items()}
    per_line = tuple(None if value is None else value * length for value in metric.per_line)
    return metric.model_copy(update={**scaled, "per_line": per_line})
