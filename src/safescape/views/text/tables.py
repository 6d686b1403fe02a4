"""Tables of a run, as cells or as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from safescape.landscape import (
    OF_A_BASIN,
    Landscape,
    Measure,
    Metric,
    PointFigures,
    Threshold,
    unit_of,
    unscored_at,
)
from safescape.survey import InterpolationAxis, Outcome
from safescape.views.series.outcomes import finest_of
from safescape.views.series.samples import first_probe, sample_of
from safescape.views.text import words

FIGURES = {
    "origin_asr": "ASR at the origin %",
    "visage": "VISAGE",
    "visage_reference": "VISAGE, released code",
    "basin_radius": "basin radius",
    "safety_auc": "safety AUC",
}
"""The columns of figures of safety."""
_FIGURES_OF_A_RUN = {key: heading for key, heading in FIGURES.items() if key != "visage_reference"}

_Place = tuple[int | None, tuple[float, ...], int | None]
"""Line, coordinates and checkpoint."""


class Table(NamedTuple):
    """A heading for each column, and the rows; the first cell of a row names it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def markdown(self) -> str:
        """The table as Markdown; all columns but the first are aligned to the right."""
        lines = (self.columns, ("---", *("---:" for _ in self.columns[1:])), *self.rows)
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Row(NamedTuple):
    """The figures of one probe, judge or run in a table of several."""

    name: str
    metrics: Mapping[str, Metric]
    limit: Threshold
    """Of its basin."""
    less: Mapping[str, str]
    """The differences from the first row's figures, as text; empty if there are none."""


def beside(what: str, columns: Mapping[str, str], rows: Sequence[Row]) -> Table:
    """Return one row of figures each and, beneath it, the paired differences; columns without a figure are left out."""
    shown = [key for key in columns if any(key in row.metrics and row.metrics[key].value is not None for row in rows)]
    cells = []
    for row in rows:
        figures = (
            "no basin"
            if key in OF_A_BASIN and row.limit.has_basin is False
            else _against(row.limit, key, words.cell(row.metrics.get(key), words.decimals_of(key)))
            for key in shown
        )
        cells.append((row.name, *figures))
        if row.less:
            cells.append((f"less {rows[0].name}, paired", *(row.less.get(key, "") for key in shown)))
    return Table((what, *(columns[key] for key in shown)), tuple(cells))


def _against(limit: Threshold, key: str, cell: str) -> str:
    """Return the cell of a figure; of a radius with its threshold, if that is not the user's."""
    return f"{cell} to {words.limit_value(limit)}" if key in OF_A_BASIN and limit.kind != "absolute" else cell


def probes_of(landscape: Landscape) -> Table | None:
    """Return the key figures of every probe of harmful prompts, with the paired differences; None for a single one."""
    if not landscape.by_probe:
        return None
    found = {first_probe(landscape): landscape.metrics, **landscape.by_probe}
    less = landscape.differences
    names = {
        name: words.quoted(name) + (", not paired: other requests" if number and name not in less else "")
        for number, name in enumerate(found)
    }
    rows = [_row(landscape, name, names[name], metrics, less.get(name, {})) for name, metrics in found.items()]
    return beside("probe", _FIGURES_OF_A_RUN, rows)


def judges_of(landscape: Landscape) -> Table | None:
    """Return the key figures of the first probe as every judge sees it; None for a single judge."""
    if not landscape.by_judge:
        return None
    found = {words.all_judges_of(landscape)[0]: landscape.metrics, **landscape.by_judge}
    rows = [_row(landscape, name, words.printable(name), metrics, {}) for name, metrics in found.items()]
    return beside("judge", _FIGURES_OF_A_RUN, rows)


def _row(landscape: Landscape, key: str, name: str, metrics: Mapping[str, Metric], less: Mapping[str, Metric]) -> Row:
    """The row of a probe or a judge, whose own name is `key`."""
    limit = landscape.limit if metrics is landscape.metrics else landscape.limit_of(key)
    texts = {key: words.cell(metric, words.decimals_of(key), sign=True) for key, metric in less.items()}
    return Row(name, metrics, limit, texts)


def agreement_of(landscape: Landscape) -> Table | None:
    """Return how far each pair of judges agrees on each probe of harmful prompts; None for a single judge."""
    if not landscape.agreement:
        return None
    several = bool(landscape.by_probe)
    columns = ("answers", "left unscored", "agree %", "κ", "same outcome %", "κ of outcomes")
    rows = (
        (
            " × ".join(words.printable(judge) for judge in found.judges),
            *((words.quoted(found.probe),) if several else ()),
            str(found.n),
            str(sum(map(sum, found.table)) - found.n),
            words.cell(found.agree),
            words.cell(found.kappa, 2),
            words.cell(found.agree_outcomes),
            words.cell(found.kappa_outcomes, 2),
        )
        for found in landscape.agreement
    )
    return Table(("judges", *(("probe",) if several else ()), *columns), tuple(rows))


