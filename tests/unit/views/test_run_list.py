"""The list of runs: each verdict has a word, a sign and a colour, and untrusted names are escaped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.hostile_texts import HOSTILE
from helpers.pages import prose
from safescape.views import Row, Verdict, compose_notice, compose_run_list

STYLE = Path(__file__).parents[3] / "src" / "safescape" / "views" / "pages" / "templates" / "document.css"
WORDS = {"safe": "Shown to be safe", "open": "Not shown either way", "unsafe": "Shown to be unsafe"}


@pytest.mark.parametrize(("tone", "word"), WORDS.items())
def test_a_verdict_is_shown_in_words(tone: str, word: str) -> None:
    row = Row("base", model="org/Base", finished=3, verdict=Verdict(tone, "A headline.", "A detail."))
    page = compose_run_list(Path("/runs"), [row], "1").text
    assert re.findall(r'<span class="tone (\w+)">([^<]*)</span>', page) == [(tone, word)]
    assert "A headline." in prose(page)


def test_each_state_has_a_colour_in_both_schemes_and_a_sign() -> None:
    style = STYLE.read_text(encoding="utf-8")
    signs = {re.findall(rf"^\.{tone} {{.*--sign: \"(.)\"", style, re.MULTILINE)[0] for tone in WORDS}
    assert len(signs) == 3
    for tone in WORDS:
        assert len(re.findall(rf" --{tone}: #", style)) == 2


def test_names_and_problems_are_escaped() -> None:
    rows = [Row(HOSTILE[0], model=HOSTILE[1]), Row(HOSTILE[1], problem=HOSTILE[2])]
    pages = [compose_run_list(Path(f"/{HOSTILE[0]}"), rows, "1"), compose_notice(HOSTILE[0], HOSTILE[1], HOSTILE[2])]
    for text, policy in pages:
        assert len(re.findall("<script", text)) == 2
        assert "<img" not in text
        assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
