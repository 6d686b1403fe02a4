"""`safescape scan` and `report` from end to end on a tiny model: files, figures, exit codes, one line for bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import safescape
from helpers.command_line import run_command
from safescape import InputError, PromptProbe, Run, RunError
from safescape.measure.session import MeasuringSession
from safescape.probes import load_prompts
from safescape.store import Store

SETTINGS = ["--limit", "6", "--max-new-tokens", "16", "--directions", "2", "--steps", "4"]


@pytest.fixture(scope="module")
def scanned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished scan; read-only."""
    out = tmp_path_factory.mktemp("scan") / "run"
    return safescape.scan(str(tiny_model), out=out, limit=6, max_new_tokens=16, directions=2, steps=4)


def test_the_command_and_the_function_do_the_same(scanned: Run, tiny_model: Path, tmp_path: Path) -> None:
    done = run_command("scan", tiny_model, "--out", tmp_path / "run", *SETTINGS, "--json")
    assert done.returncode == 0, done.stderr
    by_function = (scanned.directory / "landscape.json").read_text()
    assert (tmp_path / "run" / "landscape.json").read_text() == by_function
    assert done.stdout == by_function
    assert done.stderr.splitlines()[-1].startswith("9/9 points")


def test_the_run_directory_has_all_files(scanned: Run) -> None:
    files = {path.name for path in scanned.directory.iterdir()}
    assert files == {"survey.json", "run.sqlite", "run.lock", "landscape.json", "landscape.png", "report.html"}
    document = json.loads((scanned.directory / "landscape.json").read_text())
    assert document["schema"] == 1
    assert document["complete"] is True
    assert [axis["seed"] for axis in document["axes"]] == [0, 1]
    assert len(document["points"]) == 9
    assert [p["line"] for p in document["points"]].count(None) == 1
    assert {p["n"] for p in document["points"]} == {6}
    survey = safescape.Survey.load(scanned.directory / "survey.json")
    (harmful,) = survey.probes
    assert isinstance(harmful, PromptProbe)
    assert harmful.prompts == load_prompts("builtin:harmful", 6)
    assert survey.model_fingerprint.startswith("sha256:")


def test_the_weights_return_to_the_origin(scanned: Run) -> None:
    with Store.read(Path(shutil.copytree(scanned.directory, scanned.directory.parent / "copy"))) as store:
        (session,) = store.sessions()
    assert session.closed
    assert session.origin_at_close == session.origin_at_start
    assert session.versions["torch"]


def test_the_same_survey_file_gives_the_same_bits(scanned: Run, tmp_path: Path) -> None:
    survey = safescape.Survey.load(scanned.directory / "survey.json")
    again = safescape.run_survey(survey, out=tmp_path / "again")
    assert (again.directory / "landscape.json").read_bytes() == (scanned.directory / "landscape.json").read_bytes()


def test_a_run_is_read_in_python(scanned: Run, tmp_path: Path) -> None:
    assert scanned.landscape.origin_asr == 100.0
    assert scanned.figure().axes
    answers = scanned.answers(-0.25, line=1)
    assert len(answers) == 6
    assert scanned.answers(0.3) == []
    loaded = safescape.load_run(Path(shutil.copytree(scanned.directory, tmp_path / "copy")))
    assert loaded.points == scanned.points


