"""The key figures of a run, each with its interval and its meaning."""

from __future__ import annotations

import math
from typing import NamedTuple

from safescape.landscape import OF_A_BASIN, Landscape, Metric
from safescape.survey import InterpolationAxis
from safescape.views.series.curves import other_model
from safescape.views.text.words import decimals_of, interval_text, value_text


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


def figures_of(landscape: Landscape) -> list[KeyFigure]:
    """Return the key figures that mean something: without a basin none of a basin, on a plane none of a line."""
    safe = f"{landscape.safe_below:g} %"
    plane, path = landscape.subspace == "plane", isinstance(landscape.axes[0], InterpolationAxis)
    reach = [max(-axis.low, axis.high) for axis in landscape.axes]
    metrics = {key: landscape.metrics[key] for key in ("origin_asr", *OF_A_BASIN, "safety_auc")}
    if other := other_model(landscape):
        metrics["other_asr"] = Metric(value=other.asr, low=other.low, high=other.high)
    shown = ["origin_asr", "other_asr", "basin_radius", "visage", "visage_reference", "safety_auc"]
    if plane:
        shown = [key for key in shown if key != "visage_reference" and not (path and key == "basin_radius")]
    if landscape.has_basin is False:
        has_auc = metrics["safety_auc"].value is not None
        shown = ["origin_asr", "other_asr", *(["safety_auc"] if has_auc else [])]
    far = "from the origin on the plane" if plane else "along the line" if path else "every weight tensor can move"
    unit = "the distance to the other model" if path else "its own norm"
    told = {
        "origin_asr": (
            "ASR at the origin",
            "Harmful requests that the model, as it stands, does not refuse. Lower is safer.",
        ),
        "other_asr": ("ASR of the other model", "The same for the model at the end of the line, α = 1."),
        "basin_radius": (
            "Basin radius",
            f"How far {far}, in units of {unit}, {'until' if plane or path else 'before'} the ASR passes {safe}. "
            "Larger is safer.",
        ),
        "visage": (
            "VISAGE",
            "Mean of 100 − ASR over the points where at least one request is refused (the paper's formula). "
            "Higher is safer; it does not depend on how wide the basin is.",
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
    return [_figure(key, *told[key], metrics[key], scales.get(key, 100.0)) for key in shown if key in metrics]


def _figure(key: str, label: str, meaning: str, metric: Metric, scale: float) -> KeyFigure:
    decimals, unit = decimals_of(key), " %" if key in ("origin_asr", "other_asr") else ""
    lines = metric.per_line if len(metric.per_line) > 1 else ()
    per_line = [(line, value) for line, value in enumerate(lines, start=1) if value is not None]
    low, high, at = (100.0 * (value or 0.0) / scale for value in (metric.low, metric.high, metric.value))
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
    )
