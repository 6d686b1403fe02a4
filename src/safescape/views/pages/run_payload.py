"""What the page of a run reads: its payload and, apart from it, the answers of each point.

A run of a plane holds tens of megabytes of answers, of which a reader opens a few. So the payload has only the outcome
of every answer; the texts are gzip-compressed, one block a point, and unpacked when the reader goes there.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from safescape.landscape import Landscape, PointFigures, wilson
from safescape.store import Store
from safescape.survey import Finish, InterpolationAxis, Outcome, Point, PromptProbe, Survey
from safescape.views.pages import payload
from safescape.views.pages.document import embedded
from safescape.views.series import curves
from safescape.views.series.layers import Array, layers_of, mesh_of
from safescape.views.series.outcomes import finest_of, outcome_layers, seen_by, shares_of, strict_course
from safescape.views.text import words


def payload_of(store: Store, landscape: Landscape, name: str = "") -> payload.RunPayload:
    """Return the data of a run's page; the server calls the run `name`."""
    probes = [probe for probe in store.survey.probes if isinstance(probe, PromptProbe)]
    judges, finest, numbers = words.all_judges_of(landscape), finest_of(landscape), _numbers(store.survey)
    here: dict[Point, dict[str, PointFigures]] = {}
    for figures in landscape.points:
        here.setdefault(_point(figures), {})[figures.probe] = figures
    place = {point: number for number, point in enumerate(here)}
    plane = landscape.subspace == "plane"

    def point_data(point: Point, found: Mapping[str, PointFigures]) -> payload.PointData:
        some = next(iter(found.values()))
        return {
            "id": numbers[point],
            "coords": point.coords,
            "effective": some.effective,
            "waypoint": point.waypoint,
            "off": some.off,
            "figures": [_figure(found.get(probe.name)) for probe in probes],
            "answers": [_opinions(store, judges, point, probe) for probe in probes],
        }

    return {
        "run": name,
        "outcomes": list(Outcome),
        "judges": judges,
        "finest": 0 if finest is None else judges.index(finest),
        "probes": [{"name": probe.name, "harmful": probe.harmful, "prompts": probe.prompts} for probe in probes],
        "points": [point_data(point, found) for point, found in here.items()],
        "agreement": _agreement(landscape, judges, [probe.name for probe in probes], list(here)),
        "curves": _curves(landscape, place),
        "marks": _marks(landscape, place),
        "safe_below": landscape.safe_below,
        "rounded": store.survey.dtype != "float32",
        "lines": None if plane else _lines(landscape),
        "plane": _plane(landscape) if plane else None,
    }


def blocks_of(store: Store, landscape: Landscape) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the block of answers of each point of a landscape."""
    numbers = _numbers(store.survey)
    for point in dict.fromkeys(_point(figures) for figures in landscape.points):
        yield numbers[point], answers_at(store, point)


def answers_at(store: Store, point: Point) -> bytes:
    """Return what the model said at a point: an `AnswersBlock` as gzip-compressed JSON."""
    texts, reasons, judges, finishes = _Strings(), _Strings(), list(store.verdicts.judges()), list(Finish)
    rows = [
        [
            [
                texts.place(response.text),
                finishes.index(response.finish),
                response.tokens,
                *(reasons.place(verdicts[judge].reason) if judge in verdicts else -1 for judge in judges),
            ]
            for _, (response, verdicts) in store.points.answers(point, probe.name)
        ]
        for probe in store.survey.probes
        if isinstance(probe, PromptProbe)
    ]
    block: payload.AnswersBlock = {
        "judges": judges,
        "finishes": finishes,
        "texts": list(texts.places),
        "reasons": list(reasons.places),
        "answers": rows,
    }
    # a page is written once, and stored and sent often: the strongest compression
    return gzip.compress(embedded(block).encode(), 9, mtime=0)


class _Strings:
    """Strings stored once, since refusals repeat."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def _numbers(survey: Survey) -> dict[Point, int]:
    return {point: number for number, point in enumerate(survey.points())}


def _point(figures: PointFigures) -> Point:
    return Point(figures.line, figures.coords, figures.waypoint)


def _figure(figures: PointFigures | None) -> payload.FigureData | None:
    """None where the probe was not asked or the first judge has not read the answers."""
    if figures is None or figures.count is None:
        return None
    low, high = wilson(figures.count, figures.n)
    value = 100.0 * figures.count / figures.n
    return {"n": figures.n, "count": figures.count, "value": value, "low": low, "high": high}


def _opinions(store: Store, judges: Sequence[str], point: Point, probe: PromptProbe) -> list[payload.OpinionData]:
    digits = {outcome: str(number) for number, outcome in enumerate(Outcome)}
    given = store.verdicts.at(point, probe.name)
    found: list[payload.OpinionData] = []
    for judge in judges:
        verdicts = [there.get(judge) for there in given]
        stated = [None if v is None or v.probability is None else round(v.probability, 4) for v in verdicts]
        outcomes = "".join("-" if verdict is None else digits[verdict.outcome] for verdict in verdicts)
        some = any(probability is not None for probability in stated)
        found.append({"outcomes": outcomes, "probabilities": stated if some else None})
    return found


