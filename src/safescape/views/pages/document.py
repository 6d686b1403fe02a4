"""What all pages are: one HTML document that treats names, prompts and answers as hostile text.

A page has one of two homes. A file works offline and holds all it needs; a served page is the same document, and its
script asks the server for what a file would hold: plotly, what was said at a point, and whether there is more by now.

Untrusted text reaches a page in two ways only: through Jinja's autoescape, or as JSON in a data block that the script
reads and sets with `textContent`. A Content-Security-Policy forbids every script but those that are embedded here, and
the network: all of it in a file, all but the server itself in a served page.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from safescape.views.text.words import printable

__all__ = ["FILE", "Document", "Home", "compose", "embedded", "plotly_source"]


class Home(NamedTuple):
    """Where a page is read."""

    served: bool
    version: str = ""
    """What of a run a served page shows; another one on the server means that there is more."""


FILE = Home(served=False)


class Document(NamedTuple):
    """A page and what it may do."""

    text: str
    policy: str
    """Its Content-Security-Policy, as the page has it too."""


def compose(
    template: str,
    scripts: Sequence[str],
    data: object,
    *,
    home: Home = FILE,
    blocks: Iterable[tuple[int, bytes]] = (),
    plots: bool = True,
    **values: object,
) -> Document:
    """Return a page.

    Args:
        template: The file beside `document.html.j2` that fills it in.
        scripts: Files beside it, run in this order after the page is there.
        data: What they read; anything that JSON has.
        home: Where it is read.
        blocks: What a file holds beside its data, by number: compressed JSON.
        plots: Whether it draws with plotly.
        values: What the template shows. Strings in them are escaped.

    """
    plotly = _plotly() if plots else None
    sources = [_source(name) for name in scripts]
    hashes = [_hash(source.encode()) for source in sources]
    policy = _policy(home, [*hashes, *([plotly.source_hash] if plotly else [])])
    text = (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            served=home.served,
            version=home.version,
            style=Markup(_source("document.css")),
            scripts=[Markup(source) for source in sources],
            plotly=Markup(plotly.compressed) if plotly and not home.served else None,
            blocks=((number, Markup(base64.b64encode(block).decode())) for number, block in blocks),
            data=Markup(embedded(data)),
            **values,
        )
    )
    return Document(text, policy)


@cache
def plotly_source() -> bytes:
    """Return plotly, compressed, as a server hands it out; it is the very script that a page's policy allows."""
    return base64.b64decode(_plotly().compressed)


class _Plotly(NamedTuple):
    compressed: str
    """gzip, base64: a quarter of the size, and no line of four megabytes in the file."""
    source_hash: str


@cache
def _plotly() -> _Plotly:
    source = get_plotlyjs().encode()
    return _Plotly(base64.b64encode(gzip.compress(source, 9, mtime=0)).decode(), _hash(source))


def _policy(home: Home, hashes: Sequence[str]) -> str:
    """Only the scripts with these hashes may run. Plotly sets inline styles."""
    allowed = " ".join(f"'{known}'" for known in hashes)
    asked, sent = ("connect-src 'self'; ", "'self'") if home.served else ("", "'none'")
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; {asked}"
        f"img-src data: blob:; base-uri 'none'; form-action {sent}"
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
        loader=PackageLoader("safescape.views.pages", "templates"),
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
