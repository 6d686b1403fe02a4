"""What both pages are: one HTML file that works offline and treats names, prompts and answers as hostile text.

Untrusted text reaches a page in two ways only: through Jinja's autoescape, or as JSON in a data block that the script
reads and sets with `textContent`. A Content-Security-Policy in the page forbids the network and every script but those
that are embedded here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from safescape.views.words import printable

__all__ = ["embedded", "render_document"]


def render_document(template: str, scripts: Sequence[str], data: object, **values: object) -> str:
    """Return a page.

    Args:
        template: The file beside `document.html.j2` that fills it in.
        scripts: Files beside it, run in this order after the page is there.
        data: What they read; anything that JSON has.
        values: What the template shows. Strings in them are escaped.

    """
    plotly = _plotly()
    sources = [_source(name) for name in scripts]
    return (
        _environment()
        .get_template(template)
        .render(
            policy=_policy(*(_hash(source.encode()) for source in sources), plotly.source_hash),
            style=Markup(_source("document.css")),
            scripts=[Markup(source) for source in sources],
            plotly=Markup(plotly.compressed),
            data=Markup(embedded(data)),
            **values,
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


def embedded(data: object) -> str:
    """Return JSON for a data block: nothing in it can end the block, open a comment, or fail to encode."""
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
def _source(name: str) -> str:
    """A file beside the template that is embedded as it is, not rendered."""
    environment = _environment()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return source.replace("\r\n", "\n")  # as a browser reads it, or the policy's hash would not fit
