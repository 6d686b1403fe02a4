"""The page of a comparison: its findings, its figures, and the runs' landscapes on one scale."""

from __future__ import annotations

from safescape.landscape import Comparison, Landscape
from safescape.survey import InterpolationAxis
from safescape.views.pages import payload
from safescape.views.pages.document import FILE, Document, Home, compose
from safescape.views.series import curves, planes, samples
from safescape.views.text.comparison import findings_of, headings_of, listed, measured_in, names_of, shared_limit
from safescape.views.text.comparison_tables import capability_beside, differences_of, every_point_of, runs_of
from safescape.views.text.provenance import subjects_of
from safescape.views.text.words import limit_text, plain, shortened


def render_comparison(comparison: Comparison) -> str:
    """Return comparison.html for several runs, finished or not."""
    return compose_comparison(comparison).text


def compose_comparison(comparison: Comparison, home: Home = FILE) -> Document:
    """Return the page of several runs, finished or not, as a file or served."""
    comparison = comparison.decided
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
        several=len(first.axes) > 1,
        landscape=first,
        limit=limit_text(shared_limit(comparison)),
        is_shared=shared_limit(comparison).kind == "shared",
        points=every_point_of(comparison),
        runs=runs_of(comparison),
        subjects=set().union(*map(subjects_of, comparison.landscapes)),
    )


def _payload(comparison: Comparison) -> payload.ComparisonPayload:
    landscapes, names = comparison.landscapes, [plain(name) for name in names_of(comparison)]
    runs = list(zip(names, landscapes, strict=True))
    lines: payload.ComparedLines | None = None
    planes: payload.ComparedPlanes | None = None
    if landscapes[0].subspace == "plane":
        planes = {"headings": headings_of(landscapes), "runs": [_map(name, landscape) for name, landscape in runs]}
    else:
        axes = [axis for landscape in landscapes for axis in landscape.axes]
        lines = {
            "scale": payload.scale_of(axes),
            "between": any(isinstance(axis, InterpolationAxis) for axis in axes),
            "runs": [curves.courses_of(landscape)[0]._replace(label=name) for name, landscape in runs],
            "measures": curves.panels_of(landscapes),
        }
    rounded = any(landscape.survey.dtype != "float32" for landscape in landscapes)
    return {"limit": payload.limit_of(shared_limit(comparison)), "rounded": rounded, "lines": lines, "planes": planes}


def _map(label: str, landscape: Landscape) -> payload.ComparedMap:
    models = samples.named_models(landscape).items()
    return {
        "label": label,
        "across": landscape.axes[0].grid,
        "up": landscape.axes[1].grid,
        "values": planes.layers_of(landscape)[0].values,
        "marks": [{"label": name, "place": sample.effective, "asr": sample.asr} for name, sample in models],
    }
