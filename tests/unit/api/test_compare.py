"""`compare` as a function and as a command: what it writes, prints and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import safescape
from helpers.synthetic_runs import Rate, basin, further, make_run, make_survey, no_basin, tuned
from safescape.errors import InputError
from safescape.landscape import Comparison

FILES = ["comparison.html", "comparison.json", "comparison.png"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(tmp_path_factory.mktemp("runs"), base=basin, unsafe=no_basin)


def written(directory: Path, **rates: Rate) -> list[Path]:
    """Run directories, each named and closed."""
    for name, rate in rates.items():
        make_run(directory / name, make_survey(prompts=10, lines=1, steps=4), rate=rate).close()
    return [directory / name for name in rates]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, typed: Callable[..., int]) -> Callable[..., int]:
    """Type `safescape compare` in a wide terminal."""
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


def test_out_gets_figures_picture_and_page(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "made" / "on the way"
    comparison = safescape.compare(runs, out=out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert (out / "comparison.json").read_text(encoding="utf-8") == comparison.to_json()
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "safety landscapes compared" in (out / "comparison.html").read_text(encoding="utf-8")
    before = contents(out)
    safescape.compare(runs, out=out)
    assert contents(out) == before


def test_what_is_returned_has_the_figures_and_draws_itself(runs: list[Path]) -> None:
    comparison = safescape.compare(runs)
    assert isinstance(comparison, Comparison)
    assert comparison.names == tuple(map(str, runs))
    assert [landscape.has_basin for landscape in comparison.landscapes] == [True, False]
    legend = [text.get_text() for text in comparison.figure().legends[0].get_texts()]
    assert legend[0].startswith("“base”: VISAGE")
    assert legend[1] == "“unsafe”: no basin (origin at 90.0 %)"


def test_the_command_prints_the_table_and_where_the_files_lie(
    runs: list[Path], tmp_path: Path, compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(*runs, "--out", tmp_path / "out") == 0
    *table, page, picture, figures = capsys.readouterr().out.splitlines()
    assert [page, picture, figures] == [
        str(tmp_path / "out" / f"comparison.{suffix}") for suffix in ("html", "png", "json")
    ]
    assert "less the first" in "\n".join(table)
    # without a basin there is no VISAGE, nor a difference in it
    (visage,) = [line for line in table if line.startswith("VISAGE (paper)")]
    assert visage.split("no basin")[1].strip() == "–"


def test_json_is_what_is_written(
    runs: list[Path], tmp_path: Path, compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(*runs, "--out", tmp_path, "--json") == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "comparison.json").read_text(encoding="utf-8")
    assert json.loads(printed)["names"] == [str(run) for run in runs]


def test_runs_of_which_not_everything_is_measured_are_compared(
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


def test_a_place_that_cannot_hold_files_is_refused(
    runs: list[Path], tmp_path: Path, compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be made"):
        safescape.compare(runs, out=tmp_path / "file")
    assert compare(*runs, "--out", tmp_path / "file" / "under") == 2
    assert capsys.readouterr().err.startswith(f"safescape: --out {tmp_path / 'file' / 'under'}: cannot be made")
