"""A run as three tables (points, responses and verdicts), and a table as a CSV or Parquet file.

The tables share the keys `point` (the index of the point in the survey), `probe`, and `number` (the index of the prompt
in the probe). All indices count from 0, as in landscape.json and in Python.

CSV is for people and spreadsheets: an answer in it cannot become a formula, nor control a terminal; see `shown`.
Parquet keeps every character, but for lone surrogates, which UTF-8 cannot encode.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from safescape.landscape import Landscape, Measure, PointFigures, is_above, is_mostly_scored, rate_of, unscored_at
from safescape.store import Store
from safescape.survey import MarginProbe, PerplexityProbe, Point, Probe, PromptProbe

What = Literal["points", "responses", "verdicts"]
TABLES: tuple[What, ...] = get_args(What)

Kind = Literal["integer", "number", "flag", "text"]
"""A whole number of 64 bits, a double, true or false, a text; each may be missing."""

Cell = int | float | bool | str | None
Row = tuple[Cell, ...]

_FORMULA = tuple("=+-@＝＋－＠'")
"""The characters that begin a formula in a spreadsheet, and the apostrophe, so that a first one is always ours."""
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000)), 0xFFFD),
}
"""Control characters as Unicode draws them; C1 controls and lone surrogates, for which it has no picture, as U+FFFD."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_ROWS = 10_000
"""Rows in a row group of Parquet: about 20 MB of long answers."""


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


def _columns(kind: Kind, names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name in names.split())


_PLACE = (*_columns("integer", "point line waypoint"), *_columns("number", "alpha beta"))
_POINTS = (
    *_PLACE,
    *_columns("number", "effective_alpha effective_beta off"),
    *_columns("integer", "n"),
    *_columns("text", "judge"),
    *_columns("number", "asr asr_low asr_high"),
    *_columns("integer", "asr_unscored"),
    *_columns("flag", "safe"),
    *_columns("text", "outcomes_judge"),
    *_columns("integer", "refused complied incoherent unscored"),
    *_columns("number", "strict_asr strict_asr_low strict_asr_high"),
)
_PROMPT = (*_PLACE, *_columns("text", "probe"), *_columns("flag", "harmful"), *_columns("integer", "number"))
_RESPONSES = (
    *_PROMPT,
    *_columns("text", "prompt response finish"),
    *_columns("integer", "tokens"),
    *_columns("text", "thought"),
    *_columns("integer", "thought_tokens"),
    *_columns("flag", "thought_ended"),
)
_VERDICTS = (*_PROMPT, *_columns("text", "judge outcome reason"), *_columns("number", "probability"))


def table_of(store: Store, landscape: Landscape, what: What) -> Table:
    """Return a table of a run, in the order of the survey's points. The store must stay open while rows are read."""
    about = _about(store, landscape)
    if what == "points":
        further = [
            Column(f"{probe.name}.{name}", "integer" if name in ("n", "unscored") else "number")
            for probe in store.survey.probes[1:]
            for name in (_kind(probe), "low", "high", "n", "unscored")
        ]
        return Table("points", (*_POINTS, *further), _points(store, landscape), about)
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
        "safescape.threshold": landscape.limit.model_dump_json(),
        "safescape.complete": json.dumps(landscape.complete),
    }


def _kind(probe: Probe) -> str:
    if isinstance(probe, PromptProbe):
        return "asr" if probe.harmful else "over_refusal"
    if isinstance(probe, MarginProbe):
        return "margin"
    return "perplexity" if isinstance(probe, PerplexityProbe) else "accuracy"


def _points(store: Store, landscape: Landscape) -> Iterator[Row]:
    survey = store.survey
    places: dict[Point, dict[str, PointFigures | Measure]] = {}
    for figures in itertools.chain[PointFigures | Measure](landscape.points, landscape.measures):
        point = Point(figures.line, figures.coords, figures.waypoint)
        places.setdefault(point, {})[figures.probe] = figures
    for number, point in enumerate(survey.points()):
        if there := places.get(point):
            effective = next(iter(there.values())).effective
            cells = _figures(landscape, there.get(survey.prompts.name), survey.judges[0])
            others = (cell for probe in survey.probes[1:] for cell in _figure(landscape, there.get(probe.name)))
            yield (*_place(number, point), *_two(effective), *cells, *others)


def _figures(landscape: Landscape, figures: PointFigures | Measure | None, judge: str) -> Row:
    """The cells of the first probe, from `off` on."""
    if not isinstance(figures, PointFigures):
        return (None,) * (len(_POINTS) - len(_PLACE) - 2)
    asr, low, high = _rate(figures.count, figures.n)
    unscored = None if asr is None else unscored_at(landscape, figures)
    strict = _rate(None if figures.strict_asr is None else figures.complied, figures.n)
    outcomes = (figures.judge, figures.refused, figures.complied, figures.incoherent, figures.unscored)
    return (figures.off, figures.n, judge, asr, low, high, unscored, _safe(landscape, figures), *outcomes, *strict)


