"""The page of a comparison: its findings, its figures, and the runs' landscapes on one scale."""

from __future__ import annotations

import math

from safescape.landscape import Comparison, Landscape
from safescape.survey import InterpolationAxis
from safescape.views.pages.document import FILE, Document, Home, compose
from safescape.views.series.contrast import listed, measured_in, names_of, panels_of
from safescape.views.series.curves import Course, courses_of, origin_of, other_model, third_model
from safescape.views.series.layers import layers_of
from safescape.views.text.comparison import capability_beside, differences_of, every_point_of, runs_of
from safescape.views.text.findings import findings_of
from safescape.views.text.provenance import limits_of
from safescape.views.text.words import heading_of, lead_of, plain, shortened, title_of

__all__ = ["compose_comparison", "render_comparison"]

_SCRIPTS = ("source.js", "drawing.js", "overlay.js", "multiples.js", "compare.js")


def render_comparison(comparison: Comparison) -> str:
    """Return comparison.html for several runs, finished or not."""
    return compose_comparison(comparison).text


def compose_comparison(comparison: Comparison, home: Home = FILE) -> Document:
    """Return the same page for one of its homes."""
    first, names = comparison.landscapes[0], names_of(comparison)
    return compose(
        "comparison.html.j2",
        _SCRIPTS,
        _payload(comparison),
        home=home,
        title=listed(names, 400),
        first=shortened(names[0], 60),
        measured=measured_in(comparison),
        findings=findings_of(comparison),
        complete=all(landscape.complete for landscape in comparison.landscapes),
        has_no_basin=any(landscape.has_basin is False for landscape in comparison.landscapes),
        differences=differences_of(comparison),
        capability=capability_beside(comparison),
        plane=first.subspace == "plane",
        several=len(first.axes) > 1 and first.subspace != "plane",
        lead=lead_of(first),
        safe_below=first.safe_below,
        points=every_point_of(comparison),
        runs=runs_of(comparison),
        limits=list(dict.fromkeys(limit for landscape in comparison.landscapes for limit in limits_of(landscape))),
    )


def _payload(comparison: Comparison) -> dict[str, object]:
    """What the page's script draws. Its keys are the script's; what goes into a plotly label is made plain."""
    first, landscapes = comparison.landscapes[0], comparison.landscapes
    plane = first.subspace == "plane"
    return {
        "kind": first.subspace,
        "safeBelow": first.safe_below,
        "rounded": any(landscape.survey.get("dtype", "float32") != "float32" for landscape in landscapes),
        "runs": [
            {"label": plain(name), **(_map(landscape) if plane else {"pieces": _pieces(courses_of(landscape)[0])})}
            for name, landscape in zip(names_of(comparison), landscapes, strict=True)
        ],
        **(_axes_of_planes(comparison) if plane else _axes_of_lines(comparison)),
    }


def _pieces(course: Course) -> list[list[dict[str, float]]]:
    return [[reading._asdict() for reading in piece] for piece in course.pieces]


def _axes_of_lines(comparison: Comparison) -> dict[str, object]:
    axes = [axis for landscape in comparison.landscapes for axis in landscape.axes]
    return {
        "low": min(axis.low for axis in axes),
        "high": max(axis.high for axis in axes),
        "title": title_of(axes[0]),
        "between": any(isinstance(axis, InterpolationAxis) for axis in axes),
        "measures": [
            {
                "kind": panel.kind,
                "label": panel.label,
                "runs": [{"run": number, "pieces": _pieces(course)} for number, course in panel.courses],
            }
            for panel in panels_of(comparison)
        ],
    }


def _axes_of_planes(comparison: Comparison) -> dict[str, object]:
    said = [{heading_of(place, landscape.axes) for landscape in comparison.landscapes} for place in (0, 1)]
    return {"headings": [each.pop() if len(each) == 1 else sign for each, sign in zip(said, "αβ", strict=True)]}


def _map(landscape: Landscape) -> dict[str, object]:
    """A run's ASR over its grid, and where the models that have a name stand."""
    values = layers_of(landscape)[0].values.tolist()
    marks = (origin_of(landscape), other_model(landscape), third_model(landscape))
    return {
        "across": landscape.axes[0].grid,
        "up": landscape.axes[1].grid,
        "values": [[value if math.isfinite(value) else None for value in row] for row in values],
        "marks": [
            {"label": label, "place": sample.effective, "asr": sample.asr}
            for label, sample in zip(("origin", "other model", "third model"), marks, strict=True)
            if sample is not None
        ],
    }
