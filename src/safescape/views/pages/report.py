"""A run as a page, finished or not, from a file or served while it grows; and as a notebook's cell shows it."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

from safescape.landscape import Landscape
from safescape.store import Store
from safescape.views.figures.figure import draw
from safescape.views.pages.document import FILE, Document, Home, compose
from safescape.views.pages.run_payload import blocks_of, payload_of
from safescape.views.series.curves import extent_of, is_basin_shown, mean_edges, waypoints_of
from safescape.views.series.outcomes import finest_of
from safescape.views.text.provenance import facts_of, limits_of, origin_check
from safescape.views.text.summary import figures_of
from safescape.views.text.tables import agreement_of, capability_of, judges_of, points_of, probes_of
from safescape.views.text.verdict import verdict_of
from safescape.views.text.words import all_judges_of, judge_of, lead_of, printable, subject_of


def render(store: Store, landscape: Landscape) -> str:
    """Return report.html for a run.

    Args:
        store: The run, for the answers and the provenance.
        landscape: Its figures; points that are not in it are not on the page.

    """
    return compose_page(store, landscape).text


def compose_page(store: Store, landscape: Landscape, home: Home = FILE, name: str = "") -> Document:
    """Return the page of a run, as a file or served under a name.

    Args:
        store: The run.
        landscape: Its figures.
        home: Where the page is read.
        name: The name by which the server knows the run.

    """
    return compose(
        "report.html.j2",
        "report.js",
        payload_of(store, landscape, name),
        home=home,
        blocks=() if home.served else blocks_of(store, landscape),
        model=landscape.survey.model,
        verdict=verdict_of(landscape),
        figures=figures_of(landscape),
        has_basin=landscape.has_basin,
        shaded=mean_edges(landscape) is not None,
        is_basin_shown=is_basin_shown(landscape),
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


def notebook_of(landscape: Landscape, directory: Path) -> str:
    """Return a run's verdict, key figures and picture as HTML for a notebook's cell.

    It has no prompt, no answer and no script, and fetches nothing.

    Args:
        landscape: The run's figures.
        directory: The run directory, to be named.

    """
    verdict = verdict_of(landscape)
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left' title='{escape(figure.meaning)}'>{escape(figure.label)}</th>"
        f"<td>{escape(figure.value)}</td><td>{escape(figure.interval)}</td></tr>"
        for figure in figures_of(landscape)
    )
    image, report = io.BytesIO(), directory / "report.html"
    draw(landscape).savefig(image, format="png", dpi=110)
    picture = base64.b64encode(image.getvalue()).decode()
    return (
        "<div style='max-width:800px'>"
        f"<p><strong>{escape(verdict.sentence)}</strong></p>"
        f"<p>{escape(verdict.detail)}</p>"
        "<table><thead><tr><th style='text-align:left'>figure</th><th>value</th><th>95 % interval</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f"<img style='width:100%;background:#fff' alt='{escape(lead_of(landscape))}' "
        f"src='data:image/png;base64,{picture}'>"
        f"<p>Every answer: <code>{escape(printable(report))}</code></p>"
        "</div>"
    )
