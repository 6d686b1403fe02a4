"""What a page says and holds, read back from its text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from typing import Any

from plotly.offline import get_plotlyjs


def block(page: str, name: str) -> str:
    (found,) = re.findall(rf'<script type="[^"]+" id="{name}">(.*?)</script>', page, flags=re.DOTALL)
    return str(found)


def data_in(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(block(page, "data"))
    return found


def prose(page: str) -> str:
    """What is read without JavaScript, as text."""
    body = page[page.index("<body>") : page.index('<script type="application/json"')]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def assert_own_elements(page: str, scripts: int) -> None:
    """The page's own elements and no other: its data, its scripts, no image, no frame, no handler."""
    outside = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert re.findall(r"<script[^>]*>", outside) == [
        '<script type="application/json" id="data">',
        '<script type="text/plain" id="plotly">',
        *["<script>"] * scripts,
    ]
    assert not re.search(r"<(img|iframe|object|embed|link|base|form|b|i|svg)\b", outside)
    assert not re.search(r"<[^>]+\son\w+\s*=", outside)
    assert "\0" not in page
    assert page.encode()


def assert_nothing_is_loaded(page: str) -> None:
    """No address in the page, and a policy that allows no network."""
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|\bsrc=|<link|import\(", page)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.split(" ", 1) for rule in html.unescape(policy).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    assert "connect-src" not in rules
    assert not {"unsafe-inline", "unsafe-eval"} & set(re.findall(r"[\w-]+", rules["script-src"]))


def assert_policy_allows_own_scripts_alone(page: str) -> None:
    own = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    plotly = gzip.decompress(base64.b64decode(block(page, "plotly"))).decode()
    assert plotly == get_plotlyjs()
    hashes = [base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in (*own, plotly)]
    (policy,) = re.findall(r'content="(default-src[^"]+)"', page)
    assert re.findall(r"'sha256-([^']+)'", html.unescape(policy)) == hashes
