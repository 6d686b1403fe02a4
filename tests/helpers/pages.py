"""Pages of runs: composed, written to files, and their text and data for assertions."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from plotly.offline import get_plotlyjs

from helpers.runs import landscape_in, make_run
from safescape.store import Store
from safescape.survey import Survey
from safescape.views import render_page


def page_of(store: Store) -> str:
    return render_page(store, landscape_in(store))


def write_report(directory: Path, survey: Survey, **run: Any) -> Path:
    """Write the page of a new run, given by the arguments of `make_run`, to report.html."""
    with make_run(directory / "run", survey, **run) as store:
        path = directory / "report.html"
        path.write_text(page_of(store), encoding="utf-8")
    return path


@lru_cache(maxsize=8)
def _blocks(page: str) -> dict[str, str]:
    """Return the page's data blocks by id."""
    found = re.findall(r'<script type="[^"]+" id="([\w-]+)">(.*?)</script>', page, flags=re.DOTALL)
    assert len(dict(found)) == len(found)
    return dict(found)


def _block(page: str, name: str) -> str:
    return _blocks(page)[name]


@lru_cache(maxsize=8)
def data_in(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_block(page, "data"))
    return found


class ShownAnswer(NamedTuple):
    """An answer as the page shows it."""

    number: int
    text: str
    finish: str
    tokens: int
    verdicts: dict[str, tuple[str, str, float | None]]
    """Outcome, reason and probability by judge."""


def answers_block(page: str, point: int) -> dict[str, Any]:
    """Return the block of answers at a point."""
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(_block(page, f"answers-{point}"))))
    return found


def shown_answers(page: str, place: int, probe: int = 0) -> list[ShownAnswer]:
    """Return the answers to a probe at a point, from the page's payload and the point's answers."""
    data = data_in(page)
    point = data["points"][place]
    answers = answers_block(page, point["id"])
    opinions = dict(zip(data["judges"], point["answers"][probe], strict=True))
    found = []
    for number, (text, finish, tokens, _, _, _, *reasons) in enumerate(answers["answers"][probe]):
        verdicts = {}
        for judge, reason in zip(answers["judges"], reasons, strict=True):
            if (digit := opinions[judge]["outcomes"][number]) != "-":
                stated = opinions[judge]["probabilities"]
                probability = None if stated is None else stated[number]
                verdicts[judge] = (data["outcomes"][int(digit)], answers["reasons"][reason], probability)
        found.append(ShownAnswer(number, answers["texts"][text], answers["finishes"][finish], tokens, verdicts))
    return found


def prose(page: str) -> str:
    """Return the text that is shown without JavaScript."""
    body = page[page.index("<body>") : page.index('<script type="application/json"')]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def assert_own_elements(page: str) -> None:
    """Check that the page has only its own elements: its data and script, no image, frame or event handler."""
    page = re.sub(r'<script type="text/plain" id="answers-\d+">[\w+/=]+</script>', "", page)
    outside = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert re.findall(r"<script[^>]*>", outside) == [
        '<script type="application/json" id="data">',
        '<script type="text/plain" id="plotly">',
        '<script type="module">',
    ]
    assert not re.search(r"<(img|iframe|object|embed|link|base|form|b|i|svg)\b", outside)
    assert not re.search(r"<[^>]+\son\w+\s*=", outside)
    assert "\0" not in page
    assert page.encode()


def assert_nothing_is_loaded(page: str) -> None:
    """Check that the page has no address, and a policy that allows no network access."""
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|\bsrc=|<link|import\(", page)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.split(" ", 1) for rule in html.unescape(policy).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    assert "connect-src" not in rules
    assert not {"unsafe-inline", "unsafe-eval"} & set(re.findall(r"[\w-]+", rules["script-src"]))


def assert_policy_allows_own_scripts_alone(page: str) -> None:
    own = re.findall(r'<script type="module">(.*?)</script>', page, flags=re.DOTALL)
    plotly = gzip.decompress(base64.b64decode(_block(page, "plotly"))).decode()
    assert plotly == get_plotlyjs()
    hashes = [base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in (*own, plotly)]
    (policy,) = re.findall(r'content="(default-src[^"]+)"', page)
    assert re.findall(r"'sha256-([^']+)'", html.unescape(policy)) == hashes
