"""What the page's script reads: every point with its outcomes, and what the plot draws. What was said there is apart,
in blocks that are read when somebody looks (`said.py`).

Its keys are the script's. Strings in it are raw; the script sets them as text. Only what goes into a plotly label is
made plain here, because plotly reads markup in labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from safescape.landscape import Landscape, PointFigures, wilson
from safescape.store import Store
from safescape.survey import InterpolationAxis, Outcome, Point, PromptProbe
from safescape.views.pages.answers import numbers_of
from safescape.views.series.curves import (
    WORST,
    Course,
    courses_of,
    curves_of,
    extent_of,
    mean_edges,
    mean_of,
    measure_courses,
    other_model,
    places_of,
    third_model,
    waypoints_of,
)
from safescape.views.series.layers import layers_of, mesh_of
from safescape.views.series.outcomes import finest_of, outcome_layers, seen_by, shares_of, strict_course
from safescape.views.text.words import (
    all_judges_of,
    heading_of,
    label_of,
    measure_labels,
    plain,
    shortened,
    signed,
    title_of,
)

__all__ = ["payload_of"]


def payload_of(store: Store, landscape: Landscape) -> dict[str, object]:
    """Return everything that the script shows."""
    probes = [probe for probe in store.survey.probes if isinstance(probe, PromptProbe)]
    judges, here = all_judges_of(landscape), _by_point(landscape)
    numbers = numbers_of(store.survey)
    place = {point: number for number, point in enumerate(here)}
    return {
        "kind": landscape.subspace,
        "outcomes": list(Outcome),
        "judges": judges,
        "finest": judges.index(finest) if (finest := finest_of(landscape)) is not None else 0,
        "probes": [{"name": probe.name, "harmful": probe.harmful, "prompts": probe.prompts} for probe in probes],
        "points": [
            {
                "id": numbers[point],
                "coords": point.coords,
                "effective": next(iter(found.values())).effective,
                "waypoint": point.waypoint,
                "off": next(iter(found.values())).off,
                "figures": [_figure(probe, found.get(probe.name)) for probe in probes],
                "answers": [_opinions(store, judges, point, probe) for probe in probes],
            }
            for point, found in here.items()
        ],
        "agreement": _agreement(landscape, judges, [probe.name for probe in probes]),
        "curves": _curves(landscape, place),
        "marks": _marks(landscape, place),
        "safeBelow": landscape.safe_below,
        "rounded": store.survey.dtype != "float32",
        "total": extent_of(landscape).total,
        **(_plane(landscape) if landscape.subspace == "plane" else _lines(landscape)),
    }


def _by_point(landscape: Landscape) -> dict[Point, dict[str, PointFigures]]:
    """The figures of each point by probe."""
    found: dict[Point, dict[str, PointFigures]] = {}
    for figures in landscape.points:
        found.setdefault(_place(figures), {})[figures.probe] = figures
    return found


def _figure(probe: PromptProbe, figures: PointFigures | None) -> dict[str, float] | None:
    """What is read off a probe's answers at a point: the ASR, or the over-refusal."""
    if figures is None or figures.count is None:
        return None
    low, high = wilson(figures.count, figures.n)
    return {
        "n": figures.n,
        "count": figures.count,
        "value": 100.0 * figures.count / figures.n,
        "low": low,
        "high": high,
    }


def _opinions(store: Store, judges: Sequence[str], point: Point, probe: PromptProbe) -> list[dict[str, object]]:
    """Judge by judge, what it called the answers, one digit each (`-` before it read one), and, where it states any,
    the probability that they complied. A probability of four figures is as many as anybody reads.
    """
    digits, given = (
        {outcome: str(number) for number, outcome in enumerate(Outcome)},
        store.verdicts.at(point, probe.name),
    )
    found: list[dict[str, object]] = []
    for judge in judges:
        verdicts = [there.get(judge) for there in given]
        stated = [None if v is None or v.probability is None else round(v.probability, 4) for v in verdicts]
        found.append(
            {
                "outcomes": "".join("-" if verdict is None else digits[verdict.outcome] for verdict in verdicts),
                "probabilities": stated if any(value is not None for value in stated) else None,
            }
        )
    return found


def _agreement(landscape: Landscape, judges: Sequence[str], probes: Sequence[str]) -> list[dict[str, object]]:
    """Each pair of judges on each probe, by their numbers; `at` has (answers, agree %, κ) of each point of the page."""
    found = []
    for agreement in landscape.agreement:
        places = [_place(point) for point in landscape.points if point.probe == agreement.probe]
        figures = zip(agreement.n_at, agreement.agree_at, agreement.kappa_at, strict=True)
        at = dict(zip(places, figures, strict=True))
        found.append(
            {
                "judges": [judges.index(judge) for judge in agreement.judges],
                "probe": probes.index(agreement.probe),
                "table": agreement.table,
                "at": [at.get(point) for point in _by_point(landscape)],
            }
        )
    return found


