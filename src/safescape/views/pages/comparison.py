"""The page of a comparison: its findings, its figures, and the runs' landscapes on one scale."""

from __future__ import annotations

from safescape.landscape import Comparison, Landscape
from safescape.survey import InterpolationAxis
from safescape.views.pages import payload
from safescape.views.pages.document import FILE, Document, Home, compose
from safescape.views.series.contrast import listed, measured_in, names_of, panels_of
from safescape.views.series.curves import Course, courses_of, origin_of, other_model, third_model
from safescape.views.series.layers import layers_of
from safescape.views.text.findings import findings_of
from safescape.views.text.provenance import limits_of
from safescape.views.text.tables import capability_beside, differences_of, every_point_of, runs_of
from safescape.views.text.words import heading_of, lead_of, plain, shortened, title_of


def render_comparison(comparison: Comparison) -> str:
    """Return comparison.html for several runs, finished or not."""
    return compose_comparison(comparison).text


def compose_comparison(comparison: Comparison, home: Home = FILE) -> Document:
    """Return the same page, as a file or served."""
    first, names = comparison.landscapes[0], names_of(comparison)
    return compose(
        "comparison.html.j2",
        "comparison.js",
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


def _payload(comparison: Comparison) -> payload.ComparisonPayload:
    landscapes = comparison.landscapes
    plane = landscapes[0].subspace == "plane"
    return {
        "safe_below": landscapes[0].safe_below,
        "rounded": any(landscape.survey.dtype != "float32" for landscape in landscapes),
        "lines": None if plane else _lines(comparison),
        "planes": _planes(comparison) if plane else None,
    }


def _lines(comparison: Comparison) -> payload.ComparedLines:
    axes = [axis for landscape in comparison.landscapes for axis in landscape.axes]

    def pieces(course: Course) -> list[list[payload.ReadingData]]:
        return [payload.readings_of(piece) for piece in course.pieces]

    return {
        "scale": {
            "low": min(axis.low for axis in axes),
            "high": max(axis.high for axis in axes),
            "title": title_of(axes[0]),
        },
        "between": any(isinstance(axis, InterpolationAxis) for axis in axes),
        "runs": [
            {"label": plain(name), "pieces": pieces(courses_of(landscape)[0])}
            for name, landscape in zip(names_of(comparison), comparison.landscapes, strict=True)
        ],
        "measures": [
            {
                "kind": panel.kind,
                "label": panel.label,
                "runs": [{"run": number, "pieces": pieces(course)} for number, course in panel.courses],
            }
            for panel in panels_of(comparison)
        ],
    }


def _planes(comparison: Comparison) -> payload.ComparedPlanes:
    landscapes = comparison.landscapes
    headings = [{heading_of(place, landscape.axes) for landscape in landscapes} for place in (0, 1)]
    return {
        # runs along directions of their own have no heading in common
        "headings": [each.pop() if len(each) == 1 else sign for each, sign in zip(headings, "αβ", strict=True)],
        "runs": [_map(plain(name), run) for name, run in zip(names_of(comparison), landscapes, strict=True)],
    }


def _map(label: str, landscape: Landscape) -> payload.ComparedMap:
    models = (
        ("origin", origin_of(landscape)),
        ("other model", other_model(landscape)),
        ("third model", third_model(landscape)),
    )
    return {
        "label": label,
        "across": landscape.axes[0].grid,
        "up": landscape.axes[1].grid,
        "values": payload.cells_of(layers_of(landscape)[0].values),
        "marks": [
            {"label": name, "place": sample.effective, "asr": sample.asr}
            for name, sample in models
            if sample is not None
        ],
    }
