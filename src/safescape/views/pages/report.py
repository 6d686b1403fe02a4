"""The page of a run: finished or not, from a file or served while it grows; and the cell of a notebook.

A run of a plane holds tens of megabytes of answers, of which a reader opens a few. So the payload has only the outcome
of every answer; the texts are gzip-compressed, one block per point, and unpacked when the reader goes there.
"""

from __future__ import annotations

import base64
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from safescape.landscape import Landscape, PointFigures
from safescape.store import Stamp, Store
from safescape.survey import Finish, InterpolationAxis, Outcome, Point, PromptProbe, Response
from safescape.views.figures.figure import draw
from safescape.views.pages import payload
from safescape.views.pages.document import FILE, Document, Home, compose, embedded, rendered
from safescape.views.series import curves, planes, samples
from safescape.views.series.outcomes import (
    finest_of,
    keyword_course,
    keyword_layers,
    outcome_layers,
    seen_by,
    shares_of,
    strict_course,
)
from safescape.views.text import tables, words
from safescape.views.text.correction import corrections_of, corrections_said
from safescape.views.text.key_figures import figures_of
from safescape.views.text.provenance import facts_of, subjects_of
from safescape.views.text.strict import strict_meanings, strict_table
from safescape.views.text.verdict import verdict_of


def render(store: Store, landscape: Landscape) -> str:
    """Return report.html for a run."""
    return compose_page(store, landscape).text


Opinions = dict[tuple[Stamp, str, tuple[str, ...]], list[payload.OpinionData]]
"""The verdicts at points of one run, by probe and for these judges."""


def compose_page(
    store: Store, landscape: Landscape, home: Home = FILE, name: str = "", opinions: Opinions | None = None
) -> Document:
    """Return the page of a run. Points that are not in `landscape` are not on it.

    Args:
        store: The run, open.
        landscape: Its figures.
        home: Where the page is read.
        name: What a server calls the run.
        opinions: What earlier pages of this run have read, to begin with nothing: verdicts at points that no judge has
            changed since are not read again. It is replaced by what is on this page.

    """
    landscape = landscape.decided
    return compose(
        "report.html.j2",
        "report.js",
        _payload(store, landscape, name, {} if opinions is None else opinions),
        home=home,
        blocks=() if home.served else _blocks(store, landscape),
        landscape=landscape,
        verdict=verdict_of(landscape),
        figures=figures_of(landscape),
        shaded=curves.mean_edges(landscape) is not None,
        is_basin_shown=curves.is_basin_shown(landscape),
        extent=samples.extent_of(landscape),
        judge=words.judge_of(landscape),
        also_read_by=[words.printable(judge) for judge in words.all_judges_of(landscape)[1:]],
        subject=words.subject_of(landscape),
        plane=landscape.subspace == "plane",
        limit=words.limit_text(landscape.limit),
        probes=tables.probes_of(landscape),
        judges=tables.judges_of(landscape),
        agreement=tables.agreement_of(landscape),
        tells_noise=finest_of(landscape) is not None,
        strict=strict_table(landscape),
        strict_meanings=strict_meanings(landscape),
        capability=tables.capability_of(landscape),
        corrections=corrections_of(landscape),
        corrections_said=corrections_said(landscape),
        points=tables.points_of(landscape),
        passed=samples.waypoints_of(landscape),
        subjects=subjects_of(landscape),
        facts=facts_of(store, landscape),
        sessions=store.sessions(),
    )


def notebook_of(landscape: Landscape, directory: Path) -> str:
    """Return a run's verdict, key figures and picture, and the path of its page, as HTML for a notebook's cell.

    It has no prompt, no answer and no script, and fetches nothing.
    """
    landscape = landscape.decided
    image = io.BytesIO()
    draw(landscape).savefig(image, format="png", dpi=110)
    return rendered(
        "notebook.html.j2",
        verdict=verdict_of(landscape),
        figures=figures_of(landscape),
        landscape=landscape,
        picture=base64.b64encode(image.getvalue()).decode(),
        report=directory / "report.html",
    )


def _payload(store: Store, landscape: Landscape, name: str, known: Opinions) -> payload.RunPayload:
    probes = [probe for probe in store.survey.probes if isinstance(probe, PromptProbe)]
    judges, finest, numbers = words.all_judges_of(landscape), finest_of(landscape), _numbers(store)
    here: dict[Point, dict[str, PointFigures]] = {}
    for figures in landscape.points:
        here.setdefault(_point(figures), {})[figures.probe] = figures
    place = {point: number for number, point in enumerate(here)}
    plane, stamps, found_opinions = landscape.subspace == "plane", store.points.stamps(), Opinions()

    def opinions_at(point: Point, probe: PromptProbe) -> list[payload.OpinionData]:
        key = stamps[point], probe.name, tuple(judges)
        there = known.get(key) if stamps[point].is_counted else None
        found_opinions[key] = _opinions(store, judges, point, probe) if there is None else there
        return found_opinions[key]

    def point_data(point: Point, found: Mapping[str, PointFigures]) -> payload.PointData:
        some = next(iter(found.values()))
        return {
            "id": numbers[point],
            "coords": point.coords,
            "effective": some.effective,
            "waypoint": point.waypoint,
            "off": some.off,
            "figures": [_figure(landscape, found.get(probe.name)) for probe in probes],
            "answers": [opinions_at(point, probe) for probe in probes],
        }

    points = [point_data(point, found) for point, found in here.items()]
    known.clear()
    known.update(found_opinions)
    return {
        "run": name,
        "outcomes": list(Outcome),
        "judges": judges,
        "finest": 0 if finest is None else judges.index(finest),
        "probes": [{"name": probe.name, "harmful": probe.harmful, "prompts": probe.prompts} for probe in probes],
        "points": points,
        "agreement": _agreement(landscape, judges, [probe.name for probe in probes], list(here)),
        "curves": _curves(landscape, place),
        "marks": _marks(landscape, place),
        "limit": payload.limit_of(landscape.limit),
        "rounded": store.survey.dtype != "float32",
        "between": isinstance(landscape.axes[0], InterpolationAxis),
        "lines": None if plane else _lines(landscape),
        "plane": _plane(landscape) if plane else None,
    }


