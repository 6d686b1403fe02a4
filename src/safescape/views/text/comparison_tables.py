"""Tables of a comparison, as cells or as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from safescape.landscape import Comparison, Landscape, unscored_in
from safescape.survey import ComputedAxis, InterpolationAxis, RandomAxis
from safescape.views.series.curves import courses_of
from safescape.views.series.samples import extent_of, first_probe, sample_of
from safescape.views.text import words
from safescape.views.text.comparison import difference_text, names_of, quoted_names_of
from safescape.views.text.tables import FIGURES, Row, Table, beside, measure_heading


def differences_of(comparison: Comparison) -> Table:
    """Return every run's figures of safety and, beneath them, their paired differences from the first run's."""
    return _runs_beside(comparison, FIGURES)


def capability_beside(comparison: Comparison) -> Table | None:
    """Return every run's over-refusal, accuracy and perplexity at the origin; None if none was measured."""
    kinds = {measure.probe: measure.kind for landscape in comparison.landscapes for measure in landscape.measures}
    shown = {probe: measure_heading(probe, kind) for probe, kind in kinds.items()}
    return _runs_beside(comparison, shown) if any(comparison.at_origin) else None


def _runs_beside(comparison: Comparison, columns: Mapping[str, str]) -> Table:
    """The figures in `columns`, from their keys to their headings; intervals stand on a line of their own."""
    rows = []
    for number, (name, run) in enumerate(zip(quoted_names_of(comparison), comparison.landscapes, strict=True)):
        less = {}
        for key in columns if number else ():
            value, interval = difference_text(comparison, number, key)
            less[key] = f"{value} ({interval})" if interval else value
        metrics = {**run.metrics, **comparison.at_origin[number]}
        rows.append(Row(name, metrics, run.limit, less))
    headings, cells = beside("run", columns, rows)
    return Table(headings, tuple((name, *(text.replace(" (", "\n(", 1) for text in row)) for name, *row in cells))


def runs_of(comparison: Comparison) -> Table:
    """Return what each run measured, and the path of its own page."""
    rows = (
        (
            f"“{name}”",
            words.printable(landscape.survey.model),
            words.printable(landscape.survey.dtype),
            _directions(landscape),
            extent_of(landscape).points.removesuffix(" points"),
            "{} of {}".format(*unscored_in(landscape)),
            words.printable(PurePath(directory) / "report.html"),
        )
        for name, directory, landscape in zip(
            names_of(comparison), comparison.names, comparison.landscapes, strict=True
        )
    )
    columns = ("run", "model", "weights", "directions", "points", "unscored", "its page, with every answer")
    return Table(columns, tuple(rows))


def every_point_of(comparison: Comparison) -> Table:
    """Return the ASR as it is drawn: over lines the mean of the finished ones, on a plane every point."""
    plane = comparison.landscapes[0].subspace == "plane"
    rows = []
    for name, landscape in zip(names_of(comparison), comparison.landscapes, strict=True):
        if plane:
            first = first_probe(landscape)
            samples = (sample_of(landscape, p) for p in landscape.counted if p.probe == first and p.waypoint is None)
            found = [(sample.effective, sample.asr, sample.low, sample.high) for sample in samples]
        else:
            found = [((r.x,), r.value, r.low, r.high) for r in courses_of(landscape)[0].readings]
        for coords, value, low, high in found:
            places = (f"{coordinate:.4g}".replace("-", "\N{MINUS SIGN}") for coordinate in coords)
            rows.append((f"“{name}”", *places, f"{value:.1f}", f"{low:.1f} to {high:.1f}"))
    signs = ("effective α", "effective β") if plane else ("effective α",)
    return Table(("run", *signs, "ASR %", "95 % interval"), tuple(rows))


def _directions(landscape: Landscape) -> str:
    """The other models by name, then computed directions, then the random ones by seed."""
    found = [f"to {words.printable(axis.toward)}" for axis in landscape.axes if isinstance(axis, InterpolationAxis)]
    found += [axis.recipe.label for axis in landscape.axes if isinstance(axis, ComputedAxis)]
    seeds = [str(axis.seed) for axis in landscape.axes if isinstance(axis, RandomAxis)]
    if seeds:
        found.append(f"random, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}")
    return "; ".join(found)
