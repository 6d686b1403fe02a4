"""A run's figures as tables: probe beside probe, model beside model, and every point.

Plain text: who sets it on a page escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from safescape.landscape import Landscape, Measure, Metric, PointFigures
from safescape.survey import InterpolationAxis, Outcome
from safescape.views.series.curves import first_probe, sample_of
from safescape.views.series.outcomes import finest_of
from safescape.views.text.words import (
    KINDS,
    all_judges_of,
    interval_text,
    label_of,
    printable,
    shortened,
    value_text,
)

__all__ = ["Table", "agreement_of", "capability_of", "cell", "judges_of", "points_of", "probes_of"]


class Table(NamedTuple):
    """A heading for each column, and the rows; the first cell of a row says what the row is."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_Place = tuple[int | None, tuple[float, ...], int | None]
"""Line, coordinates and checkpoint."""


def probes_of(landscape: Landscape) -> Table | None:
    """Return the key figures of every probe of harmful prompts, with the paired differences; None for a single one."""
    if not landscape.by_probe:
        return None
    first = first_probe(landscape)
    probes = {first: landscape.metrics, **landscape.by_probe}
    measured = _measured(probes.values())
    rows = []
    for name, metrics in probes.items():
        rows.append((f"“{printable(name)}”", *_figures(metrics, measured, landscape.safe_below)))
        if name in landscape.differences:
            less = landscape.differences[name]
            cells = (cell(less[key], 3 if key == "basin_radius" else 1, "+") if key in less else "" for key in measured)
            rows.append((f"less “{printable(first)}”, paired", *cells))
    return Table(("probe", *measured.values()), tuple(rows))


def judges_of(landscape: Landscape) -> Table | None:
    """Return the key figures of the first probe as every judge sees it; None for a single judge."""
    if not landscape.by_judge:
        return None
    judges = {all_judges_of(landscape)[0]: landscape.metrics, **landscape.by_judge}
    measured = _measured(judges.values())
    rows = ((printable(name), *_figures(found, measured, landscape.safe_below)) for name, found in judges.items())
    return Table(("judge", *measured.values()), tuple(rows))


def agreement_of(landscape: Landscape) -> Table | None:
    """Return how far each pair of judges agrees on each probe of harmful prompts; None for a single judge."""
    if not landscape.agreement:
        return None
    several = bool(landscape.by_probe)
    rows = []
    for found in landscape.agreement:
        rows.append(
            (
                " × ".join(printable(judge) for judge in found.judges),
                *((f"“{printable(found.probe)}”",) if several else ()),
                str(found.n),
                str(sum(map(sum, found.table)) - found.n),
                cell(found.agree, 1),
                cell(found.kappa, 2),
                cell(found.agree_outcomes, 1),
                cell(found.kappa_outcomes, 2),
            )
        )
    return Table(
        (
            "judges",
            *(("probe",) if several else ()),
            "answers",
            "left unscored",
            "agree %",
            "κ",
            "same outcome %",
            "κ of outcomes",
        ),
        tuple(rows),
    )


def _measured(probes: Iterable[Mapping[str, Metric]]) -> dict[str, str]:
    """The key figures that are measured of at least one of these, and what they are called."""
    shown = {
        "origin_asr": "ASR at the origin %",
        "visage": "VISAGE",
        "basin_radius": "basin radius",
        "safety_auc": "safety AUC",
    }
    given = list(probes)
    return {key: label for key, label in shown.items() if any(m[key].value is not None for m in given)}


def _figures(metrics: Mapping[str, Metric], keys: Iterable[str], safe_below: float) -> Iterator[str]:
    asr = metrics["origin_asr"].value
    for key in keys:
        basin = asr is None or asr <= safe_below or key not in ("visage", "basin_radius")
        yield cell(metrics[key], 3 if key == "basin_radius" else 1) if basin else "no basin"