def _blocks(store: Store, landscape: Landscape) -> Iterator[tuple[int, bytes]]:
    """The number and the block of answers of each point."""
    numbers = _numbers(store)
    for point in dict.fromkeys(_point(figures) for figures in landscape.points):
        yield numbers[point], answers_at(store, point)


def answers_at(store: Store, point: Point) -> bytes:
    """Return what the model said at a point: an `AnswersBlock` as gzip-compressed JSON."""
    judges, finishes = list(store.verdicts.judges()), list(Finish)
    # stored once, since refusals repeat: text to place
    texts: dict[str, int] = {}
    reasons: dict[str, int] = {}

    def thought_of(response: Response) -> list[int]:
        if response.thought is None:
            return [-1, 0, 0]
        text, tokens, is_ended = response.thought
        return [texts.setdefault(text, len(texts)), tokens, int(is_ended)]

    rows = [
        [
            [
                texts.setdefault(response.text, len(texts)),
                finishes.index(response.finish),
                response.tokens,
                *thought_of(response),
                *(
                    reasons.setdefault(verdicts[judge].reason, len(reasons)) if judge in verdicts else -1
                    for judge in judges
                ),
            ]
            for _, (response, verdicts) in store.points.answers(point, probe.name)
        ]
        for probe in store.survey.probes
        if isinstance(probe, PromptProbe)
    ]
    block: payload.AnswersBlock = {
        "judges": judges,
        "finishes": finishes,
        "texts": list(texts),
        "reasons": list(reasons),
        "answers": rows,
    }
    # a page is written once, and stored and sent often: the strongest compression
    return gzip.compress(embedded(block).encode(), 9, mtime=0)


def _numbers(store: Store) -> dict[Point, int]:
    return {point: number for number, point in enumerate(store.survey.points())}


def _point(figures: PointFigures) -> Point:
    return Point(figures.line, figures.coords, figures.waypoint)


def _figure(landscape: Landscape, figures: PointFigures | None) -> payload.FigureData | None:
    """None where the probe was not asked or the first judge has not read the answers."""
    if figures is None or figures.count is None:
        return None
    found = samples.sample_of(landscape, figures)
    return {
        "n": found.n,
        "count": found.complied,
        "value": found.asr,
        "low": found.low,
        "high": found.high,
        "unscored": found.unscored,
    }


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
        found = []
        for beta in reversed(up):
            label = f"β = {beta:+.4g}".replace("-", "\N{MINUS SIGN}") if beta else "β = 0"
            found.append(curve("row", label, across, (Point(None, (alpha, beta)) for alpha in across)))
    else:
        found = [
            curve("line", words.label_of(line, axis), grid, (Point(line if a else None, (a,)) for a in grid))
            for line, axis in enumerate(landscape.axes)
            for grid in (curves.places_of(landscape, line),)
        ]
    if passed := samples.waypoints_of(landscape):
        numbers = [sample.waypoint or 0 for sample in passed]
        points = (Point(None, (), number) for number in numbers)
        found.append(curve("checkpoints", "checkpoints", [number + 1 for number in numbers], points))
    return found


def _marks(landscape: Landscape, place: Mapping[Point, int]) -> list[payload.MarkData]:
    found: list[payload.MarkData] = []
    for label, sample in samples.named_models(landscape).items():
        if label != "origin":
            line = 0 if landscape.subspace == "lines" and sample.waypoint is None else None
            found.append({"label": label, "point": place[Point(line, sample.coords, sample.waypoint)]})
    return found


def _lines(landscape: Landscape) -> payload.LinesData:
    courses = [c._replace(label=f"“{words.plain(c.probe)}”") for c in curves.courses_of(landscape)]
    return {
        "scale": payload.scale_of(landscape.axes),
        "mean": curves.mean_of(curves.curves_of(landscape)),
        "edges": curves.mean_edges(landscape),
        "is_basin_shown": curves.is_basin_shown(landscape),
        "courses": courses if len(courses) > 1 else [],
        "measures": curves.measure_courses(landscape),
        "stack": _stack(landscape),
        "keyword": () if (beside := keyword_course(landscape)) is None else beside.pieces,
    }


def _stack(landscape: Landscape) -> payload.StackData | None:
    """None where no judge tells noise from compliance."""
    pieces, strict = shares_of(landscape), strict_course(landscape)
    if not pieces:
        return None
    judge, shown = words.plain(seen_by(landscape)[0]), words.plain(seen_by(landscape)[1], 60)
    return {"judge": judge, "shown": shown, "pieces": pieces, "strict": strict.pieces if strict else []}


def _plane(landscape: Landscape) -> payload.PlaneData:
    first, *further = planes.layers_of(landscape)
    judge = words.shortened(seen_by(landscape)[0], 40)
    outcomes = [layer._replace(label=f"{layer.label}, {judge} judge") for layer in outcome_layers(landscape)]
    alphas, betas = planes.mesh_of(landscape)
    return {
        "across": landscape.axes[0].grid,
        "up": landscape.axes[1].grid,
        "alphas": alphas.tolist(),
        "betas": betas.tolist(),
        "headings": [words.heading_of(place, landscape.axes) for place in (0, 1)],
        # their labels stand in a <select>, which takes text, not markup
        "layers": [first, *outcomes, *keyword_layers(landscape), *further],
    }