def _place(figures: PointFigures) -> Point:
    return Point(figures.line, figures.coords, figures.waypoint)


def _curves(landscape: Landscape, place: Mapping[Point, int]) -> list[dict[str, object]]:
    """The ways through the points that the reader can follow: lines, the rows of a plane, the checkpoints."""

    def curve(kind: str, label: str, grid: Sequence[float], points: Iterable[Point]) -> dict[str, object]:
        return {"kind": kind, "label": label, "grid": grid, "points": [place.get(point) for point in points]}

    if landscape.subspace == "plane":
        across, up = (axis.grid for axis in landscape.axes)
        found = [
            curve("row", f"β = {_short(beta)}", across, (Point(None, (alpha, beta)) for alpha in across))
            for beta in reversed(up)
        ]
    else:
        found = [
            curve("line", label_of(line, axis), grid, (Point(line if a else None, (a,)) for a in grid))
            for line, axis in enumerate(landscape.axes)
            for grid in (places_of(landscape, line),)
        ]
    if passed := waypoints_of(landscape):
        numbers = [sample.waypoint or 0 for sample in passed]
        places = (Point(None, (), number) for number in numbers)
        found.append(curve("checkpoints", "checkpoints", [number + 1 for number in numbers], places))
    return found


def _short(beta: float) -> str:
    return signed(beta, 4).rstrip("0").rstrip(".") if beta else "0"


def _marks(landscape: Landscape, place: Mapping[Point, int]) -> list[dict[str, object]]:
    """The models that have a name, beside the origin."""
    marks = (("other model", other_model(landscape)), ("third model", third_model(landscape)))
    found = []
    for label, sample in marks:
        if sample is not None:
            line = 0 if landscape.subspace == "lines" else None
            point = Point(line if sample.waypoint is None else None, sample.coords, sample.waypoint)
            found.append({"label": label, "point": place[point]})
    return found


def _lines(landscape: Landscape) -> dict[str, object]:
    courses, measures = courses_of(landscape), measure_courses(landscape)
    names = measure_labels((course.probe, course.kind) for course in measures)

    def course(given: Course, label: str) -> dict[str, object]:
        return {"kind": given.kind, "label": label, "readings": [reading._asdict() for reading in given.readings]}

    return {
        "mean": [reading._asdict() for reading in mean_of(curves_of(landscape))],
        "edges": mean_edges(landscape),
        "low": min(axis.low for axis in landscape.axes),
        "high": max(axis.high for axis in landscape.axes),
        "title": title_of(landscape.axes[0]),
        "between": isinstance(landscape.axes[0], InterpolationAxis),
        "courses": [course(c, f"“{plain(c.probe)}”") for c in courses] if len(courses) > 1 else [],
        "measures": [course(c, names[c.probe]) for c in measures],
        "stack": _stack(landscape),
    }


def _stack(landscape: Landscape) -> dict[str, object] | None:
    """The outcomes along α, stacked, and the strict ASR; None where no judge tells noise from compliance."""
    pieces = shares_of(landscape)
    if not pieces:
        return None
    judge, shown = seen_by(landscape)
    strict = strict_course(landscape)
    return {
        "judge": plain(judge),
        "shown": plain(shown, 60),
        "pieces": [{"x": piece.x, "percent": piece.percent} for piece in pieces],
        "strict": [[reading._asdict() for reading in piece] for piece in strict.pieces] if strict else [],
    }


def _plane(landscape: Landscape) -> dict[str, object]:
    first, *further = layers_of(landscape)
    names = measure_labels((layer.probe, layer.kind) for layer in further if layer.kind != "asr")
    judge = shortened(seen_by(landscape)[0], 40)
    # as they stand in a select, which takes text
    named = [
        (first, "ASR"),
        *((layer, f"{layer.kind}, {judge} judge") for layer in outcome_layers(landscape)),
        *((layer, names.get(layer.probe) or f"ASR, “{layer.probe}”") for layer in further),
    ]
    alphas, betas = mesh_of(landscape)

    def cell(value: float, kind: str) -> float | None:
        if not math.isfinite(value):
            return None
        return min(value, WORST) if kind == "perplexity" else value

    return {
        "across": landscape.axes[0].grid,
        "up": landscape.axes[1].grid,
        "alphas": alphas.tolist(),
        "betas": betas.tolist(),
        "headings": [heading_of(place, landscape.axes) for place in (0, 1)],
        "between": isinstance(landscape.axes[0], InterpolationAxis),
        "layers": [
            {
                "kind": layer.kind,
                "label": label,
                "values": [[cell(value, layer.kind) for value in row] for row in layer.values.tolist()],
            }
            for layer, label in named
        ],
    }
