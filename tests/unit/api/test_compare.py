"""`compare` as a function and as a command: its files, its output and its errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import safescape
from helpers.behaviours import Rate, basin, no_basin, tuned
from helpers.runs import make_run
from helpers.surveys import further, make_survey
from safescape.errors import InputError
from safescape.landscape import Comparison

FILES = ["comparison.html", "comparison.json", "comparison.png"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(tmp_path_factory.mktemp("runs"), base=basin, unsafe=no_basin)


def written(directory: Path, **rates: Rate) -> list[Path]:
    """Write one run directory per keyword, which names it and gives its attack success rates."""
    for name, rate in rates.items():
        make_run(directory / name, make_survey(prompts=10, lines=1, steps=4), rate=rate).close()
    return [directory / name for name in rates]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, typed: Callable[..., int]) -> Callable[..., int]:
    """Run `safescape compare` with a terminal of 300 columns, and return its exit code."""
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *words: typed("compare", *words)


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_without_out_nothing_is_written(
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compare: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in runs[0].parent.rglob("*.*") if "sqlite-" not in path.name)
    safescape.compare(runs)
    assert compare(*runs) == 0
    assert "comparison" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert sorted(path.name for path in runs[0].parent.rglob("*.*") if "sqlite-" not in path.name) == before


def test_out_receives_figures_picture_and_page(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "created" / "with parents"
    comparison = safescape.compare(runs, out=out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert (out / "comparison.json").read_text(encoding="utf-8") == comparison.to_json()
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "safety landscapes compared" in (out / "comparison.html").read_text(encoding="utf-8")
    before = contents(out)
    safescape.compare(runs, out=out)
    assert contents(out) == before


def test_the_result_has_the_figures_and_draws_them(runs: list[Path]) -> None:
    comparison = safescape.compare(runs)
    assert isinstance(comparison, Comparison)
    assert comparison.names == tuple(map(str, runs))
    assert [landscape.has_basin for landscape in comparison.landscapes] == [True, False]
    legend = [text.get_text() for text in comparison.figure().legends[0].get_texts()]
    assert legend[0].startswith("“base”: VISAGE")
    assert legend[1].startswith("“unsafe”: VISAGE")
    assert legend[1].endswith("no basin (origin at 90.0 %)")


def test_the_command_prints_the_table_and_the_paths_of_the_files(
    runs: list[Path], tmp_path: Path, compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(*runs, "--out", tmp_path / "out") == 0
    *table, page, picture, figures = capsys.readouterr().out.splitlines()
    assert [page, picture, figures] == [
        str(tmp_path / "out" / f"comparison.{suffix}") for suffix in ("html", "png", "json")
    ]
    assert "less the first" in "\n".join(table)
    # a run without a basin has no radius, and so no difference in the radius
    (radius,) = [line for line in table if line.startswith("basin radius")]
    assert radius.split("no basin")[1].strip() == "–"


def test_json_prints_the_content_of_comparison_json(
    runs: list[Path], tmp_path: Path, compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(*runs, "--out", tmp_path, "--json") == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "comparison.json").read_text(encoding="utf-8")
    assert json.loads(printed)["names"] == [str(run) for run in runs]


def test_unfinished_runs_are_compared(
    tmp_path: Path, compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    survey = make_survey(prompts=4, lines=1, steps=2, also=further("accuracy", items=4))
    for name, points in (("none", 0), ("origin", 1), ("all", None)):
        make_run(tmp_path / name, survey, chance=tuned, points=points).close()
    runs = [tmp_path / name for name in ("none", "origin", "all")]
    assert compare(*runs, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    (accuracy,) = [line for line in printed.splitlines() if line.startswith("accuracy")]
    assert "not measured" in accuracy
    assert "50.0" in accuracy
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


def test_an_out_that_cannot_be_created_is_refused(
    runs: list[Path], tmp_path: Path, compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be made"):
        safescape.compare(runs, out=tmp_path / "file")
    assert compare(*runs, "--out", tmp_path / "file" / "under") == 2
    assert capsys.readouterr().err.startswith(f"safescape: --out {tmp_path / 'file' / 'under'}: cannot be made")
