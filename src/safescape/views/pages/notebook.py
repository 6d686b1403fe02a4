"""A run as a notebook shows it: its verdict, its key figures with their intervals, its picture.

No prompt and no answer is in it. One piece of HTML with styles of its own: no script, and nothing is fetched.
"""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

from safescape.landscape import Landscape
from safescape.views.figures.figure import draw
from safescape.views.text.summary import figures_of
from safescape.views.text.verdict import verdict_of
from safescape.views.text.words import lead_of, printable

__all__ = ["notebook_of"]


def notebook_of(landscape: Landscape, directory: Path) -> str:
    """Return the HTML that stands under a cell.

    Args:
        landscape: Of the run.
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
        f"<p><strong>{escape(verdict.headline)}</strong></p>"
        f"<p>{escape(verdict.detail)}</p>"
        "<table><thead><tr><th style='text-align:left'>figure</th><th>value</th><th>95 % interval</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f"<img style='width:100%;background:#fff' alt='{escape(lead_of(landscape))}' "
        f"src='data:image/png;base64,{picture}'>"
        f"<p>Every answer: <code>{escape(printable(report))}</code></p>"
        "</div>"
    )
