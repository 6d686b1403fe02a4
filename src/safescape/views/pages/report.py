"""The page of a run: its verdict, its landscape, and every answer; a file, or served while the run grows."""

from __future__ import annotations

from safescape.landscape import Landscape
from safescape.store import Store
from safescape.views.pages.answers import blocks_of
from safescape.views.pages.document import FILE, Document, Home, compose
from safescape.views.pages.payload import payload_of
from safescape.views.series.curves import extent_of, mean_edges, waypoints_of
from safescape.views.series.outcomes import finest_of
from safescape.views.text.provenance import facts_of, limits_of, origin_check
from safescape.views.text.summary import figures_of
from safescape.views.text.tables import agreement_of, capability_of, judges_of, points_of, probes_of
from safescape.views.text.verdict import verdict_of
from safescape.views.text.words import all_judges_of, judge_of, lead_of, printable, subject_of

__all__ = ["compose_page", "render"]

_SCRIPTS = (
    "source.js",
    "drawing.js",
    "data.js",
    "lines.js",
    "plane.js",
    "plot.js",
    "maps.js",
    "judges.js",
    "answers.js",
    "pinned.js",
    "keys.js",
    "following.js",
    "report.js",
)


def render(store: Store, landscape: Landscape) -> str:
    """Return report.html for a run, finished or not.

    Args:
        store: The run, for the answers and the provenance.
        landscape: Its figures; points that are not in it are not on the page.

    """
    return compose_page(store, landscape).text


def compose_page(store: Store, landscape: Landscape, home: Home = FILE, name: str = "") -> Document:
    """Return the page of a run for one of its homes.

    Args:
        store: The run.
        landscape: Its figures.
        home: Where the page is read.
        name: What the server calls the run.

    """
    data = payload_of(store, landscape)
    return compose(
        "report.html.j2",
        _SCRIPTS,
        {**data, "run": name} if home.served else data,
        home=home,
        blocks=() if home.served else blocks_of(store, landscape),
        model=landscape.survey.get("model", ""),
        verdict=verdict_of(landscape),
        figures=figures_of(landscape),
        has_basin=landscape.has_basin,
        shaded=mean_edges(landscape) is not None,
        complete=landscape.complete,
        extent=extent_of(landscape),
        judge=judge_of(landscape),
        also_read_by=[printable(judge) for judge in all_judges_of(landscape)[1:]],
        safe_below=landscape.safe_below,
        subject=subject_of(landscape),
        lead=lead_of(landscape),
        plane=landscape.subspace == "plane",
        probes=probes_of(landscape),
        judges=judges_of(landscape),
        agreement=agreement_of(landscape),
        tells_noise=finest_of(landscape) is not None,
        paired=bool(landscape.differences),
        capability=capability_of(landscape),
        points=points_of(landscape),
        passed=waypoints_of(landscape),
        limits=limits_of(landscape),
        facts=facts_of(store, landscape),
        sessions=store.sessions(),
        origin_checks=[origin_check(session) for session in store.sessions()],
    )