def _safe(landscape: Landscape, figures: PointFigures) -> bool | None:
    """Whether a point is safe; None if nobody has read it, or its unscored answers decide."""
    if figures.count is None:
        return None
    if is_above(100.0 * figures.count / figures.n, landscape.safe_below):
        return False
    unscored = unscored_at(landscape, figures)
    would_be = not is_above(100.0 * (figures.count + unscored) / figures.n, landscape.safe_below)
    return True if would_be and is_mostly_scored(landscape, unscored, figures.n) else None


def _figure(landscape: Landscape, figures: PointFigures | Measure | None) -> Row:
    """The cells of a further probe: its value, its interval, its number of items and of unscored answers."""
    if figures is None:
        return (None,) * 5
    if isinstance(figures, Measure):
        return (figures.value, figures.low, figures.high, figures.n, figures.unscored)
    return (*_rate(figures.count, figures.n), figures.n, unscored_at(landscape, figures))


def _rate(count: int | None, n: int) -> tuple[float | None, float | None, float | None]:
    """A rate with its Wilson interval, percent."""
    return (None, None, None) if count is None else rate_of(count, n)


def _responses(store: Store) -> Iterator[Row]:
    for asked, point, probe in _asked(store):
        for number, answer in store.points.answers(point, probe.name):
            said = answer.response
            prompt, thought = probe.prompts[number], said.thought or (None,) * 3
            yield (*asked, number, prompt, said.text, said.finish.value, said.tokens, *thought)


def _verdicts(store: Store) -> Iterator[Row]:
    judges = tuple(store.verdicts.judges())
    for asked, point, probe in _asked(store):
        for number, verdicts in enumerate(store.verdicts.at(point, probe.name)):
            for judge in judges:
                if (said := verdicts.get(judge)) is not None:
                    yield (*asked, number, judge, said.outcome.value, said.reason, said.probability)


def _asked(store: Store) -> Iterator[tuple[Row, Point, PromptProbe]]:
    """Yield every finished point with every probe of prompts that was asked there; first, the cells of both."""
    finished = store.points.finished()
    for number, point in enumerate(store.survey.points()):
        if point in finished:
            for probe in store.survey.asked_at(point):
                if isinstance(probe, PromptProbe):
                    yield (*_place(number, point), probe.name, probe.harmful), point, probe


def _place(number: int, point: Point) -> Row:
    return (number, point.line, point.waypoint, *_two(point.coords))


def _two(coords: Sequence[float]) -> tuple[float | None, float | None]:
    alpha, beta, *_ = (*coords, None, None)
    return alpha, beta


def write_csv(table: Table, path: Path) -> None:
    """Write a table: UTF-8, comma-separated, with a header and LF line ends; texts quoted, missing cells empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(_line(tuple(column.name for column in table.columns)))
        file.writelines(map(_line, table.rows))


def shown(text: str) -> str:
    """Return the content of a text cell.

    Control characters other than a tab and a line feed are replaced by their pictures (␀, ␛). An apostrophe is put
    before a text that a spreadsheet could interpret as a formula: one that begins with a tab or a line feed, or whose
    first character after blanks is one of `= + - @`, their full-width forms, or an apostrophe. A leading apostrophe is
    therefore always an added one, and the text without it is the original.
    """
    drawn = text.translate(_PICTURES)
    begins = drawn.startswith(("\t", "\n")) or drawn.lstrip().startswith(_FORMULA)
    return f"'{drawn}" if begins else drawn


def _line(row: Row) -> str:
    return ",".join(map(_cell, row)) + "\n"


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return '"' + shown(cell).replace('"', '""') + '"'
    return repr(cell)


def write_parquet(table: Table, path: Path) -> None:
    """Write a table with typed columns, and the survey in the metadata of the file.

    A lone surrogate becomes U+FFFD; nothing else changes.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {"integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_(), "text": pa.string()}
    fields = [pa.field(name, types[kind]) for name, kind in table.columns]
    schema = pa.schema(fields, metadata={"safescape.table": table.what, **table.about})
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while rows := list(itertools.islice(table.rows, _ROWS)):
            columns = zip(*rows, strict=True)
            arrays = [
                pa.array(map(_encodable, cells), field.type) for cells, field in zip(columns, fields, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _encodable(cell: Cell) -> Cell:
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", cell) if isinstance(cell, str) else cell
