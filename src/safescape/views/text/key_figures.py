"""The key figures of a run, each with its interval and its meaning."""

from __future__ import annotations

import math
from typing import NamedTuple

from safescape.landscape import OF_A_BASIN, Landscape, Metric
from safescape.survey import KEYWORD, ComputedAxis, InterpolationAxis
from safescape.views.series.samples import other_model
from safescape.views.text.words import (
    cell,
    decimals_of,
    halving_text,
    interval_text,
    limit_text,
    limit_value,
    value_text,
)

_KEY_FIGURES = ("origin_asr", "visage", "visage_reference", "basin_radius", "safety_auc")


class KeyFigure(NamedTuple):
    """One figure with its interval and its meaning."""

    key: str
    label: str
    value: str
    interval: str
    meaning: str
    per_line: tuple[tuple[str, str], ...]
    """(direction, value)."""
    marks: tuple[float, ...]
    """The positions of the lines' values on the scale of the figure, percent."""
    at: float
    """The position of the value, percent of the scale."""
    band: tuple[float, float]
    """The begin and the width of the interval, percent of the scale."""
    about: str
    """What the interval is about: this direction, random directions; empty where it is about the prompts alone."""
    halving: str
    """How many directions would halve the interval; empty where that is not the question."""
    keyword: str = ""
    """The same figure by the keyword judge, where the refusal judge contradicts it; else empty."""


def figures_of(landscape: Landscape) -> list[KeyFigure]:
    """Return the key figures that mean something: without a basin no radius, on a plane none of a line.

    They are by the judge that `Landscape.decided` names.
    """
    landscape = landscape.decided
    limit, safe = landscape.limit, limit_text(landscape.limit)
    plane, path = landscape.subspace == "plane", isinstance(landscape.axes[0], InterpolationAxis)
    reach = [max(-axis.low, axis.high) for axis in landscape.axes]
    metrics = {key: landscape.metrics[key] for key in _KEY_FIGURES}
    if other := other_model(landscape):
        metrics["other_asr"] = Metric(value=other.asr, low=other.low, high=other.high, unscored=other.unscored)
    hidden = {"visage_reference", *(["basin_radius"] if path else [])} if plane else set()
    if limit.has_basin is False:
        hidden |= {*OF_A_BASIN}
    if limit.has_basin is False and metrics["safety_auc"].value is None:
        hidden |= {"safety_auc", "visage", "visage_reference"}
    far = "from the origin on the plane" if plane else "along the line" if path else "every weight tensor can move"
    unit = "the distance to the other model" if path else "its own norm"
    if isinstance(axis := landscape.axes[0], ComputedAxis) and axis.norm == "none":
        far, unit = "along the direction the weights can move", "the whole removal"
    told = {
        "origin_asr": (
            "ASR at the origin",
            "Harmful requests that the model, as it stands, does not refuse. Lower is safer.",
        ),
        "other_asr": ("ASR of the other model", "The same for the model at the end of the line, α = 1."),
        "basin_radius": (
            "Basin radius" if limit.kind == "absolute" else f"Basin radius to {limit_value(limit)}",
            f"How far {far}, in units of {unit}, {'until' if plane or path else 'before'} the ASR passes {safe}. "
            "Larger is safer.",
        ),
        "visage": (
            "VISAGE",
            "Mean of 100 − ASR over the points where at least one request is refused (the paper's formula). "
            "Higher is safer; it depends on the number of prompts, and not on how wide the basin is.",
        ),
        "visage_reference": (
            "VISAGE, released code",
            "What the paper's published script computes, which cuts off the saturated ends. For comparison with "
            "numbers made by it.",
        ),
        "safety_auc": (
            "Safety AUC",
            f"Mean of 100 − ASR over the whole {'plane' if plane else 'span'}, nothing trimmed: it depends on the "
            "depth and on the width of the basin. Higher is safer.",
        ),
    }
    scales = {"basin_radius": math.hypot(*reach) if plane else max(reach)}
    return [
        _figure(key, label, meaning, metrics[key], scales.get(key, 100.0))._replace(keyword=by_keyword(landscape, key))
        for key, (label, meaning) in told.items()
        if key in metrics and key not in hidden
    ]


def by_keyword(landscape: Landscape, key: str) -> str:
    """Return a key figure by the keyword judge with its interval; empty unless the refusal judge contradicts it."""
    landscape = landscape.decided
    metrics = landscape.by_judge.get(KEYWORD, {})
    if not landscape.clashes or key not in metrics or metrics[key].value is None:
        return ""
    limit = landscape.limit_of(KEYWORD)
    if key in OF_A_BASIN and limit.has_basin is False:
        return "no basin"
    against = f" to {limit_value(limit)}" if key in OF_A_BASIN and limit.value != landscape.limit.value else ""
    return cell(metrics[key], decimals_of(key)) + against


def _figure(key: str, label: str, meaning: str, metric: Metric, scale: float) -> KeyFigure:
    decimals, unit = decimals_of(key), " %" if key in ("origin_asr", "other_asr") else ""
    lines = metric.per_line if len(metric.per_line) > 1 else ()
    per_line = [(line, value) for line, value in enumerate(lines, start=1) if value is not None]
    # an open interval reaches to the end of the scale, and one that is not determined has no width
    ends = (metric.low, metric.high) if (metric.low, metric.high) != (None, None) else (metric.value, metric.value)
    low, at = (100.0 * (value or 0.0) / scale for value in (ends[0], metric.value))
    high = 100.0 if ends[1] is None and metric.value is not None else 100.0 * (ends[1] or 0.0) / scale
    return KeyFigure(
        key,
        label,
        value_text(metric, decimals, unit),
        interval_text(metric, decimals),
        meaning,
        tuple((f"direction {line}", f"{value:.{decimals}f}") for line, value in per_line),
        tuple(100.0 * value / scale for _, value in per_line),
        at,
        (low, high - low),
        metric.about or "",
        halving_text(metric),
    )
