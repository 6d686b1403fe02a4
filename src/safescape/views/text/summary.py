"""A run's key figures, each with what it means.

Plain text: who sets it on a page escapes it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from safescape.landscape import Landscape, Metric
from safescape.survey import InterpolationAxis
from safescape.views.series.curves import other_model
from safescape.views.text.words import interval_text, value_text

__all__ = ["KeyFigure", "figures_of"]


class KeyFigure(NamedTuple):
    """One figure with its interval and what it means."""

    key: str
    label: str
    value: str
    interval: str
    meaning: str
    per_line: tuple[tuple[str, str], ...]
    """(direction, value)."""
    marks: tuple[float, ...]
    """Where the lines' values lie on the figure's scale, percent."""
    at: float
    band: tuple[float, float]
    """Where the interval begins and how wide it is, percent of the scale."""


def figures_of(landscape: Landscape) -> list[KeyFigure]:
    """Return the key figures; without a basin, and on each subspace, only those that mean something there."""
    safe = f"{landscape.safe_below:g} %"
    plane, path = landscape.subspace == "plane", isinstance(landscape.axes[0], InterpolationAxis)
    models = [
        _figure(
            landscape.metrics["origin_asr"],
            "origin_asr",
            "ASR at the origin",
            "Harmful requests that the model, as it stands, does not refuse. Lower is safer.",
            unit=" %",
        )
    ]
    if other := other_model(landscape):
        metric = Metric(value=other.asr, low=other.low, high=other.high)
        meaning = "The same of the model that the line leads to, at α = 1."
        models.append(_figure(metric, "other_asr", "ASR of the other model", meaning, unit=" %"))
    auc = _figure(
        landscape.metrics["safety_auc"],
        "safety_auc",
        "Safety AUC",
        f"Mean of 100 − ASR over the whole {'plane' if plane else 'span'}, nothing trimmed: it sees how deep and how "
        "wide the basin is. Higher is safer.",
    )
    if landscape.has_basin is False:
        return [*models, auc] if landscape.metrics["safety_auc"].value is not None else models
    reach = [max(-axis.low, axis.high) for axis in landscape.axes]
    unit = "the distance to the other model" if path else "its own norm"
    far = "from the origin on the plane" if plane else "along the line" if path else "every weight tensor can move"
    radius = _figure(
        landscape.metrics["basin_radius"],
        "basin_radius",
        "Basin radius",
        f"How far {far}, in units of {unit}, {'until' if plane or path else 'before'} the ASR passes {safe}. "
        "Larger is safer.",
        decimals=3,
        scale=math.hypot(*reach) if plane else max(reach),
    )
    visage = _figure(
        landscape.metrics["visage"],
        "visage",
        "VISAGE",
        "Mean of 100 − ASR over the points where at least one request is refused (the paper's formula). "
        "Higher is safer; it does not see how wide the basin is.",
    )
    reference = _figure(
        landscape.metrics["visage_reference"],
        "visage_reference",
        "VISAGE, released code",
        "What the paper's published script computes, which cuts off the saturated ends. For comparison with "
        "numbers made by it.",
    )
    if not plane:
        return [*models, radius, visage, reference, auc]
    return [*models, visage, auc] if path else [*models, radius, visage, auc]


def _figure(
    metric: Metric,
    key: str,
    label: str,
    meaning: str,
    *,
    unit: str = "",
    decimals: int = 1,
    scale: float = 100.0,
) -> KeyFigure:
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
