"""Runs that are killed, interrupted or out of disk resume: nothing is lost or computed twice, and no bit differs."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import resource
import signal
import sqlite3
import subprocess
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

import safescape
from helpers.command_line import command_line, run_command
from helpers.run_contents import stored_responses

TINY: dict[str, Any] = {"limit": 6, "max_new_tokens": 24, "directions": 2, "steps": 4}
KILLS = 20


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that have imported what a scan imports late, so that a kill hits the scan and not the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["safescape.engines.transformers", "safescape.views.pages.report", "safescape.views.figures.figure"]
    )
    return context


def scan(model: str, out: Path, settings: dict[str, Any]) -> None:
    safescape.scan(model, out=out, prompts="builtin:harmful", **settings)


def finished(directory: Path) -> list[tuple[object, ...]]:
    """Return the finished points with the session and the time of each."""
    with sqlite3.connect(directory / "run.sqlite") as connection:
        query = "SELECT line, coords, session, finished_at, effective FROM points ORDER BY id"
        return connection.execute(query).fetchall()


def finish(processes: ForkServerContext, model: str, out: Path, settings: dict[str, int]) -> float:
    start = time.monotonic()
    process = processes.Process(target=scan, args=(model, out, settings))
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def test_a_scan_killed_at_20_random_moments_resumes_with_the_same_results(
    tiny_model: Path, tmp_path: Path, processes: ForkServerContext
) -> None:
    model, draw = str(tiny_model), random.Random(0)
    finish(processes, model, tmp_path / "warm-up", TINY)
    seconds = finish(processes, model, tmp_path / "whole", TINY)
    whole = (tmp_path / "whole" / "landscape.json").read_bytes()
    said_whole = stored_responses(tmp_path / "whole")
    survived_by = []
    for attempt in range(KILLS):
        out = tmp_path / f"killed-{attempt}"
        process = processes.Process(target=scan, args=(model, out, TINY))
        process.start()
        wait_for_points(process, out, draw.randrange(9))
        time.sleep(draw.uniform(0, seconds / 9))
        process.kill()
        process.join()
        before = stored(out)
        finish(processes, model, out, TINY)
        after = finished(out)
        assert after[: len(before)] == before, "a finished point is not computed again"
        assert len(after) == 9
        assert stored_responses(out) == said_whole
        assert (out / "landscape.json").read_bytes() == whole
        survived_by.append(len(before))
    assert sum(0 < count < 9 for count in survived_by) >= KILLS // 2, f"too few fell inside a scan: {survived_by}"


def stored(directory: Path) -> list[tuple[object, ...]]:
    """Return the finished points of a run that may have no database yet."""
    if not (directory / "run.sqlite").exists():
        return []
    with sqlite3.connect(directory / "run.sqlite") as connection:
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'points'").fetchone()[0]:
            return []
    return finished(directory)


def wait_for_points(process: ForkServerProcess, out: Path, count: int) -> None:
    """Wait until the scan has finished `count` points or ended."""
    deadline = time.monotonic() + 120
    while len(stored(out)) < count and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_killed_scan_of_the_demo_model_resumes_with_the_same_results(
    tmp_path: Path, demo: object, processes: ForkServerContext
) -> None:
    settings = {"limit": 4, "max_new_tokens": 8, "directions": 1, "steps": 2}
    finish(processes, "demo", tmp_path / "whole", settings)
    out = tmp_path / "killed"
    process = processes.Process(target=scan, args=("demo", out, settings))
    process.start()
    wait_for_points(process, out, 1)
    process.kill()
    process.join()
    before = finished(out)
    assert 0 < len(before) < 3
    finish(processes, "demo", out, settings)
    after = finished(out)
    assert after[: len(before)] == before
    assert stored_responses(out) == stored_responses(tmp_path / "whole")
    assert (out / "landscape.json").read_bytes() == (tmp_path / "whole" / "landscape.json").read_bytes()


def scan_words(model: Path, out: Path) -> list[object]:
    """Return the words of the command that makes the scan of `TINY`."""
    return ["scan", model, "--out", out, *(f"--{name.replace('_', '-')}={value}" for name, value in TINY.items())]


def test_ctrl_c_exits_with_130_and_the_same_command_resumes(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(command_line(*scan_words(tiny_model, out)), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("2/9"):
                process.send_signal(signal.SIGINT)
        code = process.wait()
    assert code == 130, "".join(lines)[-3000:]
    assert lines[-1] == "interrupted; finished points are kept, the same command resumes\n"
    assert "Traceback" not in "".join(lines)
    before = finished(out)
    assert 2 <= len(before) < 9
    done = run_command(*scan_words(tiny_model, out))
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr
    assert finished(out)[: len(before)] == before
    assert len(finished(out)) == 9


def test_a_full_disk_is_reported_in_one_line_and_the_run_resumes(tiny_model: Path, tmp_path: Path) -> None:
    """A limit on the size of files simulates a full disk."""
    out = tmp_path / "run"
    done = subprocess.run(
        command_line(*scan_words(tiny_model, out)),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, resource.RLIM_INFINITY)),
    )
    assert done.returncode == 2, done.stderr
    (last, *_) = done.stderr.strip().splitlines()[::-1]
    assert "run.sqlite cannot be written" in last
    assert "resumes" in last
    assert "Traceback" not in done.stderr
    before = finished(out)
    assert len(before) < 9
    assert run_command(*scan_words(tiny_model, out)).returncode == 0
    after = finished(out)
    assert after[: len(before)] == before
    assert len(after) == 9


@pytest.mark.parametrize("damage", ["cut", "garbage", "another program", "directory"])
def test_a_damaged_database_is_reported_in_one_line_and_not_changed(
    tiny_model: Path, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "run"
    scan(str(tiny_model), out, TINY)
    path = out / "run.sqlite"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "garbage":
        path.write_bytes(b"no database " * 1000)
    else:
        path.unlink()
        if damage == "directory":
            path.mkdir()
        else:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    for words in (scan_words(tiny_model, out), ["report", out]):
        done = run_command(*words)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert str(out) in done.stderr
    # reading leaves SQLite's auxiliary files beside the database
    after = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file() and "-" not in file.suffix}
    assert after == before


def test_a_second_process_on_the_same_directory_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    longer = [*scan_words(tiny_model, out), "--steps", 40]
    with subprocess.Popen(command_line(*longer), stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        assert next(iter(first.stderr)).startswith("0/81")
        first.send_signal(signal.SIGSTOP)  # or it could be done before the second one has started
        second = run_command(*longer)
        first.kill()
    assert second.returncode == 2
    assert second.stderr.startswith(f"safescape: {out}: another process is measuring")
    assert len(second.stderr.strip().splitlines()) == 1


def test_a_finished_run_loads_no_model(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(str(tiny_model), tmp_path / "run", TINY)
    before = (tmp_path / "run" / "landscape.json").read_bytes()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished run has nothing left to ask")

    monkeypatch.setattr("safescape.measure.workers.MeasuringSession", never)
    scan(str(tiny_model), tmp_path / "run", TINY)
    assert (tmp_path / "run" / "landscape.json").read_bytes() == before
