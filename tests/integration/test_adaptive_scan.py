"""`scan --adaptive` on a real engine: the same bits after an interruption and on two workers."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import safescape
from helpers.run_contents import same_results
from safescape import InputError
from safescape.store import Store
from safescape.survey import Adaptive
from safescape.views import glance_of, row_of

TESTS = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "adaptive": True,
    "edge_tolerance": 0.05,
    "directions": 2,
    "limit": 16,
    "max_new_tokens": 6,
    "judges": ["helpers.basin_judge:Near", "keyword"],
    "safe_below": 40,
}


@pytest.fixture(autouse=True)
def _judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its workers import the judge."""
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    if str(TESTS) not in sys.path:
        monkeypatch.syspath_prepend(str(TESTS))


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted scan in one process; read-only."""
    out = tmp_path_factory.mktemp("one process") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTS))
        safescape.scan(str(tiny_model), out=out, **TINY)
    return out


def test_an_adaptive_scan_gives_the_figures_of_the_grid_with_fewer_points_and_answers(
    whole: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = safescape.load_run(whole, safe_below=40)
    assert run.landscape.complete
    assert run.survey.adaptive == Adaptive(directions=2, safe_below=40)
    assert run.survey.subspace.axes[0].grid[1] == -0.45
    asked = {point.coords: point.n for point in run.points}
    assert len(run.points) < 41
    assert asked[0.0,] == 16, "the origin is asked everything"
    assert min(asked.values()) < 16
    axes: dict[str, Any] = {"directions": 2, "steps": 20, "limit": 16, "max_new_tokens": 6}
    grid = safescape.scan(str(tiny_model), out=tmp_path / "grid", judges=TINY["judges"], safe_below=40, **axes)
    assert grid.landscape.basin_radius is not None
    mine, theirs = run.landscape.metrics, grid.landscape.metrics
    for name in ("basin_radius", "visage"):
        value, interval = mine[name].value, theirs[name]
        assert value is not None
        assert interval.low is not None
        assert interval.high is not None
        assert interval.low <= value <= interval.high, name
    with pytest.raises(InputError, match="different survey"):
        safescape.scan(str(tiny_model), out=tmp_path / "grid", **TINY)
    with pytest.raises(InputError, match="different survey"):
        safescape.scan(str(tiny_model), out=whole, judges=TINY["judges"], safe_below=40, **axes)


def test_the_list_of_runs_shows_whether_points_are_missing(whole: Path) -> None:
    glance = glance_of(safescape.load_run(whole, safe_below=40).landscape)
    with Store.read(whole) as store:
        points = f"{len(store.points.finished())} points"
        assert row_of("run", store, glance).points == f"{points}, chosen as results came in"
        open_still = glance._replace(complete=False)
        for known in (open_still, None):
            assert row_of("run", store, known).points == f"{points} so far, chosen as results come in"


def test_the_survey_file_gives_the_same_results(whole: Path, tmp_path: Path) -> None:
    survey = safescape.Survey.load(whole / "survey.json")
    safescape.run_survey(survey, out=tmp_path / "again", safe_below=40)
    assert same_results(tmp_path / "again", whole)


def scan(model: str, out: Path) -> None:
    sys.path.insert(0, str(TESTS))
    safescape.scan(model, out=out, **TINY)


@pytest.mark.parametrize("points", [3, 15])
def test_a_killed_and_resumed_scan_gives_the_same_results(
    points: int, whole: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    context = multiprocessing.get_context("forkserver")
    # import what a scan imports late, so that the kill hits the scan and not the imports
    context.set_forkserver_preload(
        ["safescape.engines.transformers", "safescape.views.pages.report", "safescape.views.figures.figure"]
    )
    process = context.Process(target=scan, args=(str(tiny_model), out))
    process.start()
    deadline = time.monotonic() + 60
    while count(out) < points and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.join()
    assert points <= count(out) < count(whole), "killed in the middle"
    safescape.scan(str(tiny_model), out=out, **TINY)
    assert same_results(out, whole)


def count(directory: Path) -> int:
    if not (directory / "run.sqlite").exists():
        return 0
    with sqlite3.connect(directory / "run.sqlite") as connection:
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'points'").fetchone()[0]:
            return 0
        return int(connection.execute("SELECT count(*) FROM points").fetchone()[0])


def test_two_workers_give_the_same_results(whole: Path, tiny_model: Path, tmp_path: Path) -> None:
    safescape.scan(str(tiny_model), out=tmp_path / "run", workers=2, **TINY)
    assert same_results(tmp_path / "run", whole)


def test_a_run_can_be_judged_again_and_reported_with_another_threshold(
    whole: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    safescape.scan(str(tiny_model), out=out, whole_answers=True, **TINY)
    before = safescape.load_run(out, safe_below=40).landscape
    run = safescape.judge_run(out, ["refusal"], text_only=True, safe_below=40)
    assert run.landscape.metrics == before.metrics
    assert run.landscape.by_judge["refusal"]["safety_auc"].value is not None
    safescape.report(out)
    # the points were selected for another threshold, so the interval is wider
    assert safescape.load_run(out, safe_below=60).landscape.complete


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--edge-tolerance", "0.02"], "--edge-tolerance 0.02: is for a scan that chooses its points; give --adaptive"),
        (["--interval", "5"], "--interval 5: is for a scan that chooses its points; give --adaptive"),
        (["--adaptive", "--dim", "2"], "--adaptive: seeks the edges of lines; leave out --dim 2"),
        (["--adaptive", "--steps", "20"], "--steps 20: --adaptive chooses its points; give --edge-tolerance"),
        (["--adaptive", "--edge-tolerance", "0"], "--edge-tolerance 0: expected a distance from 0.0005 to 0.125"),
        (["--adaptive", "--edge-tolerance", "nan"], "--edge-tolerance nan: expected a number"),
        (["--adaptive", "--edge-tolerance", "0.2"], "--edge-tolerance 0.2: expected a distance from 0.0005 to 0.125"),
        (["--adaptive", "--interval", "0"], "--interval 0: expected percentage points above 0"),
        (["--adaptive", "--interval", "5", "--directions", "1"], "--interval 5 with --directions 1: how directions"),
        (["--adaptive", "--directions", "0"], "--directions 0: expected at least 1"),
        (["--adaptive", "--span", "0"], "--span 0.0: expected a number above 0"),
        (["--adaptive", "--span", "0.5,0.3"], "--span: 2 values for 1 axis"),
        (["--adaptive", "--safe-below", "100"], "--safe-below 100.0: expected a percentage"),
        (["--adaptive", "--judge", "refusal"], "give --judge keyword --judge refusal"),
        (["--adaptive", "--judge", "llama-guard-3"], "give --judge keyword --judge llama-guard-3"),
        (["--adaptive", "--judge", "majority(keyword,refusal)"], "--adaptive with --judge majority(keyword,refusal)"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    flags: Sequence[str], message: str, tiny_model: Path, refused: Callable[[Sequence[str], str], None]
) -> None:
    refused(["scan", str(tiny_model), *flags], message)