def capability_of(landscape: Landscape) -> Table | None:
    """Return over-refusal and capability of the origin, the other model and the checkpoints; None if not measured."""
    if not landscape.measures:
        return None
    zeros = (0.0,) * (2 if landscape.subspace == "plane" else 1)
    models: dict[str, _Place] = {"origin": (None, zeros, None)}
    if isinstance(landscape.axes[0], InterpolationAxis):
        models["other model"] = (None if len(zeros) > 1 else 0, (1.0, *zeros[1:]), None)
    for number in range(len(landscape.survey.through)):
        models[f"checkpoint {number + 1}"] = (None, (), number)
    found = {
        (m.probe, _place(m)): Metric(value=m.value, low=m.low, high=m.high, unscored=m.unscored)
        for m in landscape.measures
    }
    rows = (
        (measure_heading(probe, kind), *(words.cell(found.get((probe, place))) for place in models.values()))
        for probe, kind in dict.fromkeys((measure.probe, measure.kind) for measure in landscape.measures)
    )
    return Table(("", *models), tuple(rows))


def measure_heading(probe: str, kind: str) -> str:
    """Return the heading of a probe of over-refusal or capability."""
    return f"{words.KINDS[kind]}{unit_of(kind)} {words.quoted(probe)}"


def points_of(landscape: Landscape) -> Table:
    """Return every measured point in the order of measuring: the counts of the first probe, and all other rates.

    If a judge tells noise from compliance, its four outcomes stand beside the count of the first judge.
    """
    first, through = first_probe(landscape), bool(landscape.survey.through)
    signs = ("α", "β") if landscape.subspace == "plane" else ("α",)
    further = {
        **{probe: f"ASR % {words.quoted(probe)}" for probe in landscape.by_probe},
        **{m.probe: f"{words.KINDS[m.kind]} {words.quoted(m.probe)}" for m in landscape.measures},
    }
    rates = {
        (p.probe, _place(p)): f"{sample_of(landscape, p).asr:.1f}{_left(unscored_at(landscape, p))}"
        for p in landscape.counted
        if p.probe in landscape.by_probe
    }
    rates |= {(m.probe, _place(m)): f"{m.value:.4g}{_left(m.unscored)}" for m in landscape.measures}
    finest, first_judge = finest_of(landscape), words.all_judges_of(landscape)[0]
    outcomes = tuple(Outcome) if finest is not None else ()
    # with two judges in one table, each column names its own
    apart = finest is not None and finest != first_judge
    of_first, of_finest = (
        f" ({words.shortened(words.printable(name), 24)})" if apart else "" for name in (first_judge, finest)
    )
    counts = apart or finest is None
    thinking = any(point.thoughts for point in landscape.points)
    # the outcomes of the table are another judge's, or there are none
    left = counts and any(unscored_at(landscape, point) for point in landscape.counted if point.probe == first)
    rows = []
    for point in landscape.counted:
        if point.probe != first:
            continue
        sample = sample_of(landscape, point)
        rows.append(
            (
                _where(landscape, point),
                *((f"{value:g}" for value in point.coords) if point.coords else ("–",) * len(signs)),
                *(f"{value:.4g}" for value in point.effective),
                *((f"{100 * point.off:.1f}",) if through else ()),
                str(sample.n),
                *((str(sample.complied),) if counts else ()),
                *((str(unscored_at(landscape, point)),) if left else ()),
                f"{sample.asr:.1f}",
                f"{sample.low:.1f} to {sample.high:.1f}",
                # a dash where the judge of the column has not read the answers
                *(str(getattr(point, outcome.value)) if point.judge == finest else "–" for outcome in outcomes),
                *_thoughts(point, thinking=thinking),
                *(rates.get((probe, _place(point)), "–") for probe in further),
            )
        )
    columns = (
        *("point", *signs, *(f"effective {sign}" for sign in signs), *(("off %",) if through else ()), "prompts"),
        *(f"complied{of_first}" for _ in range(counts)),
        *(f"unscored{of_first}" for _ in range(left)),
        *(f"ASR %{of_first}", "95 % interval", *(f"{outcome}{of_finest}" for outcome in outcomes)),
    )
    thought = ("thoughts", "mean tokens", "cut", "without an answer") if thinking else ()
    return Table((*columns, *thought, *further.values()), tuple(rows))


def _left(unscored: int) -> str:
    """What stands beside a rate: how many answers it does not count because they are unscored."""
    return f", {unscored} unscored" if unscored else ""


def _thoughts(point: PointFigures, *, thinking: bool) -> tuple[str, ...]:
    if not thinking:
        return ()
    if point.thoughts is None:
        return ("–",) * 4
    n, mean, cut, unanswered = (getattr(point.thoughts, name) for name in ("n", "mean_tokens", "cut", "unanswered"))
    return (str(n), "–" if mean is None else f"{mean:.0f}", str(cut), str(unanswered))


def _place(figures: PointFigures | Measure) -> _Place:
    return figures.line, figures.coords, figures.waypoint


def _where(landscape: Landscape, point: PointFigures) -> str:
    if point.waypoint is not None:
        return f"checkpoint {point.waypoint + 1}"
    if not any(point.coords):
        return "origin"
    return "plane" if point.line is None else words.label_of(point.line, landscape.axes[point.line])
