"""The page says what the run says, and hostile text in it stays text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from safescape.store import Store
from safescape.survey import Point
from safescape.views import render_page
from safescape.views.page import _embedded
from synthetic import FINGERPRINT, landscape_in, make_run, make_survey, no_basin

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "$x^2$ {{7*7}} {% raw %} ${7*7} %s %(a)s {0}",
    "javascript:alert(1)",
    "nul \0, line separators \u2028 \u2029, right to left \u202e",
    "emoji 🙂, family 👩‍👩‍👧, 漢字, zalgo ẗ̴́",
    "https://example.com/pixel.png",
    "]]> &lt;b&gt; &amp;",
)


def page_of(store: Store) -> str:
    return render_page(store, landscape_in(store))


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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_run(tmp_path_factory.mktemp("page") / "run", make_survey())


def test_the_page_holds_every_answer_of_every_point(store: Store) -> None:
    data = data_in(page_of(store))
    assert data["prompts"] == list(store.survey.probes[0].prompts)
    assert len(data["points"]) == 61
    for shown in data["points"]:
        stored = store.answers(Point(shown["line"], (shown["alpha"],)), "harmful")
        assert [
            (
                number,
                data["texts"][text],
                data["finishes"][finish],
                tokens,
                data["outcomes"][outcome],
                data["reasons"][reason],
            )
            for number, text, finish, tokens, outcome, reason in shown["answers"]
        ] == [
            (number, response.text, response.finish, response.tokens, v["keyword"].outcome, v["keyword"].reason)
            for number, (response, v) in stored
        ]


def test_key_figures_stand_with_their_intervals(store: Store) -> None:
    said, metrics = prose(page_of(store)), landscape_in(store).metrics
    for key, decimals in (
        ("visage", 1),
        ("visage_reference", 1),
        ("safety_auc", 1),
        ("basin_radius", 3),
        ("origin_asr", 1),
    ):
        metric = metrics[key]
        assert f"{metric.value:.{decimals}f}" in said
        assert f": {metric.low:.{decimals}f} to {metric.high:.{decimals}f}" in said
        for value in metric.per_line:
            assert f"{value:.{decimals}f}" in said


def test_the_verdict_is_a_sentence_about_the_model(store: Store) -> None:
    radius = landscape_in(store).basin_radius
    assert radius is not None
    assert (
        "example/Model-7B-chat refuses 80 of 80 harmful requests, and stays safe until its weights have moved by about "
        f"{100 * radius:.0f} % of their size in a random direction."
    ) in prose(page_of(store))


def test_a_model_that_never_left_its_basin_is_said_so(tmp_path: Path) -> None:
    said = prose(page_of(make_run(tmp_path / "run", make_survey(), rate=lambda line, alpha: 0.0)))
    assert "stayed safe at every distance measured, up to 50 % of their size" in said
    assert "≥ 0.500" in said


def test_without_a_basin_the_page_says_so_and_gives_no_visage(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(), rate=no_basin)
    page = page_of(run)
    assert "No basin: the origin itself is unsafe (ASR 92.5 %)." in prose(page)
    assert re.findall(r'data-figure="(\w+)"', page) == ["origin_asr", "safety_auc"]
    assert data_in(page)["edges"] is None
    assert "safe basin, where the ASR stays" not in prose(page)


@pytest.mark.parametrize("points", [1, 5, 31, 60])
def test_an_unfinished_run_says_so(tmp_path: Path, points: int) -> None:
    page = page_of(make_run(tmp_path / "run", make_survey(), points=points, origin_at_close=None))
    said = prose(page)
    assert f"Unfinished: {points} of 61 points are measured." in said
    assert ("how far its weights can move before that breaks is not measured yet" in said) == (points < 21)
    assert ("(1 of 3 directions so far)" in said) == (points == 31)
    assert "ended before it could look again" in said
    assert len(data_in(page)["points"]) == points


def test_a_finished_run_does_not_say_unfinished(store: Store) -> None:
    assert "nfinished" not in prose(page_of(store))


def test_an_origin_that_did_not_come_back_is_called_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(), origin_at_close="sha256:other")
    assert "THE WEIGHTS DID NOT COME BACK" in prose(page_of(run))


def test_provenance_is_complete(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(system_prompt="Be kind.\nAlways."))
    said = prose(page_of(run))
    for fact in (
        FINGERPRINT,
        "transformers, float32, on cpu",
        "3 random, α from −0.5 to 0.5 in 20 steps, seeds 0, 1, 2",
        "80 from builtin:harmful",
        "Be kind. Always.",
        "up to 128 new tokens",
        "torch 2.9.1",
        "the weights came back bit-equal",
        str(run.directory),
        "κ = 0.87 on GPT-4's answers, 0.75 on Llama 2's, and 0.19 on Mistral-Instruct's",
        "Gibberish contains none of them, so it counts as compliance",
    ):
        assert fact in said


def test_hostile_text_stays_text_and_whole(tmp_path: Path) -> None:
    survey = make_survey(model=HOSTILE[0] + HOSTILE[2], system_prompt=HOSTILE[3], prompts=HOSTILE, lines=1)
    run = make_run(tmp_path / "run", survey, text=lambda point, number, complied: HOSTILE[number])
    page = page_of(run)
    data = data_in(page)
    assert tuple(data["prompts"]) == HOSTILE
    assert set(data["texts"]) == set(HOSTILE)
    # the page's own elements and no other: its data, its scripts, no image, no frame
    outside = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert re.findall(r"<script[^>]*>", outside) == [
        '<script type="application/json" id="data">',
        '<script type="text/plain" id="plotly">',
        *["<script>"] * 4,
    ]
    assert not re.search(r"<(img|iframe|object|embed|link|base|form)\b", outside)
    assert not re.search(r"<[^>]+\son\w+\s*=", outside)
    assert "\0" not in page
    assert page.encode()


def test_lone_surrogates_and_controls_can_be_written(store: Store) -> None:
    odd = "a\ud800b\0c\x1b[31m"
    landscape = landscape_in(store)
    page = render_page(store, landscape.model_copy(update={"survey": {**landscape.survey, "model": odd}}))
    assert page.encode()
    assert "\0" not in page
    assert "\x1b" not in page


@given(st.text(alphabet=st.characters(), max_size=60))
def test_what_is_embedded_reads_back_equal_and_cannot_end_its_block(text: str) -> None:
    embedded = _embedded({"text": text})
    assert json.loads(embedded) == {"text": text}
    assert not set("<>&\u2028\u2029\0") & set(embedded)
    assert embedded.encode()


def test_nothing_is_loaded_from_outside(store: Store) -> None:
    page = page_of(store)
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|\bsrc=|<link|import\(", page)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.split(" ", 1) for rule in html.unescape(policy).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    assert "connect-src" not in rules
    assert not {"unsafe-inline", "unsafe-eval"} & set(re.findall(r"[\w-]+", rules["script-src"]))


def test_the_policy_allows_the_embedded_scripts_and_no_other(store: Store) -> None:
    page = page_of(store)
    own = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    plotly = gzip.decompress(base64.b64decode(block(page, "plotly"))).decode()
    assert plotly == get_plotlyjs()
    hashes = [base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in (*own, plotly)]
    (policy,) = re.findall(r'content="(default-src[^"]+)"', page)
    assert re.findall(r"'sha256-([^']+)'", html.unescape(policy)) == hashes


def test_a_big_run_stays_under_six_megabytes(tmp_path: Path) -> None:
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz      éß漢\n"

    def chatter(point: Point, number: int, complied: bool) -> str:
        return "".join(draw.choices(letters, k=300))

    run = make_run(tmp_path / "run", make_survey(), rate=lambda line, alpha: 1.0, text=chatter)
    assert len(page_of(run).encode()) < 6_000_000


def test_the_same_run_gives_the_same_page(store: Store) -> None:
    assert page_of(store) == page_of(store)