def test_the_default_directory_is_named_after_the_survey(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = safescape.scan(str(tiny_model), limit=2, max_new_tokens=2, directions=1, steps=2)
    other = safescape.scan(str(tiny_model), limit=3, max_new_tokens=2, directions=1, steps=2)
    assert first.directory != other.directory
    assert first.directory.parent == Path("runs")


def test_report_writes_the_figures_again(scanned: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(scanned.directory, tmp_path / "copy"))
    before = (copy / "landscape.json").read_bytes()
    for name in ("landscape.json", "landscape.png", "report.html"):
        (copy / name).unlink()
    done = run_command("report", copy)
    assert done.returncode == 0, done.stderr
    assert (copy / "landscape.json").read_bytes() == before
    assert "no basin, the origin itself is unsafe" in done.stdout
    assert "VISAGE (paper)" in done.stdout, "it is defined without a basin"
    assert "basin radius" not in done.stdout.replace("the basin radius", "")
    other = json.loads(run_command("report", copy, "--safe-below", "50", "--json").stdout)
    assert other["safe_below"] == 50


def test_an_unaligned_model_gets_no_radius_on_its_page(scanned: Run) -> None:
    page = (scanned.directory / "report.html").read_text(encoding="utf-8")
    visible = page[page.index("<body>") : page.index('<script type="application/json"')]
    assert "no basin" in visible.lower()
    assert 'data-figure="visage"' in visible
    assert 'data-figure="basin_radius"' not in visible


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan"], "Missing argument 'MODEL'"),
        (["scan", "nowhere", "--quick"], "nowhere: no such model here; expected a Hub id"),
        (["scan", "{tiny}", "--steps", "0"], "--steps 0: expected an even number"),
        (["scan", "{tiny}", "--steps", "7"], "--steps 7: expected an even number"),
        (["scan", "{tiny}", "--span", "-0.5"], "--span -0.5: expected a number above 0"),
        (["scan", "{tiny}", "--span", "nan"], "--span nan: expected a number above 0"),
        (["scan", "{tiny}", "--directions", "0"], "--directions 0: expected at least 1"),
        (["scan", "{tiny}", "--limit", "0"], "--limit 0: expected at least 1"),
        (["scan", "{tiny}", "--seed", "-1"], "--seed -1: expected 0 or more"),
        (["scan", "{tiny}", "--max-new-tokens", "0"], "--max-new-tokens 0: expected at least 1"),
        (["scan", "{tiny}", "--max-new-tokens", "99999"], "are asked for; lower --max-new-tokens"),
        (["scan", "{tiny}", "--dtype", "float16"], "--dtype float16: expected auto, float32 or bfloat16"),
        (["scan", "{tiny}", "--device", "tpu"], "--device tpu: expected cpu, cuda"),
        (["scan", "{tiny}", "--prompts", "builtin:nope"], "no such set"),
        (["scan", "{tiny}", "--safe-below", "100"], "--safe-below 100.0: expected a percentage"),
        (["scan", "{tiny}", "--quick", "--paper"], "exclude each other"),
        (["scan", "{tiny}", "--chat-template", "nowhere.jinja"], "--chat-template nowhere.jinja: cannot be read"),
        (["scan", "{tiny}", "--frobnicate"], "No such option: --frobnicate"),
        (["scan", "{tiny}+{tiny}"], "no adapter_config.json"),
        (["scan", "{tiny}", "--out", "{file}/run"], "cannot be written"),
        (["report", "{tiny}"], "no run.sqlite in it"),
    ],
    ids=lambda value: " ".join(value[1:])[-40:] if isinstance(value, list) else "",
)
def test_bad_input_is_refused_in_one_line(
    tiny_model: Path,
    tmp_path: Path,
    refused: Callable[[Sequence[str], str], None],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "file").write_text("")
    refused([argument.format(tiny=tiny_model, file=tmp_path / "file") for argument in arguments], message)


def test_another_survey_in_the_same_directory_is_refused_and_changes_nothing(scanned: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(scanned.directory, tmp_path / "copy"))
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(InputError, match=r"max_new_tokens: 17 here, 16 there"):
        safescape.scan(scanned.survey.model, out=copy, limit=6, max_new_tokens=17, directions=2, steps=4)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_out_of_memory_is_reported_in_one_line_and_loses_no_point(
    scanned: Run, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test really allocates more memory than any machine has."""
    measured = MeasuringSession.measure_together

    def hungry(self: MeasuringSession, points: Sequence[safescape.Point]) -> object:
        if points[0].coords == (0.25,):
            torch.empty(2**60, dtype=torch.uint8)
        return measured(self, points)

    monkeypatch.setattr(MeasuringSession, "measure_together", hungry)
    out = tmp_path / "run"
    with pytest.raises(RunError, match=r"^memory ran out on cpu \(.*DefaultCPUAllocator.*; free some") as failed:
        safescape.run_survey(scanned.survey, out=out)
    assert "\n" not in str(failed.value)
    monkeypatch.undo()
    with Store.read(out) as store:
        assert 0 < len(store.points.finished()) < 9
    assert (
        safescape.run_survey(scanned.survey, out=out).directory.joinpath("landscape.json").read_bytes()
        == (scanned.directory / "landscape.json").read_bytes()
    )


def test_a_survey_of_another_model_is_refused(scanned: Run, tmp_path: Path) -> None:
    other = scanned.survey.model_copy(update={"model_fingerprint": "sha256:" + "0" * 64})
    with pytest.raises(InputError, match="the survey was written for sha256:000000000000"):
        safescape.run_survey(other, out=tmp_path / "run")


def test_help_begins_with_an_example() -> None:
    commands = ["scan", "path", "compare", "directions", "check", "finetune", "repair"]
    commands += ["judge", "label", "agree", "report", "export", "view", "inspect", "bench"]
    for command in commands:
        text = run_command(command, "--help").stdout
        assert f"Example: safescape {command}" in text
        assert max(text) < "\U0001f000", "a word between colons became a picture"
    assert run_command().stdout.count("Example:") == len(commands)


def test_help_and_a_survey_do_not_import_torch() -> None:
    code = "import sys, safescape.cli; from safescape import *; assert 'torch' not in sys.modules"
    code = code.replace("*", "RandomAxis, InputError, Landscape, Point, Survey")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
