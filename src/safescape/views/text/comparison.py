"""A comparison's figures as tables: run beside run, and every point.

Plain text: who sets it on a page escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath

from safescape.landscape import Comparison, Landscape, Metric
from safescape.survey import InterpolationAxis
from safescape.views.series.contrast import OF_A_BASIN, difference_text, names_of
from safescape.views.series.curves import courses_of, extent_of, first_probe, sample_of
from safescape.views.text.tables import Table, cell
from safescape.views.text.words import KINDS, printable, shortened

__all__ = ["capability_beside", "differences_of", "every_point_of", "runs_of"]

_SHOWN = {
    "origin_asr": "ASR at the origin %",
    "visage": "VISAGE",
    "visage_reference": "VISAGE, released code",
    "basin_radius": "basin radius",
    "safety_auc": "safety AUC",
}


def differences_of(comparison: Comparison) -> Table:
    """Return every run's figures of safety and, beneath them, their paired differences from the first run's."""
    return _beside(comparison, _SHOWN)


def capability_beside(comparison: Comparison) -> Table | None:
    """Return the same of over-refusal, accuracy and perplexity at the origin; None if none was measured."""
    kinds = {measure.probe: measure.kind for landscape in comparison.landscapes for measure in landscape.measures}
    shown = {
        probe: f"{KINDS[kind]}{'' if kind == 'perplexity' else ' %'} “{printable(probe)}”"
        for probe, kind in kinds.items()
    }
    return _beside(comparison, shown) if any(comparison.at_origin) else None


def _beside(comparison: Comparison, shown: Mapping[str, str]) -> Table:
    """The figures that are shown, by what they are called; of a figure the interval stands on a line of its own."""
    names = [f"“{shortened(name, 60)}”" for name in names_of(comparison)]
    found = [{**run.metrics, **more} for run, more in zip(comparison.landscapes, comparison.at_origin, strict=True)]
    keys = [key for key in shown if any(key in each and each[key].value is not None for each in found)]

    def figure(number: int, key: str) -> str:
        if key in OF_A_BASIN and comparison.landscapes[number].has_basin is False:
            return "no basin"
        return cell(found[number].get(key, Metric()), _decimals(key)).replace(" (", "\n(", 1)

    def less(number: int, key: str) -> str:
        value, interval = difference_text(comparison, number, key, _decimals(key))
        return f"{value}\n({interval})" if interval else value

    rows = []
    for number, name in enumerate(names):
        rows.append((name, *(figure(number, key) for key in keys)))
        if number:
            rows.append((f"less {names[0]}, paired", *(less(number, key) for key in keys)))
    return Table(("run", *(shown[key] for key in keys)), tuple(rows))


def runs_of(comparison: Comparison) -> Table:
    """Return what each run measured, and where its own page lies."""
    rows = []
    for name, directory, landscape in zip(names_of(comparison), comparison.names, comparison.landscapes, strict=True):
        extent = extent_of(landscape)
        rows.append(
            (
                f"“{name}”",
                printable(landscape.survey.model),
                printable(landscape.survey.dtype),
                _directions(landscape),
                extent.points.removesuffix(" points"),
                printable(PurePath(directory) / "report.html"),
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


def _decimals(key: str) -> int:
    return 3 if key == "basin_radius" else 1


def _directions(landscape: Landscape) -> str:
    """The other models by name, then the random directions by seed."""
    found = [f"to {printable(axis.toward)}" for axis in landscape.axes if isinstance(axis, InterpolationAxis)]
    seeds = [str(axis.seed) for axis in landscape.axes if not isinstance(axis, InterpolationAxis)]
    if seeds:
        found.append(f"random, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}")
    return "; ".join(found)
