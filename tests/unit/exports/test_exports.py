"""Exports for other tools: tables, a model card, a log of Inspect, a notebook cell; and refused exports."""

from __future__ import annotations

import asyncio
import csv
import json
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from huggingface_hub.repocard_data import EvalResult, model_index_to_eval_results
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inspect_ai.analysis import samples_df
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.scorer import Score
from inspect_ai.scorer._metric import SampleScore  # what Inspect hands to its metrics
from inspect_ai.scorer._metrics import accuracy, stderr
from markdown_it import MarkdownIt
from pyarrow import parquet

import safescape
from helpers.behaviours import basin, bowl, four_outcomes, no_basin, tuned
from helpers.hostile_texts import HOSTILE
from helpers.runs import make_run
from helpers.surveys import FINGERPRINT, at_models, further, make_survey, path_line, random_plane, trajectory
from safescape.exports.tables import Column, Table, shown, write_csv, write_parquet
from safescape.landscape import wilson
from safescape.survey import Outcome, Point, Position, Verdict

BOTH = ("keyword", "refusal")
HARM, SAID = "HARMFUL-REQUEST", "MODEL-ANSWER"
"""Texts that must not appear in an export that shows neither prompts nor responses."""


def _mixed(probe: str, point: Point) -> float:
    return basin(point.line or 0, point.coords[0]) if probe == "harmful" else tuned(probe, point)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> safescape.Run:
    """Two lines, two judges and every kind of further probe."""
    directory = tmp_path_factory.mktemp("lines") / "run"
    survey = make_survey(
        prompts=[f"{HARM} {n}" for n in range(20)],
        lines=2,
        steps=8,
        judges=BOTH,
        also=further("benign", "accuracy", "perplexity", "margin", "attacked"),
        system_prompt="",
    )
    make_run(
        directory,
        survey,
        chance=_mixed,
        opinion=four_outcomes,
        text=lambda point, number, _: f"{SAID} {number} {point}",
    ).close()
    return safescape.load_run(directory)


def _hostile_survey() -> safescape.Survey:
    return make_survey(model=HOSTILE[0], prompts=HOSTILE, lines=1, steps=2, also=further(HOSTILE[1]))


def _said(point: Point, number: int, complied: bool) -> str:
    return HOSTILE[number % len(HOSTILE)]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> safescape.Run:
    directory = tmp_path_factory.mktemp("hostile") / "run"
    make_run(directory, _hostile_survey(), text=_said, opinion=_hostile_opinion).close()
    return safescape.load_run(directory)


def queried(sql: str) -> list[tuple[Any, ...]]:
    """Return the rows that DuckDB finds."""
    found = duckdb.sql(sql)
    assert found is not None
    return found.fetchall()


def of_samples(metric: object, samples: list[SampleScore]) -> float:
    """Return what one of Inspect's metrics computes from scored samples."""
    assert callable(metric)
    return float(metric(samples))


def _hostile_opinion(judge: str, point: Point, number: int, complied: bool) -> Verdict | None:
    return Verdict(Outcome.COMPLIED if complied else Outcome.REFUSED, HOSTILE[-1 - number % len(HOSTILE)])


# tables


def test_points_are_the_figures_of_landscape_json(run: safescape.Run, tmp_path: Path) -> None:
    run.export(tmp_path / "points.csv", tmp_path / "points.parquet")
    table = pd.read_parquet(tmp_path / "points.parquet")
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "points.csv"), check_dtype=False)
    first = [figures for figures in run.points if figures.probe == "harmful"]
    assert list(table["alpha"]) == [figures.coords[0] for figures in first]
    assert list(table["line"].astype(object).where(table["line"].notna(), None)) == [f.line for f in first]
    assert list(table["point"]) == list(range(17))
    assert table["beta"].isna().all()
    for row, figures in zip(table.to_dict("records"), first, strict=True):
        assert figures.count is not None
        assert (row["n"], row["judge"], row["outcomes_judge"]) == (20, "keyword", "refusal")
        assert row["asr"] == 100 * figures.count / 20
        assert (row["asr_low"], row["asr_high"]) == tuple(wilson(figures.count, 20))
        assert row["asr_low"] <= row["asr"] <= row["asr_high"]
        assert row["asr_unscored"] == 0, "the keyword judge scores every answer"
        assert row["safe"] == (row["asr"] <= 10)
        counts = (row["refused"], row["complied"], row["incoherent"], row["unscored"])
        assert counts == (figures.refused, figures.complied, figures.incoherent, figures.unscored)
        assert sum(number or 0 for number in counts) == 20
        assert row["strict_asr"] == figures.strict_asr
        assert row["strict_asr_low"] <= row["strict_asr"] <= row["strict_asr_high"]
    assert not table["safe"].all()


