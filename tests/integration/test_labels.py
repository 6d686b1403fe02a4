"""`label` and `agree` on runs: the form in the terminal and in the browser, and what corrected figures rest on."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import safescape
from helpers.behaviours import four_outcomes, tuned
from helpers.explorer_process import serving
from helpers.hostile_texts import HOSTILE
from helpers.pages import data_in
from helpers.runs import make_run
from helpers.surveys import make_survey, path_line
from safescape import InputError
from safescape.judges import immediate_judge
from safescape.store import Store
from safescape.survey import Label, Outcome, Point

PROMPTS = [f"{HOSTILE[n % len(HOSTILE)]} {n}" for n in range(20)]
LINES = ["prompt,response,label", *['How?,"I\'m sorry, no.",refused'] * 8, *["How?,First step one.,complied"] * 8]


def hostile(point: Point, number: int, complied: bool) -> str:
    return f"{HOSTILE[number % len(HOSTILE)]} " * 4 if complied else f"No. {number}"


def make_labelled(directory: Path) -> Path:
    survey = make_survey(prompts=PROMPTS, lines=2, steps=6, judges=("refusal", "keyword"))
    make_run(directory, survey, opinion=four_outcomes, text=hostile).close()
    return directory


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_labelled(tmp_path / "run")


@pytest.fixture
def keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: Callable[..., int]
) -> Callable[..., str]:
    """Type keys into the form in the terminal, and return what it printed."""

    def type_keys(run: Path, pressed: str, *flags: object) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{key}\n" for key in pressed)))
        assert typed("label", run, *flags) == 0
        return capsys.readouterr().out

    return type_keys


def truth_in(run: Path) -> dict[int, Label]:
    """Return a label for each sampled answer: what the keyword judge of the run says, which is the truth there."""
    with Store.read(run) as store:
        outcomes = store.labels.outcomes("keyword")
    return {row: Label.COMPLIED if found is Outcome.COMPLIED else Label.REFUSED for row, found in outcomes.items()}


def give_all(run: Path, n: int = 40) -> None:
    """Label a sample of a run by what the keyword judge says."""
    safescape.label(run, n=n)
    with Store.read(run) as store:
        survey = store.survey
    given = truth_in(run)
    with Store.claim(run, survey) as store:
        for row, label in given.items():
            store.labels.give(row, label)


def labels_in(run: Path) -> list[Label | None]:
    with Store.read(run) as store:
        sample = store.labels.sample()
    assert sample is not None
    return [row.label for row in sample.rows]


def test_the_terminal_form_stores_labels_and_goes_on(run: Path, keys: Callable[..., str]) -> None:
    keys(run, "rcq", "--n", 12)
    assert labels_in(run)[:3] == [Label.REFUSED, Label.COMPLIED, None]
    second = keys(run, "isup", "--n", 12)  # the skip is undone, and the answer is a partial refusal
    assert "2 of 12 labelled" in second
    assert labels_in(run)[:5] == [Label.REFUSED, Label.COMPLIED, Label.INCOHERENT, Label.PARTIAL, None]
    assert f"safescape agree {run} --judge refusal" in second


def test_the_terminal_form_shows_no_verdict_and_no_control_character(run: Path, keys: Callable[..., str]) -> None:
    shown = keys(run, " r" * 40, "--n", 40)
    for word in ("keyword", "steps to follow", "declines", "words out of order", "undecided"):
        assert word not in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "{{7*7}}" in shown


def test_labels_are_exported_and_read_again(run: Path, tmp_path: Path, typed: Callable[..., int]) -> None:
    give_all(run)
    assert typed("label", run, "--export", tmp_path / "labels.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert {row["label"] for row in rows} == {"refused", "complied"}
    assert len(rows) == 40
    found = safescape.agree(tmp_path / "labels.jsonl", judge="keyword", out=tmp_path / "a.json")
    assert found.n == 40


def test_labels_are_exported_as_csv(tmp_path: Path, typed: Callable[..., int]) -> None:
    make_run(tmp_path / "run", make_survey(prompts=12, lines=1, steps=2)).close()
    give_all(tmp_path / "run", 20)
    assert typed("label", tmp_path / "run", "--export", tmp_path / "labels.csv") == 0
    with (tmp_path / "labels.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 20


def test_a_sample_without_labels_is_not_exported(
    run: Path, tmp_path: Path, keys: Callable[..., str], typed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    keys(run, "q")
    assert typed("label", run, "--export", tmp_path / "labels.csv") == 2
    assert "none of its answers is labelled" in capsys.readouterr().err
    assert not (tmp_path / "labels.csv").exists()


def test_a_run_with_labels_has_corrected_figures(
    run: Path, typed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    give_all(run, 60)
    found = safescape.agree(run, judge="refusal")
    assert (run / "agreement-refusal.json").read_text() == found.to_json()
    # of four outcomes: noise is never called compliance, so no refusal is; of compliance some is called noise
    assert found.specificity.value == 100.0
    capsys.readouterr()
    assert typed("report", run) == 0
    said = capsys.readouterr().out
    assert "measured on 60 labels of this run" in said
    document = json.loads((run / "landscape.json").read_text())
    assert document["corrected"]["keyword"]["origin"] == "run"
    assert "Corrected for the judge’s error" in (run / "report.html").read_text()


def test_a_sample_is_continued_and_not_drawn_otherwise(run: Path) -> None:
    first = safescape.label(run, n=10).sample.rows
    assert safescape.label(run, n=30).sample.rows[:10] == first
    with pytest.raises(InputError, match="its sample was drawn with --judge refusal --seed 0"):
        safescape.label(run, n=30, seed=1)


def test_labels_of_a_file_are_measured(
    tmp_path: Path, typed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.csv").write_text("\n".join(LINES) + "\n")
    out = tmp_path / "agreement.json"
    assert typed("agree", tmp_path / "labels.csv", "--judge", "keyword", "--out", out) == 0
    said = capsys.readouterr().out
    assert "of answers that comply, those it calls complied" in said
    assert str(out) in said
    document = json.loads(out.read_text())
    assert (document["schema"], document["judge"], document["n"]) == (1, "keyword", 16)
    assert document["strata"][0]["table"] == [[8, 0], [0, 8]]
    assert typed("agree", tmp_path / "labels.csv", "--judge", "keyword", "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == document


@pytest.fixture
def by_keyword(tmp_path: Path) -> Path:
    """Return a run whose keyword judge is made of what it is made of today."""
    survey = make_survey(prompts=20, subspace=path_line(), judges=("keyword",))
    directory = tmp_path / "path"
    make_run(directory, survey, chance=tuned).close()
    with Store.claim(directory, survey) as store:
        found = store.verdicts.by_response("keyword")
        store.verdicts.replace("keyword", dict(immediate_judge("keyword").made_of), found)
    return directory


def test_an_agreement_file_holds_for_a_run_from_then_on(by_keyword: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("\n".join(LINES) + "\n")
    safescape.agree(tmp_path / "labels.csv", judge="keyword", out=tmp_path / "a.json")
    assert safescape.report(by_keyword).landscape.corrected == {}
    found = safescape.report(by_keyword, agreements=tmp_path / "a.json").landscape.corrected["keyword"]
    assert (found.origin, found.about, found.n) == ("file", "labels.csv", 16)
    assert safescape.load_run(by_keyword).landscape.corrected["keyword"] == found
    assert "harmful" in found.changes


def test_an_agreement_of_another_judge_is_refused(by_keyword: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("\n".join(LINES) + "\n")
    safescape.agree(tmp_path / "labels.csv", judge="refusal", out=tmp_path / "a.json")
    with pytest.raises(InputError, match=r"is of --judge refusal; the judges here are keyword"):
        safescape.report(by_keyword, agreements=tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps({**document, "judge": "keyword"}))
    with pytest.raises(InputError, match="was measured on verdicts made with another"):
        safescape.report(by_keyword, agreements=tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match="no agreement file of this version"):
        safescape.report(by_keyword, agreements=tmp_path / "a.json")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("agree", "{run}", "--judge", "keyword"), "none of its answers is labelled; safescape label"),
        (("label", "{run}", "--judge", "wildguard"), "--judge wildguard: has not read the answers of"),
        (("label", "{run}", "--export", "labels.txt"), "none of its answers is labelled"),
        (("label", "nowhere"), "nowhere: no run.sqlite in it"),
        (("label", "{run}", "--page", "--port", "x"), "--port x: expected a number from 0 to 65535"),
        (("label", "{run}", "--n", "0"), "--n 0: expected at least 1"),
        (("agree", "nowhere.csv"), "nowhere.csv: cannot be read"),
        (("agree", "{labels}", "--out", "no/where.json"), "--out no/where.json: no file can be there"),
    ],
)
def test_bad_input_is_one_line(
    run: Path,
    tmp_path: Path,
    typed: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "labels.csv").write_text("\n".join(LINES) + "\n")
    places = {"{run}": run, "{labels}": tmp_path / "labels.csv"}
    assert typed(*(places.get(word, word) for word in words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


class Form:
    """A form that is served."""

    def __init__(self, run: Path, address: str) -> None:
        self.run, self.address = run, address
        self.origin = address.rstrip("/")
        self.page = httpx.get(address).text
        self.data = data_in(self.page)

    def post(self, body: object, **headers: str) -> httpx.Response:
        own = {"Origin": self.origin, "X-Safescape-Token": self.data["token"], "Content-Type": "application/json"}
        given = {key: value for key, value in {**own, **headers}.items() if value}
        return httpx.post(self.address + "label", content=json.dumps(body), headers=given)


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    run = make_labelled(tmp_path_factory.mktemp("served") / "run")
    with serving("label", run, "--n", 12, "--page", "--no-open", "--port", 0) as served:
        yield Form(run, served.address)
        code, _, err = served.end()
        assert (code, err) == (0, "")


def test_the_page_stores_labels(form: Form) -> None:
    assert form.post({"place": 3, "label": "complied", "skipped": False}).json() == {"labelled": 1}
    assert form.post({"place": 4, "label": None, "skipped": True}).json() == {"labelled": 1}
    assert form.post({"place": 3, "label": "partial", "skipped": False}).json() == {"labelled": 1}
    assert labels_in(form.run)[:5] == [None, None, None, Label.PARTIAL, None]
    assert form.post({"place": 3, "label": None, "skipped": False}).json() == {"labelled": 0}


def test_the_page_is_safe_and_shows_no_verdict(form: Form) -> None:
    assert len(re.findall("<script", form.page)) == 2
    assert set(form.data["answers"][0]) == {"prompt", "text", "label", "skipped"}
    for word in ("steps to follow", "declines", "words out of order", "undecided"):
        assert word not in form.page
    headers = httpx.get(form.address).headers
    assert headers["X-Frame-Options"] == "DENY"
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert re.fullmatch(r"'sha256-[\w+/=]+'", policy["script-src"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.com"},
        {"Origin": ""},
        {"Origin": "null"},
        {"X-Safescape-Token": ""},
        {"X-Safescape-Token": "guess"},
        {"Content-Type": "text/plain"},
        {"Host": "example.com"},
    ],
)
def test_a_label_from_elsewhere_is_refused(form: Form, headers: dict[str, str]) -> None:
    assert form.post({"place": 0, "label": "complied", "skipped": False}, **headers).status_code == 403
    assert set(labels_in(form.run)) == {None}


@pytest.mark.parametrize(
    "body",
    [
        {"place": 12, "label": "complied", "skipped": False},
        {"place": -1, "label": "complied", "skipped": False},
        {"place": True, "label": "complied", "skipped": False},
        {"place": 0, "label": "safe", "skipped": False},
        {"place": 0, "label": ["complied"], "skipped": False},
        {"place": 0, "label": "complied", "skipped": True},
        {"place": 0, "label": "complied", "skipped": 1},
        {"place": 0},
        [1],
        "x",
    ],
)
def test_a_malformed_label_is_refused(form: Form, body: object) -> None:
    assert form.post(body).status_code == 400
    assert set(labels_in(form.run)) == {None}


def test_a_long_body_is_refused_and_other_methods_are_not_taken(form: Form) -> None:
    assert form.post({"place": 0, "label": "x" * 5000, "skipped": False}).status_code == 413
    assert httpx.get(form.address + "label").status_code == 405
    assert httpx.put(form.address + "label").status_code == 405