def _agreement(
    landscape: Landscape, judges: Sequence[str], probes: Sequence[str], points: Sequence[Point]
) -> list[payload.AgreementData]:
    found: list[payload.AgreementData] = []
    for agreement in landscape.agreement:
        places = [_point(figures) for figures in landscape.points if figures.probe == agreement.probe]
        figures = zip(agreement.n_at, agreement.agree_at, agreement.kappa_at, strict=True)
        at = dict(zip(places, figures, strict=True))
        found.append(
            {
                "judges": [judges.index(judge) for judge in agreement.judges],
                "probe": probes.index(agreement.probe),
                "table": agreement.table,
                "at": [at.get(point) for point in points],
            }
        )
    return found


def _curves(landscape: Landscape, place: Mapping[Point, int]) -> list[payload.CurveData]:
    def curve(
        kind: Literal["line", "row", "checkpoints"], label: str, grid: Sequence[float], points: Iterable[Point]
    ) -> payload.CurveData:
        return {"kind": kind, "label": label, "grid": grid, "points": [place.get(point) for point in points]}

    if landscape.subspace == "plane":
        across, up = (axis.grid for axis in landscape.axes)
        found = [
            curve("row", f"β = {_short(beta)}", across, (Point(None, (alpha, beta)) for alpha in across))
            for beta in reversed(up)
        ]
    else:
        found = [
            curve("line", words.label_of(line, axis), grid, (Point(line if a else None, (a,)) for a in grid))
            for line, axis in enumerate(landscape.axes)
            for grid in (curves.places_of(landscape, line),)
        ]
    if passed := curves.waypoints_of(landscape):
        numbers = [sample.waypoint or 0 for sample in passed]
        points = (Point(None, (), number) for number in numbers)
        found.append(curve("checkpoints", "checkpoints", [number + 1 for number in numbers], points))
    return found


def _short(beta: float) -> str:
    return words.signed(beta, 4).rstrip("0").rstrip(".") if beta else "0"


def _marks(landscape: Landscape, place: Mapping[Point, int]) -> list[payload.MarkData]:
    found: list[payload.MarkData] = []
    for label, sample in (
        ("other model", curves.other_model(landscape)),
        ("third model", curves.third_model(landscape)),
    ):
        if sample is not None:
            line = 0 if landscape.subspace == "lines" and sample.waypoint is None else None
            found.append({"label": label, "point": place[Point(line, sample.coords, sample.waypoint)]})
    return found


def _lines(landscape: Landscape) -> payload.LinesData:
    courses, measures = curves.courses_of(landscape), curves.measure_courses(landscape)
    names = words.measure_labels((course.probe, course.kind) for course in measures)

    def course(given: curves.Course, label: str) -> payload.CourseData:
        return {"kind": given.kind, "label": label, "readings": payload.readings_of(given.readings)}

    return {
        "scale": {
            "low": min(axis.low for axis in landscape.axes),
            "high": max(axis.high for axis in landscape.axes),
            "title": words.title_of(landscape.axes[0]),
        },
        "between": isinstance(landscape.axes[0], InterpolationAxis),
        "mean": payload.readings_of(curves.mean_of(curves.curves_of(landscape))),
        "edges": curves.mean_edges(landscape),
        "is_basin_shown": curves.is_basin_shown(landscape),
        "courses": [course(c, f"“{words.plain(c.probe)}”") for c in courses] if len(courses) > 1 else [],
        "measures": [course(c, names[c.probe]) for c in measures],
        "stack": _stack(landscape),
    }


def _stack(landscape: Landscape) -> payload.StackData | None:
    """None where no judge tells noise from compliance."""
    pieces = shares_of(landscape)
    if not pieces:
        return None
    judge, shown = seen_by(landscape)
    strict = strict_course(landscape)
    return {
        "judge": words.plain(judge),
        "shown": words.plain(shown, 60),
        "pieces": [{"x": piece.x, "percent": {k.value: v for k, v in piece.percent.items()}} for piece in pieces],
        "strict": [payload.readings_of(piece) for piece in strict.pieces] if strict else [],
    }


def _plane(landscape: Landscape) -> payload.PlaneData:
    first, *further = layers_of(landscape)
    names = words.measure_labels((layer.probe, layer.kind) for layer in further if layer.kind != "asr")
    judge = words.shortened(seen_by(landscape)[0], 40)
    # these stand in a <select>, which takes text, not markup
    layers = [
        (first, "ASR"),
        *((layer, f"{layer.kind}, {judge} judge") for layer in outcome_layers(landscape)),
        *((layer, names.get(layer.probe) or f"ASR, “{layer.probe}”") for layer in further),
    ]
    alphas, betas = mesh_of(landscape)

    def layer_data(kind: str, label: str, values: Array) -> payload.LayerData:
        return {
            "kind": kind,
            "label": label,
            "values": payload.cells_of(values, curves.WORST if kind == "perplexity" else math.inf),
        }

    return {
        "across": landscape.axes[0].grid,
        "up": landscape.axes[1].grid,
        "alphas": alphas.tolist(),
        "betas": betas.tolist(),
        "headings": [words.heading_of(place, landscape.axes) for place in (0, 1)],
        "between": isinstance(landscape.axes[0], InterpolationAxis),
        "layers": [layer_data(layer.kind, label, layer.values) for layer, label in layers],
    }