def test_points_have_every_probe_with_its_interval(run: safescape.Run, tmp_path: Path) -> None:
    run.export(tmp_path / "points.parquet")
    table = pd.read_parquet(tmp_path / "points.parquet")
    for measure in run.landscape.measures:
        row = table[
            (table["alpha"] == measure.coords[0])
            & (table["line"].fillna(-1) == (-1 if measure.line is None else measure.line))
        ].iloc[0]
        found = [row[f"{measure.probe}.{name}"] for name in (measure.kind, "low", "high", "n", "unscored")]
        assert found == [measure.value, measure.low, measure.high, measure.n, measure.unscored]
    for figures in run.points:
        if figures.probe == "attacked" and figures.line is None:
            assert table["attacked.asr"][0] == 100 * (figures.count or 0) / 40
            assert (table["attacked.low"][0], table["attacked.high"][0]) == tuple(wilson(figures.count or 0, 40))


def test_another_threshold_changes_what_is_safe(run: safescape.Run, tmp_path: Path) -> None:
    safescape.export(run.directory, tmp_path / "strict.csv", safe_below=0)
    safescape.export(run.directory, [tmp_path / "mild.csv"], safe_below=99)
    strict, mild = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("strict", "mild"))
    assert list(strict["safe"]) == [asr <= 0 for asr in strict["asr"]]
    assert 0 < strict["safe"].sum() < mild["safe"].sum() < 17
    assert list(strict["asr"]) == list(mild["asr"])


def test_responses_and_verdicts_join_to_what_the_run_says(run: safescape.Run, tmp_path: Path) -> None:
    for what in ("points", "responses", "verdicts"):
        run.export(tmp_path / f"{what}.parquet", what=what)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"""SELECT r.number, r.prompt, r.response, r.finish, r.tokens, v.outcome, v.reason, v.probability
            FROM '{tmp_path}/responses.parquet' r JOIN '{tmp_path}/verdicts.parquet' v USING (point, probe, number)
            JOIN '{tmp_path}/points.parquet' p USING (point)
            WHERE p.line = 1 AND p.alpha = -0.25 AND probe = 'harmful' AND v.judge = 'refusal' ORDER BY number"""
        ).fetchall()
        rates = connection.execute(
            f"""SELECT p.asr, 100.0 * avg((v.outcome = 'complied')::INT) FROM '{tmp_path}/verdicts.parquet' v
            JOIN '{tmp_path}/points.parquet' p USING (point)
            WHERE v.probe = 'harmful' AND v.judge = 'keyword' GROUP BY ALL"""
        ).fetchall()
    assert found == [
        (
            stored.number,
            f"{HARM} {stored.number}",
            stored.answer.response.text,
            stored.answer.response.finish,
            stored.answer.response.tokens,
            *stored.answer.verdicts["refusal"],
        )
        for stored in run.answers(-0.25, 1)
    ]
    assert len(found) == 20
    assert all(math.isclose(asr, counted) for asr, counted in rates)
    responses, verdicts = (pd.read_parquet(tmp_path / f"{what}.parquet") for what in ("responses", "verdicts"))
    assert len(responses) == 17 * (20 + 40 + 40)
    assert len(verdicts) == 2 * len(responses)
    assert set(responses.loc[~responses["harmful"], "probe"]) == {"benign"}


def test_parquet_has_types_and_says_what_was_measured(run: safescape.Run, tmp_path: Path) -> None:
    for what in ("points", "verdicts"):
        run.export(tmp_path / f"{what}.parquet", what=what)
    schema = parquet.read_schema(tmp_path / "points.parquet")
    kinds = {name: str(schema.field(name).type) for name in schema.names}
    assert kinds | {"point": "int64", "line": "int64", "alpha": "double", "safe": "bool", "judge": "string"} == kinds
    assert kinds["benign.over_refusal"] == "double"
    assert kinds["benign.n"] == "int64"
    about = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    assert about["safescape.table"] == "points"
    assert about["safescape.model_fingerprint"] == FINGERPRINT
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", about["safescape.version"])
    assert re.fullmatch("sha256:[0-9a-f]{64}", about["safescape.survey_fingerprint"])
    assert json.loads(about["safescape.survey"])["judges"] == list(BOTH)
    assert len(json.loads(about["safescape.axes"])) == 2
    for file in tmp_path.glob("*.parquet"):
        assert HARM.encode() not in file.read_bytes(), file
        assert SAID.encode() not in file.read_bytes(), file


def test_a_survey_has_one_fingerprint(run: safescape.Run, hostile: safescape.Run, tmp_path: Path) -> None:
    def fingerprint(run: safescape.Run, name: str) -> bytes:
        run.export(tmp_path / name)
        return parquet.read_schema(tmp_path / name).metadata[b"safescape.survey_fingerprint"]

    assert fingerprint(run, "a.parquet") == fingerprint(run, "b.parquet") != fingerprint(hostile, "c.parquet")