def capability_of(landscape: Landscape) -> Table | None:
    """Return over-refusal and capability of every model that has a name; None if none was measured."""
    if not landscape.measures:
        return None
    zeros = (0.0,) * (2 if landscape.subspace == "plane" else 1)
    models: dict[str, _Place] = {"origin": (None, zeros, None)}
    if isinstance(landscape.axes[0], InterpolationAxis):
        models["other model"] = (None if len(zeros) > 1 else 0, (1.0, *zeros[1:]), None)
    for number in range(len(landscape.survey.through)):
        models[f"checkpoint {number + 1}"] = (None, (), number)
    found = {(measure.probe, _place(measure)): measure for measure in landscape.measures}
    rows = []
    for probe, kind in dict.fromkeys((measure.probe, measure.kind) for measure in landscape.measures):
        unit = "" if kind == "perplexity" else " %"
        cells = (_reading(found.get((probe, place))) for place in models.values())
        rows.append((f"{KINDS[kind]}{unit} (“{printable(probe)}”)", *cells))
    return Table(("", *models), tuple(rows))


def points_of(landscape: Landscape) -> Table:
    """Return every measured point, in the order of measuring: the counts of the first probe, and all other rates.

    Where a judge tells noise from compliance, its four outcomes are counted, beside what the first judge counts.
    """
    first = first_probe(landscape)
    plane, through = landscape.subspace == "plane", bool(landscape.survey.through)
    signs = ("α", "β") if plane else ("α",)
    further = [
        *((probe, f"ASR % “{printable(probe)}”") for probe in landscape.by_probe),
        *dict.fromkeys((m.probe, f"{KINDS[m.kind]} “{printable(m.probe)}”") for m in landscape.measures),
    ]
    finest = finest_of(landscape)
    outcomes = tuple(Outcome) if finest is not None else ()
    # two judges in one table: each column says whose it is
    first_judge = all_judges_of(landscape)[0]
    apart = finest is not None and finest != first_judge
    first_says, finest_says = (
        (f" ({shortened(printable(name), 24)})" if apart else "") for name in (first_judge, finest)
    )
    cells = {
        (p.probe, _place(p)): f"{sample_of(p).asr:.1f}" for p in landscape.counted if p.probe in landscape.by_probe
    }
    cells |= {(m.probe, _place(m)): f"{m.value:.4g}" for m in landscape.measures}
    rows = []
    for point in landscape.counted:
        if point.probe != first:
            continue
        sample = sample_of(point)
        rows.append(
            (
                _where(landscape, point),
                *((f"{value:g}" for value in point.coords) if point.coords else ("–",) * len(signs)),
                *(f"{value:.4g}" for value in point.effective),
                *((f"{100 * point.off:.1f}",) if through else ()),
                str(sample.n),
                *((str(sample.complied),) if apart or finest is None else ()),
                f"{sample.asr:.1f}",
                f"{sample.low:.1f} to {sample.high:.1f}",
                *(_count(point, outcome, finest) for outcome in outcomes),
                *(cells.get((probe, _place(point)), "–") for probe, _ in further),
            )
        )
    return Table(
        (
            "point",
            *signs,
            *(f"effective {sign}" for sign in signs),
            *(("off %",) if through else ()),
            "prompts",
            *((f"complied{first_says}",) if apart or finest is None else ()),
            f"ASR %{first_says}",
            "95 % interval",
            *(f"{outcome}{finest_says}" for outcome in outcomes),
            *(label for _, label in further),
        ),
        tuple(rows),
    )


def _count(point: PointFigures, outcome: Outcome, judge: str | None) -> str:
    """How many answers are an outcome to the judge whose column it is; a dash where it has not read them."""
    return str(getattr(point, outcome.value)) if point.judge == judge else "–"


def _place(figures: PointFigures | Measure) -> _Place:
    return figures.line, figures.coords, figures.waypoint


def _where(landscape: Landscape, point: PointFigures) -> str:
    if point.waypoint is not None:
        return f"checkpoint {point.waypoint + 1}"
    if not any(point.coords):
        return "origin"
    return "plane" if point.line is None else label_of(point.line, landscape.axes[point.line])


def cell(metric: Metric, decimals: int, sign: str = "") -> str:
    """Return a figure with its interval in brackets; `sign`: a difference, which shows on which side of 0 it lies."""
    if metric.value is None:
        return "–"
    if not sign:
        return f"{value_text(metric, decimals)} ({interval_text(metric, decimals)})"
    low, value, high = (
        f"{number:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")
        for number in (metric.low or 0.0, metric.value, metric.high or 0.0)
    )
    return f"{value} ({low} to {high})"


def _reading(measure: Measure | None) -> str:
    return "–" if measure is None else f"{measure.value:.1f} ({measure.low:.1f} to {measure.high:.1f})"
