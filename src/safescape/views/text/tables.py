"""Tables of a run and of a comparison: probes, judges and models side by side, and every point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

from safescape.landscape import OF_A_BASIN, Comparison, Landscape, Measure, Metric, PointFigures
from safescape.survey import InterpolationAxis, Outcome
from safescape.views.series.contrast import difference_text, names_of
from safescape.views.series.curves import courses_of, extent_of, first_probe, sample_of
from safescape.views.series.outcomes import finest_of
from safescape.views.text import words

_FIGURES = {
    "origin_asr": "ASR at the origin %",
    "visage": "VISAGE",
    "visage_reference": "VISAGE, released code",
    "basin_radius": "basin radius",
    "safety_auc": "safety AUC",
}
"""The columns of figures of safety."""

_Place = tuple[int | None, tuple[float, ...], int | None]
"""Line, coordinates and checkpoint."""


class Table(NamedTuple):
    """A heading for each column, and the rows; the first cell of a row names it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def probes_of(landscape: Landscape) -> Table | None:
    """Return the key figures of every probe of harmful prompts, with the paired differences; None for a single one."""
    if not landscape.by_probe:
        return None
    first = first_probe(landscape)
    return _key_figures(
        landscape, "probe", {first: landscape.metrics, **landscape.by_probe}, f"“{words.printable(first)}”"
    )


def judges_of(landscape: Landscape) -> Table | None:
    """Return the key figures of the first probe as every judge sees it; None for a single judge."""
    if not landscape.by_judge:
        return None
    return _key_figures(
        landscape, "judge", {words.all_judges_of(landscape)[0]: landscape.metrics, **landscape.by_judge}
    )


def _key_figures(
    landscape: Landscape, what: str, found: Mapping[str, Mapping[str, Metric]], first: str | None = None
) -> Table:
    """One row per name; with `first`, the label of the first row, the differences from it beneath each other row."""
    shown = [key for key in _FIGURES if key != "visage_reference" and _is_measured(key, list(found.values()))]
    rows = []
    for name, metrics in found.items():
        asr = metrics["origin_asr"].value
        has_basin = asr is None or asr <= landscape.safe_below
        cells = _safety_cells(metrics, shown, has_basin=has_basin)
        rows.append((f"“{words.printable(name)}”" if first else words.printable(name), *cells))
        if first and name in landscape.differences:
            less = landscape.differences[name]
            cells = (cell(less[key], words.decimals_of(key), sign=True) if key in less else "" for key in shown)
            rows.append((f"less {first}, paired", *cells))
    return Table((what, *(_FIGURES[key] for key in shown)), tuple(rows))


def _safety_cells(metrics: Mapping[str, Metric], keys: Iterable[str], *, has_basin: bool) -> Iterator[str]:
    for key in keys:
        none = key in OF_A_BASIN and not has_basin
        yield "no basin" if none else cell(metrics.get(key, Metric()), words.decimals_of(key))


def _is_measured(key: str, found: Sequence[Mapping[str, Metric]]) -> bool:
    return any(metrics.get(key, Metric()).value is not None for metrics in found)


def agreement_of(landscape: Landscape) -> Table | None:
    """Return how far each pair of judges agrees on each probe of harmful prompts; None for a single judge."""
    if not landscape.agreement:
        return None
    several = bool(landscape.by_probe)
    columns = ("answers", "left unscored", "agree %", "κ", "same outcome %", "κ of outcomes")
    rows = (
        (
            " × ".join(words.printable(judge) for judge in found.judges),
            *((f"“{words.printable(found.probe)}”",) if several else ()),
            str(found.n),
            str(sum(map(sum, found.table)) - found.n),
            cell(found.agree, 1),
            cell(found.kappa, 2),
            cell(found.agree_outcomes, 1),
            cell(found.kappa_outcomes, 2),
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
    found = {(measure.probe, _place(measure)): measure for measure in landscape.measures}
    rows = []
    for probe, kind in dict.fromkeys((measure.probe, measure.kind) for measure in landscape.measures):
        there = (found.get((probe, place)) for place in models.values())
        cells = (cell(Metric(value=m.value, low=m.low, high=m.high) if m else Metric(), 1) for m in there)
        rows.append((f"{words.KINDS[kind]}{'' if kind == 'perplexity' else ' %'} (“{words.printable(probe)}”)", *cells))
    return Table(("", *models), tuple(rows))


def points_of(landscape: Landscape) -> Table:
    """Return every measured point in the order of measuring: the counts of the first probe, and all other rates.

    If a judge tells noise from compliance, its four outcomes stand beside the count of the first judge.
    """
    first, through = first_probe(landscape), bool(landscape.survey.through)
    signs = ("α", "β") if landscape.subspace == "plane" else ("α",)
    further = {
        **{probe: f"ASR % “{words.printable(probe)}”" for probe in landscape.by_probe},
        **{m.probe: f"{words.KINDS[m.kind]} “{words.printable(m.probe)}”" for m in landscape.measures},
    }
    rates = {
        (p.probe, _place(p)): f"{sample_of(p).asr:.1f}" for p in landscape.counted if p.probe in landscape.by_probe
    }
    rates |= {(m.probe, _place(m)): f"{m.value:.4g}" for m in landscape.measures}
    finest, first_judge = finest_of(landscape), words.all_judges_of(landscape)[0]
    outcomes = tuple(Outcome) if finest is not None else ()
    # with two judges in one table, each column names its own
    apart = finest is not None and finest != first_judge
    of_first, of_finest = (
        f" ({words.shortened(words.printable(name), 24)})" if apart else "" for name in (first_judge, finest)
    )
    counts = apart or finest is None
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
                *((str(sample.complied),) if counts else ()),
                f"{sample.asr:.1f}",
                f"{sample.low:.1f} to {sample.high:.1f}",
                # a dash where the judge of the column has not read the answers
                *(str(getattr(point, outcome.value)) if point.judge == finest else "–" for outcome in outcomes),
                *(rates.get((probe, _place(point)), "–") for probe in further),
            )
        )
    return Table(
        (
            "point",
            *signs,
            *(f"effective {sign}" for sign in signs),
            *(("off %",) if through else ()),
            "prompts",
            *((f"complied{of_first}",) if counts else ()),
            f"ASR %{of_first}",
            "95 % interval",
            *(f"{outcome}{of_finest}" for outcome in outcomes),
            *further.values(),
        ),
        tuple(rows),
    )