def test_planes_checkpoints_and_probes_at_models_alone_have_their_places(tmp_path: Path) -> None:
    make_run(tmp_path / "plane", make_survey(prompts=4, subspace=random_plane(2)), chance=bowl).close()
    make_run(
        tmp_path / "path",
        make_survey(prompts=4, subspace=path_line(4), through=trajectory(2), also=at_models("benign")),
        chance=tuned,
        stands=lambda point: Position(point.coords or (0.3,), 0.0 if point.waypoint is None else 0.2),
    ).close()
    safescape.export(tmp_path / "plane", tmp_path / "plane.csv")
    plane = pd.read_csv(tmp_path / "plane.csv")
    assert set(zip(plane["alpha"], plane["beta"], strict=True)) == {
        (a, b) for a in (-0.5, 0, 0.5) for b in (-0.5, 0, 0.5)
    }
    assert plane["line"].isna().all()
    safescape.export(tmp_path / "path", tmp_path / "path.csv")
    path = pd.read_csv(tmp_path / "path.csv")
    passed = path[path["waypoint"].notna()]
    assert list(passed["waypoint"]) == [0, 1]
    assert passed["alpha"].isna().all()
    assert set(passed["effective_alpha"]) == {0.3}
    assert set(passed["off"]) == {0.2}
    asked = path[path["benign.over_refusal"].notna()]
    assert sorted(asked["alpha"].dropna()) == [0.0, 1.0]
    assert len(asked) == 4


def test_what_is_not_measured_or_not_read_is_empty(tmp_path: Path) -> None:
    survey = make_survey(prompts=4, lines=1, steps=4, judges=("keyword", "late"))
    make_run(
        tmp_path / "run",
        survey,
        points=3,
        opinion=lambda judge, *rest: None if judge == "late" else four_outcomes(judge, *rest),
    ).close()
    for what in ("points", "responses", "verdicts"):
        safescape.export(tmp_path / "run", tmp_path / f"{what}.csv", what=what)
    points, verdicts = pd.read_csv(tmp_path / "points.csv"), pd.read_csv(tmp_path / "verdicts.csv")
    assert len(points) == 3
    assert points["incoherent"].isna().all()
    assert points["strict_asr"].isna().all()
    assert set(verdicts["judge"]) == {"keyword"}
    assert len(pd.read_csv(tmp_path / "responses.csv")) == 12


def test_a_judge_that_has_not_read_leaves_the_asr_open(tmp_path: Path) -> None:
    survey = make_survey(prompts=4, lines=1, steps=2, judges=("openai:m", "keyword"))
    make_run(
        tmp_path / "run",
        survey,
        opinion=lambda judge, *rest: four_outcomes(judge, *rest) if judge == "keyword" else None,
    ).close()
    safescape.export(tmp_path / "run", tmp_path / "points.csv")
    points = pd.read_csv(tmp_path / "points.csv")
    assert points[["asr", "asr_low", "asr_high", "safe"]].isna().all(axis=None)
    assert set(points["outcomes_judge"]) == {"keyword"}


# texts

SPREADSHEET = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1",
    "'=1",
    "'",
    "''",
    '"',
    '""',
    ",",
    ";=1",
)
TERMINAL = ("\x1b[2J\x1b[31mred", "\x9b31m", "a\0b", "\x7f", "\r\n", "\x85", "\x1a", "\ud800", "x\udfffy")
texts = st.lists(
    st.text(st.characters(exclude_categories=())) | st.sampled_from((*HOSTILE, *SPREADSHEET, *TERMINAL)), max_size=4
).map("".join)


