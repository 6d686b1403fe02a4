"""The report page of a run: one HTML file that works offline and treats every answer as hostile text.

Untrusted text (prompts, answers, names, paths) reaches the page in two ways only: through Jinja's autoescape, or as
JSON in a data block that the script reads and sets with `textContent`. A Content-Security-Policy in the page forbids
the network and every script but those that are embedded here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from safescape.landscape import Landscape
from safescape.store import Store
from safescape.views.curves import extent_of, mean_edges, waypoints_of
from safescape.views.payload import payload_of
from safescape.views.provenance import facts_of, limits_of, origin_check
from safescape.views.summary import figures_of
from safescape.views.tables import capability_of, points_of, probes_of
from safescape.views.verdict import verdict_of
from safescape.views.words import judge_of, lead_of, printable, subject_of

__all__ = ["render"]

_SCRIPTS = ("data.js", "lines.js", "plane.js", "plot.js", "maps.js", "answers.js")


def render(store: Store, landscape: Landscape) -> str:
    """Return report.html for a run, finished or not.

    Args:
        store: The run, for the answers and the provenance.
        landscape: Its figures; points that are not in it are not on the page.

    """
    plotly = _plotly()
    scripts = [_template(name) for name in _SCRIPTS]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            policy=_policy(*(_hash(script.encode()) for script in scripts), plotly.source_hash),
            style=Markup(_template("report.css")),
            scripts=[Markup(script) for script in scripts],
            plotly=Markup(plotly.compressed),
            data=Markup(_embedded(payload_of(store, landscape))),
            model=landscape.survey.get("model", ""),
            verdict=verdict_of(landscape),
            figures=figures_of(landscape),
            has_basin=landscape.has_basin,
            shaded=mean_edges(landscape) is not None,
            complete=landscape.complete,
            extent=extent_of(landscape),
            judge=judge_of(landscape),
            safe_below=landscape.safe_below,
            subject=subject_of(landscape),
            lead=lead_of(landscape),
            plane=landscape.subspace == "plane",
            probes=probes_of(landscape),
            paired=bool(landscape.differences),
            capability=capability_of(landscape),
            points=points_of(landscape),
            passed=waypoints_of(landscape),
            limits=limits_of(landscape),
            facts=facts_of(store, landscape),
            sessions=store.sessions(),
            origin_checks=[origin_check(session) for session in store.sessions()],
        )
    )


class _Plotly(NamedTuple):
    compressed: str
    """gzip, base64: a quarter of the size, and no line of four megabytes in the file."""
    source_hash: str


@cache
def _plotly() -> _Plotly:
    source = get_plotlyjs().encode()
    return _Plotly(base64.b64encode(gzip.compress(source, 9, mtime=0)).decode(), _hash(source))


def _policy(*hashes: str) -> str:
    """Nothing may be fetched or sent; only the scripts with these hashes may run. Plotly sets inline styles."""
    allowed = " ".join(f"'{known}'" for known in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(source: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source).digest()).decode()}"


def _embedded(data: object) -> str:
    """JSON for a data block: nothing in it can end the block, open a comment, or fail to encode."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u007f-\u009f\u2028\u2029\ud800-\udfff]", lambda sign: f"\\u{ord(sign[0]):04x}", text)


def _legible(value: object) -> str:
    """Untrusted text of several lines: what cannot be printed shows as U+FFFD."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("safescape.views", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    environment.filters["legible"] = _legible
    return environment


@cache
def _template(name: str) -> str:
    """A file beside the template that is embedded as it is, not rendered."""
    environment = _environment()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return source.replace("\r\n", "\n")  # as a browser reads it, or the policy's hash would not fit
