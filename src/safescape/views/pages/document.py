"""What all pages share: one HTML document in which names, prompts and answers are untrusted text.

A page is a file or served. A file works offline and holds all that it needs; a served page is the same document, and
its script fetches from the server what a file holds: plotly, the answers at a point, and newer versions of the page.

Untrusted text reaches a page in two ways only: through Jinja's autoescape, or as JSON in a data block that the script
reads and sets with `textContent`. A Content-Security-Policy allows no script but those that are embedded here, and no
network: none at all in a file, only the server itself in a served page.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from math import isfinite
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from safescape.views.pages.linker import linked
from safescape.views.text.words import legible, printable


class Home(NamedTuple):
    """Where a page is read."""

    served: bool
    version: str = ""
    """The version of the run that a served page shows. It reloads itself when the server has another one."""


FILE = Home(served=False)


class Document(NamedTuple):
    """A page and its Content-Security-Policy, which is in the page as well."""

    text: str
    policy: str


def compose(
    template: str,
    script: str,
    data: object,
    *,
    home: Home = FILE,
    blocks: Iterable[tuple[int, bytes]] = (),
    plots: bool = True,
    **values: object,
) -> Document:
    """Return a page.

    Args:
        template: The template that extends `document.html.j2`.
        script: The module of `scripts/` to begin with.
        data: The script's payload, one of those in `payload.py`.
        home: Where the page is read.
        blocks: Numbered blocks of answers that a file holds beside its payload: gzip-compressed JSON.
        plots: Whether the script draws with plotly.
        values: The template's variables. Strings in them are escaped.

    """
    source = linked(script)
    policy = _policy(home, _hash(source.encode()), *([_plotly_hash()] if plots else []))
    # a file holds plotly compressed: a quarter of the size, and no line of four megabytes
    plotly = Markup(base64.b64encode(plotly_source()).decode()) if plots and not home.served else None
    text = rendered(
        template,
        policy=policy,
        served=home.served,
        version=home.version,
        script=Markup(source),
        plotly=plotly,
        blocks=((number, Markup(base64.b64encode(block).decode())) for number, block in blocks),
        data=Markup(embedded(data)),
        **values,
    )
    return Document(text, policy)


def rendered(template: str, **values: object) -> str:
    """Return a template with its variables set; strings in them are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def plotly_source() -> bytes:
    """Return plotly, gzip-compressed, for a server to send; a page's policy allows this very script."""
    return gzip.compress(get_plotlyjs().encode(), 9, mtime=0)


@cache
def _plotly_hash() -> str:
    return _hash(get_plotlyjs().encode())


def _policy(home: Home, *hashes: str) -> str:
    """The policy under which only the scripts with these hashes run. Plotly sets inline styles."""
    allowed = " ".join(f"'{known}'" for known in hashes)
    connect, form = ("connect-src 'self'; ", "'self'") if home.served else ("", "'none'")
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; {connect}"
        f"img-src data: blob:; base-uri 'none'; form-action {form}"
    )


def _hash(source: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source).digest()).decode()}"


def embedded(data: object) -> str:
    """Return JSON for a data block: it cannot end the block, open a comment, or fail to encode.

    A named tuple becomes an object, an array a list with null for what is not finite.
    """
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u007f-\u009f\u2028\u2029\ud800-\udfff]", lambda sign: f"\\u{ord(sign[0]):04x}", text)


def _plain(data: object) -> object:
    if isinstance(data, np.ndarray):
        return [_plain(row) for row in data] if data.ndim > 1 else [v if isfinite(v) else None for v in data.tolist()]
    if isinstance(data, tuple) and hasattr(data, "_asdict"):
        data = data._asdict()
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(value) for value in data] if isinstance(data, (list, tuple)) else data


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("safescape.views.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    environment.filters["legible"] = legible
    return environment