def on_rows_of_texts(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test on `rows` of texts, among them every hostile one."""
    every = example(rows=[*HOSTILE, *SPREADSHEET, *TERMINAL, ""])
    return settings(max_examples=60, deadline=None)(given(rows=st.lists(texts, max_size=6))(every(test)))


def _table(rows: Sequence[str]) -> Table:
    columns = (Column("number", "integer"), Column("text", "text"), Column("none", "number"))
    return Table("responses", columns, iter([(n, text, None) for n, text in enumerate(rows)]), {"about": HOSTILE[0]})


def _every(texts: Sequence[str], *, drawn: bool = False) -> list[str]:
    return [shown(text) if drawn else re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts]


@on_rows_of_texts
def test_csv_reads_back_in_python_pandas_and_duckdb(rows: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "texts.csv"
    write_csv(_table(rows), path)
    expected = _every(rows, drawn=True)
    with path.open(encoding="utf-8", newline="") as file:
        header, *read = csv.reader(file)
    assert header == ["number", "text", "none"]
    assert read == [[str(number), text, ""] for number, text in enumerate(expected)]
    frame = pd.read_csv(path, keep_default_na=False, dtype={"text": str})
    assert list(frame["text"]) == expected
    found = queried(
        f"SELECT text, none FROM read_csv('{path}', delim = ',', quote = '\"', escape = '\"', header = true, "
        "columns = {'number': 'BIGINT', 'text': 'VARCHAR', 'none': 'DOUBLE'}, allow_quoted_nulls = false, "
        "max_line_size = 10000000) ORDER BY number"
    )
    assert found == [(text, None) for text in expected]


@given(text=texts)
def test_cells_of_a_csv_hold_neither_formulas_nor_control_characters(text: str) -> None:
    cell = shown(text)
    assert not cell.lstrip().startswith(tuple("=+-@＝＋－＠"))
    assert not cell.startswith(("\t", "\n", "\r"))
    assert all(sign.isprintable() or ord(sign) > 0x9F or sign in "\t\n" for sign in cell)
    assert not re.search("[\ud800-\udfff]", cell)


@given(text=texts)
def test_without_its_apostrophe_a_cell_is_the_text(text: str) -> None:
    cell = shown(text)
    there = cell.removeprefix("'")
    assert len(there) == len(text)
    assert all(
        a == b or ord(a) < 0x20 or 0x7F <= ord(a) <= 0x9F or 0xD800 <= ord(a) <= 0xDFFF
        for a, b in zip(text, there, strict=True)
    )


@given(text=st.text(st.characters(categories=("L", "N", "Zs"))))
def test_plain_words_stand_in_a_csv_as_they_are(text: str) -> None:
    assert shown(text) == text


@on_rows_of_texts
def test_parquet_keeps_every_character(rows: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("parquet") / "texts.parquet"
    write_parquet(_table(rows), path)
    expected = _every(rows)
    read = parquet.read_table(path)
    assert read.column("text").to_pylist() == expected
    assert read.column("none").null_count == len(rows)
    assert read.schema.metadata[b"about"] == HOSTILE[0].encode()
    assert list(pd.read_parquet(path)["text"]) == expected
    assert queried(f"SELECT text FROM '{path}' ORDER BY number") == [(text,) for text in expected]


def test_parquet_of_many_rows_is_in_groups(tmp_path: Path) -> None:
    write_parquet(_table([f"answer {n}" for n in range(20_001)]), tmp_path / "many.parquet")
    file = parquet.ParquetFile(tmp_path / "many.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [10_000, 10_000, 1]
    assert file.read().column("number").to_pylist() == list(range(20_001))


def test_hostile_texts_are_exported_unchanged(hostile: safescape.Run, tmp_path: Path) -> None:
    for what in ("points", "responses", "verdicts"):
        hostile.export(tmp_path / f"{what}.parquet", tmp_path / f"{what}.csv", what=what)
    responses, verdicts = (pd.read_parquet(tmp_path / f"{what}.parquet") for what in ("responses", "verdicts"))
    first = responses[responses["probe"] == "harmful"]
    assert list(first["prompt"]) == list(HOSTILE) * 3
    assert list(first["response"]) == list(HOSTILE) * 3
    assert list(verdicts[verdicts["probe"] == "harmful"]["reason"]) == list(HOSTILE[::-1]) * 3
    # each reader detects the format by itself
    for name, texts in (("responses", responses["response"]), ("verdicts", verdicts["reason"])):
        column = texts.name
        by_pandas = pd.read_csv(tmp_path / f"{name}.csv", keep_default_na=False)[column]
        by_duckdb = queried(f"SELECT {column} FROM '{tmp_path}/{name}.csv' ORDER BY point, probe, number")
        in_order = pd.read_parquet(tmp_path / f"{name}.parquet").sort_values(["point", "probe", "number"])[column]
        assert list(by_pandas) == [shown(text) for text in texts]
        assert [text for (text,) in by_duckdb] == [shown(text) for text in in_order]


def test_a_csv_is_the_same_each_time(run: safescape.Run, tmp_path: Path) -> None:
    run.export(tmp_path / "a.csv", what="verdicts")
    run.export(tmp_path / "b.csv", what="verdicts")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


# the model card


def _card(run: safescape.Run, path: Path) -> tuple[dict[str, EvalResult], str]:
    """Return a card's results by metric and data set, read as the Hub reads them, and its section."""
    run.export(path)
    name, results = model_index_to_eval_results((metadata_load(path) or {})["model-index"])
    card = ModelCard.load(path)
    assert card.data.model_name == name
    assert card.data.eval_results == results
    assert card.data.tags == ["safescape"]
    return {f"{result.metric_type} of {result.dataset_name}": result for result in results}, card.text


def test_a_card_has_the_figures_with_their_intervals(run: safescape.Run, tmp_path: Path) -> None:
    results, text = _card(run, tmp_path / "README.md")
    metrics = run.landscape.metrics
    for kind, metric in {
        "asr": metrics["origin_asr"],
        "visage": metrics["visage"],
        "basin_radius": metrics["basin_radius"],
        "safety_auc": metrics["safety_auc"],
    }.items():
        result = results[f"{kind} of builtin:harmful"]
        assert result.metric_value == pytest.approx(metric.value, abs=1e-4)
        assert result.metric_args is not None
        assert result.metric_args["low"] == pytest.approx(metric.low, abs=1e-4)
        assert result.metric_args["high"] == pytest.approx(metric.high, abs=1e-4)
        assert result.metric_args["confidence"] == 0.95
    assert set(results) - {
        f"{kind} of builtin:harmful" for kind in ("asr", "visage", "basin_radius", "safety_auc")
    } == {
        "over_refusal of builtin:benign",
        "accuracy of test.csv",
        "perplexity of texts.csv:text",
        "margin of requests.csv",
        "asr of attacked.csv",
    }
    assert results["over_refusal of builtin:benign"].metric_value == 15.0
    visage, radius = metrics["visage"], metrics["basin_radius"]
    about = "(random directions)"
    assert f"| VISAGE | {visage.value:.1f} | {visage.low:.1f} to {visage.high:.1f} {about} |" in text
    assert f"| Basin radius | {radius.value:.3f} | {radius.low:.3f} to {radius.high:.3f} {about} |" in text
    assert "| ASR at the origin | 0.0 % | 0.0 to 16.1 |" in text
    # 20 prompts are too few: the interval of the ASR, 0 to 16.1 %, holds the threshold
    assert "Not shown either way: the model refuses 20 of 20 harmful requests" in text
    assert "about 35 prompts would decide it (--limit 35)" in text
    assert "| Over-refusal at the origin | 15.00 % | 7.06 to 29.07 % |" in text


def test_nothing_harmful_is_in_a_card(run: safescape.Run, tmp_path: Path) -> None:
    _card(run, tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert HARM not in text
    assert SAID not in text


def test_a_model_without_a_basin_has_no_radius_in_its_card(tmp_path: Path) -> None:
    make_run(tmp_path / "run", make_survey(prompts=10, lines=1, steps=2), rate=no_basin).close()
    results, text = _card(safescape.load_run(tmp_path / "run"), tmp_path / "card.md")
    assert {result.metric_type for result in results.values()} == {"asr", "visage", "safety_auc"}
    assert "no basin, the origin itself is unsafe (ASR 90.0 %)" in text
    assert "Basin radius" not in text


def test_a_model_at_the_edge_is_so_in_its_card(tmp_path: Path) -> None:
    make_run(tmp_path / "run", make_survey(), rate=lambda line, alpha: 0.5 if alpha else 0.1).close()
    safescape.load_run(tmp_path / "run").export(tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "Not shown either way: the model refuses 72 of 80 harmful requests" in card
    assert "have moved by" not in card


def test_an_unfinished_run_has_what_is_known_in_its_card(tmp_path: Path) -> None:
    make_run(tmp_path / "run", make_survey(prompts=10), points=2).close()
    results, text = _card(safescape.load_run(tmp_path / "run"), tmp_path / "card.md")
    assert [result.metric_type for result in results.values()] == ["asr"]
    assert "is not finished" in text
    assert "| VISAGE" not in text


def test_a_path_names_its_other_model(tmp_path: Path) -> None:
    survey = make_survey(prompts=10, subspace=path_line(4, toward="/home/me/models/tuned"), through=trajectory(1))
    make_run(tmp_path / "run", survey, chance=tuned, stands=lambda point: Position(point.coords or (0.3,), 0.0)).close()
    results, text = _card(safescape.load_run(tmp_path / "run"), tmp_path / "card.md")
    assert "| other model, at α = 1 | <code>tuned</code>" in text
    assert "ASR of the other model" in text
    assert "/home/me" not in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert (
        results["basin_radius of builtin:harmful"].metric_name
        == "Basin radius |α| (1 is the distance to the other model)"
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("owner/model", "owner/model"),
        ("/home/me/secret/model", "model"),
        ("./runs/mine/", "mine"),
        ("owner/base+./adapters/mine", "owner/base+mine"),
        ("models/deep/model.Q4_K_M.gguf", "model.Q4_K_M.gguf"),
        ("models/model.GGUF", "model.GGUF"),
        ("demo", "demo"),
    ],
)
def test_a_card_has_no_path_of_this_machine(model: str, name: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", make_survey(model=model, prompts=4, lines=1, steps=2)).close()
    safescape.export(tmp_path / "run", tmp_path / "card.md")
    assert (metadata_load(tmp_path / "card.md") or {})["model-index"][0]["name"] == name


class _Tags(HTMLParser):
    """The tags of a piece of HTML, and the addresses that they load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.codes: list[str] = []
        """The text of each <code>."""
        self._in_code = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attributes if name in ("src", "href")]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        if tag == "code":
            self.codes.append("")
        self._in_code = tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self._in_code = False

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.codes[-1] += data


def test_a_hostile_name_is_no_markup_in_a_card(hostile: safescape.Run, tmp_path: Path) -> None:
    results, text = _card(hostile, tmp_path / "card.md")
    assert len(results) == 5
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    read = _Tags(html)
    assert read.tags <= {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "strong"}
    assert read.fetched == []
    # every row has as many cells as its heading
    rows = [row.count("<td") for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if "<td" in row]
    assert set(rows) == {4, 2}


@pytest.mark.parametrize("name", [text for text in HOSTILE if text.count("/") < 2 and "\\" not in text])
def test_a_hostile_name_of_a_model_stands_in_its_card_as_it_is(name: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", make_survey(model=name, prompts=4, lines=1, steps=2)).close()
    safescape.export(tmp_path / "run", tmp_path / "card.md")
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(ModelCard.load(tmp_path / "card.md").text)
    read = _Tags(html)
    assert read.tags <= {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert read.codes[0] == " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())


# the log of Inspect


@pytest.fixture(scope="module")
def log(run: safescape.Run, tmp_path_factory: pytest.TempPathFactory) -> EvalLog:
    path = tmp_path_factory.mktemp("log") / "far.eval"
    run.export(path, at=0.25, line=1)
    return read_eval_log(str(path))


def test_a_log_has_the_prompts_answers_and_verdicts_of_its_point(run: safescape.Run, log: EvalLog) -> None:
    stored = run.answers(0.25, 1)
    assert log.status == "success"
    assert log.eval.task == "harmful at line 1, α = 0.25"
    assert log.eval.model == "example/Model-7B-chat"
    assert log.eval.dataset.samples == 20
    assert log.samples is not None
    assert [sample.metadata["number"] for sample in log.samples] == list(range(20))
    for sample, (number, (response, verdicts)) in zip(log.samples, stored, strict=True):
        assert [message.role for message in sample.messages] == ["user", "assistant"]
        assert sample.messages[0].text == f"{HARM} {number}"
        assert sample.output.completion == response.text
        assert sample.output.usage is not None
        assert sample.output.usage.output_tokens == response.tokens
        assert sample.metadata["finish"] == response.finish
        assert sample.target == "refused"
        assert sample.scores is not None
        assert {judge: (s.value, s.explanation or "") for judge, s in sample.scores.items()} == {
            judge: (verdict.outcome, verdict.reason) for judge, verdict in verdicts.items()
        }
        assert (sample.scores["refusal"].metadata or {})["probability"] == verdicts["refusal"].probability
    assert {sample.output.stop_reason for sample in log.samples} == {"max_tokens", "unknown"}


def test_the_asr_of_a_log_equals_the_accuracy_that_inspect_computes(run: safescape.Run, log: EvalLog) -> None:
    (figures,) = [f for f in run.points if (f.line, f.coords, f.probe) == (1, (0.25,), "harmful")]
    assert log.results is not None
    scores = {score.name: score for score in log.results.scores}
    assert list(scores) == list(BOTH)
    by_keyword = {name: metric.value for name, metric in scores["keyword"].metrics.items()}
    assert by_keyword["asr"] == 100 * (figures.count or 0) / 20
    assert (by_keyword["low"], by_keyword["high"]) == tuple(wilson(figures.count or 0, 20))
    for judge in BOTH:
        said = [stored.answer.verdicts[judge].outcome for stored in run.answers(0.25, 1)]
        as_samples = [SampleScore(score=Score(value=float(outcome is Outcome.COMPLIED))) for outcome in said]
        metrics = {name: metric.value for name, metric in scores[judge].metrics.items()}
        assert metrics["asr"] == pytest.approx(100 * of_samples(accuracy(), as_samples))
        assert metrics["stderr"] == pytest.approx(100 * of_samples(stderr(), as_samples))
        counted = {outcome: metrics[outcome.value] for outcome in Outcome if outcome.value in metrics}
        assert counted == {outcome: said.count(outcome) for outcome in counted}
        assert set(Outcome) - set(counted) == ({Outcome.INCOHERENT} if judge == "keyword" else set())
        assert scores[judge].scored_samples == 20
    assert by_keyword["asr"] not in (0, 100)


def test_the_data_frames_of_inspect_read_a_log(run: safescape.Run, tmp_path: Path) -> None:
    run.export(tmp_path / "far.eval", at=0.25, line=1)
    frame = samples_df(str(tmp_path / "far.eval"))
    expected = [stored.answer.verdicts["refusal"].outcome for stored in run.answers(0.25, 1)]
    assert list(frame.sort_values("id", key=lambda ids: ids.astype(int))["score_refusal"]) == expected


def test_a_log_is_of_the_origin_by_default(run: safescape.Run, tmp_path: Path) -> None:
    run.export(tmp_path / "origin.eval")
    log = read_eval_log(str(tmp_path / "origin.eval"))
    assert log.eval.task == "harmful at the origin"
    assert (log.eval.metadata or {})["effective"] == [0.0]
    run.export(tmp_path / "benign.eval", at=0, line=1, probe="benign")
    log = read_eval_log(str(tmp_path / "benign.eval"))
    assert log.samples is not None
    assert log.samples[0].target == "complied"
    assert log.results is not None
    assert log.results.scores[0].metrics["over_refusal"].value == 15.0


def test_a_log_of_a_plane_and_of_a_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path / "plane", make_survey(prompts=4, subspace=random_plane(2)), chance=bowl).close()
    safescape.export(tmp_path / "plane", tmp_path / "plane.eval", at=(0.5, -0.5))
    assert read_eval_log(str(tmp_path / "plane.eval")).eval.task == "harmful at α = 0.5, β = -0.5"
    make_run(
        tmp_path / "path",
        make_survey(prompts=4, subspace=path_line(4), through=trajectory(2), system_prompt="Be safe."),
        chance=tuned,
        stands=lambda point: Position(point.coords or (0.3,), 0.0),
    ).close()
    safescape.export(tmp_path / "path", tmp_path / "passed.eval", waypoint=1)
    log = read_eval_log(str(tmp_path / "passed.eval"))
    assert log.eval.task == "harmful at checkpoint 1"
    assert (log.eval.metadata or {})["effective"] == [0.3]
    assert log.samples is not None
    assert [message.role for message in log.samples[0].messages] == ["system", "user", "assistant"]


def test_a_judge_that_has_not_read_all_has_no_figures_in_a_log(tmp_path: Path) -> None:
    survey = make_survey(prompts=6, lines=1, steps=2, judges=("keyword", "late"))
    make_run(
        tmp_path / "run",
        survey,
        opinion=lambda judge, point, number, complied: (
            None if judge == "late" and number > 3 else four_outcomes(judge, point, number, complied)
        ),
    ).close()
    safescape.export(tmp_path / "run", tmp_path / "log.eval")
    log = read_eval_log(str(tmp_path / "log.eval"))
    assert log.results is not None
    keyword, late = log.results.scores
    assert keyword.metrics["asr"].value == 0
    assert late.metrics == {}
    assert (late.scored_samples, late.unscored_samples) == (4, 2)


def test_a_log_keeps_hostile_texts(hostile: safescape.Run, tmp_path: Path) -> None:
    hostile.export(tmp_path / "log.eval")
    log = read_eval_log(str(tmp_path / "log.eval"))
    assert log.samples is not None
    assert [sample.output.completion for sample in log.samples] == list(HOSTILE)
    assert [sample.messages[0].text for sample in log.samples] == list(HOSTILE)


def test_a_log_is_written_inside_a_running_event_loop(run: safescape.Run, tmp_path: Path) -> None:
    async def cell() -> None:
        run.export(tmp_path / "log.eval")

    asyncio.run(cell())
    assert read_eval_log(str(tmp_path / "log.eval")).status == "success"


# the notebook


def test_a_run_shows_its_figures_and_its_picture_in_a_notebook(run: safescape.Run) -> None:
    html = run._repr_html_()
    visage = run.landscape.metrics["visage"]
    assert "refuses 20 of 20 harmful requests" in html
    assert f"<td>{visage.value:.1f}</td><td>{visage.low:.1f} to {visage.high:.1f} (random directions)</td>" in html
    assert f"{run.directory}/report.html" in html
    read = _Tags(html)
    (picture,) = read.fetched
    assert picture.startswith("data:image/png;base64,iVBOR")
    assert len(html) < 400_000
    assert HARM not in html
    assert SAID not in html


def test_a_hostile_name_is_no_markup_in_a_notebook(hostile: safescape.Run) -> None:
    html = hostile._repr_html_()
    read = _Tags(html)
    assert read.tags == {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "img", "code"}
    assert len(read.fetched) == 1
    assert read.handlers == []
    assert "&lt;/script&gt;" in html


@pytest.mark.parametrize("points", [1, 5])
def test_an_unfinished_run_shows_itself_too(points: int, tmp_path: Path) -> None:
    make_run(tmp_path / "run", make_survey(prompts=4), points=points).close()
    assert "data:image/png" in safescape.load_run(tmp_path / "run")._repr_html_()


# the command


def test_the_command_writes_as_many_as_are_named(
    run: safescape.Run, tmp_path: Path, typed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in run.directory.iterdir()}
    files = [tmp_path / name for name in ("a.CSV", "b.parquet", "c.md", "d.eval")]
    named = [word for file in files for word in ("--to", file)]
    assert typed("export", run.directory, *named, "--what", "verdicts", "--at", "-0.125") == 0
    assert capsys.readouterr().out.splitlines() == [str(file) for file in files]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.CSV", "b.parquet", "c.md", "d.eval"]
    assert read_eval_log(str(files[3])).eval.task == "harmful at line 0, α = -0.125"
    assert "outcome" in pd.read_csv(files[0]).columns
    assert {path.name: path.read_bytes() for path in run.directory.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "no file given; give one, as in --to points.csv; its suffix is .csv, .parquet, .md or .eval"),
        (["--to", "x.xlsx"], "--to x.xlsx: expected a file whose name ends in .csv, .parquet, .md or .eval"),
        (["--to", "good.csv", "--to", "none/x.csv"], "there is no directory none"),
        (["--to", "folder.csv"], "is a directory; give the name of a file"),
        (["--to", "/proc/x.csv"], "cannot be written"),
        (["--to", "y.csv", "--to", "x.csv", "--to", "./x.csv"], "--to x.csv: a file is given twice"),
        (["--to", "x.csv", "--what", "prompts"], "--what prompts: no such table; give points, responses or verdicts"),
        (["--to", "x.md", "--what", "points"], "--what points: is for a table"),
        (["--to", "x.csv", "--at", "0.25"], "--at 0.25: chooses the point of a log"),
        (["--to", "x.md", "--probe", "benign"], "--probe benign: chooses the point of a log"),
        (
            ["--to", "x.csv", "--to", "x.eval", "--at", "0.2"],
            "nothing was measured there; the nearest measured point is --at 0.25",
        ),
        (["--to", "x.eval", "--at", "nan"], "--at nan: expected a number"),
        (["--to", "x.eval", "--at", "x"], "--at x: expected a number, or several with commas between them"),
        (["--to", "x.eval", "--at", "0.25,0"], "a point of a line has 1 coordinate; type --at 0.1"),
        (["--to", "x.eval", "--at", "0.25", "--line", "2"], "--line 2: the run's lines are numbered from 0 to 1"),
        (["--to", "x.eval", "--line", "-1"], "--line -1: the run's lines are numbered from 0 to 1"),
        (["--to", "x.eval", "--waypoint", "0"], "--waypoint 0: the run has no checkpoints; leave it out"),
        (["--to", "x.eval", "--waypoint", "0", "--at", "0"], "--waypoint 0: a checkpoint has its own place"),
        (
            ["--to", "x.eval", "--probe", "accuracy"],
            "no such probe of prompts in the run; give one of harmful, benign, attacked",
        ),
        (["--to", "x.csv", "--safe-below", "100"], "expected a percentage from 0 to below 100"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    words: list[str], line: str, run: safescape.Run, tmp_path: Path, refused: Callable[[Sequence[object], str], None]
) -> None:
    (tmp_path / "here" / "folder.csv").mkdir(parents=True)
    refused(["export", run.directory, *words], line)


def test_a_plane_and_a_probe_at_models_only_have_other_messages(tmp_path: Path) -> None:
    make_run(tmp_path / "plane", make_survey(prompts=4, subspace=random_plane(2)), chance=bowl).close()
    with pytest.raises(
        safescape.InputError, match=r"--at 0\.5: a point of a plane has 2 coordinates; type --at 0\.1,0"
    ):
        safescape.export(tmp_path / "plane", tmp_path / "x.eval", at=0.5)
    with pytest.raises(safescape.InputError, match="--line 0: the run is a plane"):
        safescape.export(tmp_path / "plane", tmp_path / "x.eval", at=(0.5, 0), line=0)
    survey = make_survey(prompts=4, subspace=path_line(4), also=at_models("benign"))
    make_run(tmp_path / "path", survey, chance=tuned).close()
    with pytest.raises(safescape.InputError, match="--probe benign: is asked at the models alone"):
        safescape.export(tmp_path / "path", tmp_path / "x.eval", at=0.5, probe="benign")
    safescape.export(tmp_path / "path", tmp_path / "benign.eval", at=1, probe="benign")
    assert not (tmp_path / "x.eval").exists()


def test_a_run_that_is_absent_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(safescape.InputError, match=r"no run\.sqlite in it"):
        safescape.export(tmp_path, tmp_path / "x.csv")
    make_run(tmp_path / "run", make_survey(prompts=4), points=0).close()
    with pytest.raises(safescape.InputError, match="no point was measured in it yet"):
        safescape.export(tmp_path / "run", tmp_path / "x.csv")
    make_run(tmp_path / "unread", make_survey(prompts=4, lines=1, steps=2), opinion=lambda *_: None).close()
    with pytest.raises(safescape.InputError, match="nothing is known of the model itself yet"):
        safescape.export(tmp_path / "unread", [tmp_path / "x.csv", tmp_path / "x.md"])
    assert not list(tmp_path.glob("x.*"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("module", "name", "line"),
    [
        ("pyarrow", "x.parquet", "pyarrow is not installed; type pip install 'safescape[export]'"),
        ("inspect_ai.log", "x.eval", "inspect_ai.log is not installed; type pip install 'safescape[inspect]'"),
    ],
)
def test_a_library_that_is_missing_is_named_with_what_installs_it(
    module: str, name: str, line: str, run: safescape.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(safescape.InputError, match=re.escape(line)):
        run.export(tmp_path / "x.csv", tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_finished_leaves_the_former_ones(
    run: safescape.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("former", encoding="utf-8")

    def full(table: Table, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safescape.exports.files.write_parquet", full)
    with pytest.raises(safescape.RunError, match=r"b\.parquet: cannot be written \(No space left on device\)"):
        run.export(tmp_path / "a.csv", tmp_path / "b.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "former"


_ON_A_FULL_DISK = """
import resource, signal, sys
import safescape.api.export
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else it ends the process
resource.setrlimit(resource.RLIMIT_FSIZE, (32768, 32768))  # the database's shared memory needs as much
for name in ("x.csv", "x.parquet", "x.eval"):
    try:
        safescape.export("run", name, what=None if name == "x.eval" else "responses")
    except safescape.RunError as error:
        print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    noise = random.Random(0)
    make_run(
        tmp_path / "run", make_survey(prompts=8, lines=1, steps=2), text=lambda *_: noise.randbytes(10_000).hex()
    ).close()
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run([sys.executable, "-c", _ON_A_FULL_DISK], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in said] == ["x.csv", "x.parquet", "x.eval"]
    assert all("cannot be written" in line and "File too large" in line for line in said)
    assert sorted(tmp_path.rglob("*")) == before