def differences_of(comparison: Comparison) -> Table:
    """Return every run's figures of safety and, beneath them, their paired differences from the first run's."""
    return _runs_beside(comparison, _FIGURES)


def capability_beside(comparison: Comparison) -> Table | None:
    """Return every run's over-refusal, accuracy and perplexity at the origin; None if none was measured."""
    kinds = {measure.probe: measure.kind for landscape in comparison.landscapes for measure in landscape.measures}
    shown = {
        probe: f"{words.KINDS[kind]}{'' if kind == 'perplexity' else ' %'} “{words.printable(probe)}”"
        for probe, kind in kinds.items()
    }
    return _runs_beside(comparison, shown) if any(comparison.at_origin) else None


def _runs_beside(comparison: Comparison, columns: Mapping[str, str]) -> Table:
    """The figures in `columns`, from their keys to their headings; intervals stand on a line of their own."""
    names = [f"“{words.shortened(name, 60)}”" for name in names_of(comparison)]
    found = [{**run.metrics, **more} for run, more in zip(comparison.landscapes, comparison.at_origin, strict=True)]
    shown = [key for key in columns if _is_measured(key, found)]
    rows = []
    for number, (name, run, metrics) in enumerate(zip(names, comparison.landscapes, found, strict=True)):
        figures = _safety_cells(metrics, shown, has_basin=run.has_basin is not False)
        rows.append((name, *(text.replace(" (", "\n(", 1) for text in figures)))
        if number:
            less = (difference_text(comparison, number, key, words.decimals_of(key)) for key in shown)
            cells = (f"{value}\n({interval})" if interval else value for value, interval in less)
            rows.append((f"less {names[0]}, paired", *cells))
    return Table(("run", *(columns[key] for key in shown)), tuple(rows))


def runs_of(comparison: Comparison) -> Table:
    """Return what each run measured, and the path of its own page."""
    rows = (
        (
            f"“{name}”",
            words.printable(landscape.survey.model),
            words.printable(landscape.survey.dtype),
            _directions(landscape),
            extent_of(landscape).points.removesuffix(" points"),
            words.printable(PurePath(directory) / "report.html"),
        )
        for name, directory, landscape in zip(
            names_of(comparison), comparison.names, comparison.landscapes, strict=True
        )
    )
    return Table(("run", "model", "weights", "directions", "points", "its page, with every answer"), tuple(rows))


def every_point_of(comparison: Comparison) -> Table:
    """Return the ASR as it is drawn: over lines the mean of the finished ones, on a plane every point."""
    plane = comparison.landscapes[0].subspace == "plane"
    rows = []
    for name, landscape in zip(names_of(comparison), comparison.landscapes, strict=True):
        for *coords, value, low, high in _on_plane(landscape) if plane else courses_of(landscape)[0].readings:
            places = (f"{coordinate:.4g}".replace("-", "\N{MINUS SIGN}") for coordinate in coords)
            rows.append((f"“{name}”", *places, f"{value:.1f}", f"{low:.1f} to {high:.1f}"))
    signs = ("effective α", "effective β") if plane else ("effective α",)
    return Table(("run", *signs, "ASR %", "95 % interval"), tuple(rows))


def _on_plane(landscape: Landscape) -> Iterator[tuple[float, ...]]:
    first = first_probe(landscape)
    for point in landscape.counted:
        if point.probe == first and point.waypoint is None:
            sample = sample_of(point)
            yield (*sample.effective, sample.asr, sample.low, sample.high)


def _directions(landscape: Landscape) -> str:
    """The other models by name, then the random directions by seed."""
    found = [f"to {words.printable(axis.toward)}" for axis in landscape.axes if isinstance(axis, InterpolationAxis)]
    seeds = [str(axis.seed) for axis in landscape.axes if not isinstance(axis, InterpolationAxis)]
    if seeds:
        found.append(f"random, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}")
    return "; ".join(found)


def cell(metric: Metric, decimals: int, *, sign: bool = False) -> str:
    """Return a figure with its interval in brackets; `sign`: a difference, with the sign of every number."""
    if metric.value is None:
        return "–"
    if not sign:
        return f"{words.value_text(metric, decimals)} ({words.interval_text(metric, decimals)})"
    low, value, high = (words.signed(number or 0.0, decimals) for number in (metric.low, metric.value, metric.high))
    return f"{value} ({low} to {high})"


def _place(figures: PointFigures | Measure) -> _Place:
    return figures.line, figures.coords, figures.waypoint


def _where(landscape: Landscape, point: PointFigures) -> str:
    if point.waypoint is not None:
        return f"checkpoint {point.waypoint + 1}"
    if not any(point.coords):
        return "origin"
    return "plane" if point.line is None else words.label_of(point.line, landscape.axes[point.line])
