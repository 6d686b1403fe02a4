"""A run as three tables: points, responses and verdicts, independent of any file format.

The tables share the keys `point` (the index of the point in the survey), `probe`, and `number` (the index of the prompt
in the probe). All indices count from 0, as in landscape.json and in Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Literal, NamedTuple, get_args

from safescape.landscape import Landscape, Measure, PointFigures, wilson
from safescape.store import Store
from safescape.survey import PerplexityProbe, Point, Probe, PromptProbe, Survey

What = Literal["points", "responses", "verdicts"]
TABLES: tuple[What, ...] = get_args(What)

Kind = Literal["integer", "number", "flag", "text"]
"""A whole number of 64 bits, a double, true or false, a text; each may be missing."""

Cell = int | float | bool | str | None
Row = tuple[Cell, ...]


class Column(NamedTuple):
    """The name of a column and the type of its cells."""

    name: str
    kind: Kind


class Table(NamedTuple):
    """The rows of a table, and a description of the run."""

    what: What
    columns: tuple[Column, ...]
    rows: Iterator[Row]
    """Can be read once; they are read from the store lazily."""
    about: Mapping[str, str]
    """The survey and the version of safescape; without prompts and answers."""


_PLACE = (
    Column("point", "integer"),
    Column("line", "integer"),
    Column("waypoint", "integer"),
    Column("alpha", "number"),
    Column("beta", "number"),
)
_POINTS = (
    *_PLACE,
    Column("effective_alpha", "number"),
    Column("effective_beta", "number"),
    Column("off", "number"),
    Column("n", "integer"),
    Column("judge", "text"),
    Column("asr", "number"),
    Column("asr_low", "number"),
    Column("asr_high", "number"),
    Column("safe", "flag"),
    Column("outcomes_judge", "text"),
    Column("refused", "integer"),
    Column("complied", "integer"),
    Column("incoherent", "integer"),
    Column("unscored", "integer"),
    Column("strict_asr", "number"),
    Column("strict_asr_low", "number"),
    Column("strict_asr_high", "number"),
)
_RESPONSES = (
    *_PLACE,
    Column("probe", "text"),
    Column("harmful", "flag"),
    Column("number", "integer"),
    Column("prompt", "text"),
    Column("response", "text"),
    Column("finish", "text"),
    Column("tokens", "integer"),
)
_VERDICTS = (
    *_PLACE,
    Column("probe", "text"),
    Column("harmful", "flag"),
    Column("number", "integer"),
    Column("judge", "text"),
    Column("outcome", "text"),
    Column("reason", "text"),
    Column("probability", "number"),
)


def table_of(store: Store, landscape: Landscape, what: What) -> Table:
    """Return one of the tables of a run, in the order of the survey's points.

    Args:
        store: The store of the run; it must stay open while the rows are read.
        landscape: The figures of the same run.
        what: The name of the table.

    """
    about = _about(store, landscape)
    if what == "points":
        further = _further(store.survey)
        columns = tuple(Column(f"{probe}.{name}", kind) for probe, value in further.items() for name, kind in value)
        return Table("points", (*_POINTS, *columns), _points(store, landscape, further), about)
    if what == "responses":
        return Table("responses", _RESPONSES, _responses(store), about)
    return Table("verdicts", _VERDICTS, _verdicts(store), about)


def _about(store: Store, landscape: Landscape) -> dict[str, str]:
    survey = store.survey
    return {
        "safescape.version": metadata.version("safescape"),
        "safescape.model": survey.model,
        "safescape.model_fingerprint": survey.model_fingerprint,
        "safescape.survey_fingerprint": f"sha256:{survey.digest}",
        "safescape.survey": json.dumps(landscape.survey.model_dump(mode="json")),
        "safescape.axes": json.dumps([axis.model_dump(mode="json") for axis in landscape.axes]),
        "safescape.safe_below": f"{landscape.safe_below:g}",
        "safescape.complete": json.dumps(landscape.complete),
    }


_Further = Mapping[str, tuple[tuple[str, Kind], ...]]
"""By probe, the columns (name, type) of its figure."""


def _further(survey: Survey) -> _Further:
    """The further probes in the order of the survey, with the columns of each."""
    return {
        probe.name: ((_kind(probe), "number"), ("low", "number"), ("high", "number"), ("n", "integer"))
        for probe in survey.probes[1:]
    }


def _kind(probe: Probe) -> str:
    if isinstance(probe, PromptProbe):
        return "asr" if probe.harmful else "over_refusal"
    return "perplexity" if isinstance(probe, PerplexityProbe) else "accuracy"


def _points(store: Store, landscape: Landscape, further: _Further) -> Iterator[Row]:
    places: dict[Point, dict[str, PointFigures | Measure]] = {}
    found: list[PointFigures | Measure] = [*landscape.points, *landscape.measures]
    for figures in found:
        point = Point(figures.line, figures.coords, figures.waypoint)
        places.setdefault(point, {})[figures.probe] = figures
    judge = store.survey.judges[0]
    for number, point in enumerate(store.survey.points()):
        if there := places.get(point):
            first = there.get(store.survey.prompts.name)
            cells = _figures(first if isinstance(first, PointFigures) else None, judge, landscape.safe_below)
            effective = next(iter(there.values())).effective
            off = first.off if isinstance(first, PointFigures) else None
            others = (cell for probe in further for cell in _figure(there.get(probe)))
            yield (*_place(number, point), *_two(effective), off, *cells, *others)


def _figures(figures: PointFigures | None, judge: str, safe_below: float) -> Row:
    """The cells of the first probe, from `n` on."""
    if figures is None:
        return (None,) * (len(_POINTS) - len(_PLACE) - 3)
    asr, low, high = _rate(figures.count, figures.n)
    safe = None if asr is None else asr <= safe_below
    strict = _rate(None if figures.strict_asr is None else figures.complied, figures.n)
    outcomes = (figures.judge, figures.refused, figures.complied, figures.incoherent, figures.unscored)
    return (figures.n, judge, asr, low, high, safe, *outcomes, *strict)


def _figure(figures: PointFigures | Measure | None) -> Row:
    """The cells of a further probe: its value, its interval and its number of items."""
    if figures is None:
        return (None,) * 4
    if isinstance(figures, Measure):
        return (figures.value, figures.low, figures.high, figures.n)
    return (*_rate(figures.count, figures.n), figures.n)


def _rate(count: int | None, n: int) -> tuple[float | None, float | None, float | None]:
    """A rate with its Wilson interval, percent."""
    return (None, None, None) if count is None else (100.0 * count / n, *wilson(count, n))


def _responses(store: Store) -> Iterator[Row]:
    for place, point, probe in _asked(store):
        for number, answer in store.points.answers(point, probe.name):
            said = answer.response
            prompt = probe.prompts[number]
            yield (*place, probe.name, probe.harmful, number, prompt, said.text, said.finish.value, said.tokens)


def _verdicts(store: Store) -> Iterator[Row]:
    judges = tuple(store.verdicts.judges())
    for place, point, probe in _asked(store):
        for number, verdicts in enumerate(store.verdicts.at(point, probe.name)):
            for judge in judges:
                if (said := verdicts.get(judge)) is not None:
                    row = (number, judge, said.outcome.value, said.reason, said.probability)
                    yield (*place, probe.name, probe.harmful, *row)


def _asked(store: Store) -> Iterator[tuple[Row, Point, PromptProbe]]:
    """Yield every finished point with every probe of prompts that was asked there."""
    finished = store.points.finished()
    for number, point in enumerate(store.survey.points()):
        if point in finished:
            for probe in store.survey.asked_at(point):
                if isinstance(probe, PromptProbe):
                    yield _place(number, point), point, probe


def _place(number: int, point: Point) -> Row:
    return (number, point.line, point.waypoint, *_two(point.coords))


def _two(coords: Sequence[float]) -> tuple[float | None, float | None]:
    alpha, beta, *_ = (*coords, None, None)
    return alpha, beta
