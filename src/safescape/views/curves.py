"""What the picture and the page both draw: the lines of a landscape as curves, their mean, and how to say a figure.

Knows no colour and no drawing library.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from safescape.landscape import Landscape, Metric, PointFigures, wilson
from safescape.survey import Axis, InterpolationAxis

__all__ = [
    "Curve",
    "Extent",
    "Sample",
    "curves_of",
    "extent_of",
    "interval_text",
    "judge_of",
    "label_of",
    "mean_edges",
    "mean_of",
    "printable",
    "title_of",
    "value_text",
]


class Sample(NamedTuple):
    """One measured point of a curve, as the survey's first judge saw it. Rates in percent."""

    alpha: float
    """The coordinate asked for."""
    x: float
    """The coordinate of the weights as rounded: where the point is drawn."""
    n: int
    complied: int
    asr: float
    low: float
    high: float


class Curve(NamedTuple):
    """The measured points of one line in the order of α, the origin among them."""

    line: int
    label: str
    samples: tuple[Sample, ...]
    complete: bool


class Extent(NamedTuple):
    """How much of a survey is measured."""

    measured: int
    total: int
    """Points, the origin counted once."""
    prompts: int
    directions: int


def sample_of(figures: PointFigures) -> Sample:
    """Return a point as the first judge sees it: an attack succeeds where the model complied."""
    low, high = wilson(figures.complied, figures.n)
    asr = 100.0 * figures.complied / figures.n
    return Sample(figures.coords[0], figures.effective[0], figures.n, figures.complied, asr, low, high)


def curves_of(landscape: Landscape) -> list[Curve]:
    """Return one curve a line, also of the lines of which only the origin is measured."""
    found = []
    for line, axis in enumerate(landscape.axes):
        samples = tuple(sample_of(figures) for figures in landscape.on_line(line))
        found.append(Curve(line, label_of(line, axis), samples, {s.alpha for s in samples} >= set(axis.grid)))
    return found


def label_of(line: int, axis: Axis) -> str:
    """Return what a line is called. Without the name of a model, which is hostile text to a drawing library."""
    if isinstance(axis, InterpolationAxis):
        return "line to the other model"
    return f"direction {line + 1} (seed {axis.seed})"


def title_of(axis: Axis, sign: str = "α") -> str:
    """Return what stands beside an axis."""
    if isinstance(axis, InterpolationAxis):
        return f"{sign}, from the origin (0) to the other model (1)"
    return f"{sign}, how far every weight tensor has moved (1 = its own norm)"


def mean_of(curves: list[Curve]) -> list[tuple[float, float]]:
    """Return (x, ASR) of the mean over the complete curves, at the coordinates that all of them have.

    Unfinished curves stay out: a mean over other lines at every point would show steps that no model has. Empty
    if fewer than two curves are complete.
    """
    whole = [{sample.alpha: sample for sample in curve.samples} for curve in curves if curve.complete]
    if len(whole) < 2:
        return []
    shared = sorted(set.intersection(*(set(samples) for samples in whole)))
    return [
        (
            sum(samples[alpha].x for samples in whole) / len(whole),
            sum(samples[alpha].asr for samples in whole) / len(whole),
        )
        for alpha in shared
    ]


def mean_edges(landscape: Landscape) -> tuple[float, float] | None:
    """Return where the basin ends, averaged over the finished lines; None where there is no basin to show."""
    found = [edges for edges in landscape.edges if edges is not None]
    if not landscape.has_basin or not found:
        return None
    return (sum(left for left, _ in found) / len(found), sum(right for _, right in found) / len(found))


def extent_of(landscape: Landscape) -> Extent:
    """Count what is measured of the survey's first probe, and what was to be measured."""
    first = landscape.points[0].probe if landscape.points else ""
    here = [point for point in landscape.points if point.probe == first]
    grids = [len(axis.grid) for axis in landscape.axes]
    total = math.prod(grids) if landscape.subspace == "plane" else 1 + sum(size - 1 for size in grids)
    through = landscape.survey.get("through")
    total += len(through) if isinstance(through, (list, tuple)) else 0
    return Extent(len(here), total, here[0].n if here else 0, len(landscape.axes))


def judge_of(landscape: Landscape) -> str:
    """Return the name of the judge that the figures are of."""
    judges = landscape.survey.get("judges")
    return printable(judges[0]) if isinstance(judges, (list, tuple)) and judges else "keyword"


def printable(value: object) -> str:
    """Return untrusted text as one line that any drawing library can set: no control characters, no lone surrogates."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def value_text(metric: Metric, decimals: int = 1, unit: str = "") -> str:
    """Return a metric's value, as `71.2`, `0.0 %` or `≥ 0.50`; a dash where it was not measured."""
    if metric.value is None:
        return "–"
    return f"{'≥ ' if metric.at_least else ''}{metric.value:.{decimals}f}{unit}"


def interval_text(metric: Metric, decimals: int = 1, unit: str = "") -> str:
    """Return a metric's 95 % interval, as `66.0 to 75.9` or `0.487 or more`; empty where it was not measured."""
    if metric.low is None or metric.high is None:
        return ""
    if metric.at_least:
        return f"{metric.low:.{decimals}f}{unit} or more"
    return f"{metric.low:.{decimals}f} to {metric.high:.{decimals}f}{unit}"
