"""A run on workers of a real Ray cluster: the same bits as in one process, and errors in one line."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import ray

import safescape
from helpers.command_line import command_line
from helpers.run_contents import same_results
from safescape import InputError, RunError
from safescape.judge_runtime import JudgeSettings
from safescape.measure import Progress
from safescape.measure.workers import open_workers
from safescape.placement import Placement
from safescape.store import Store
from safescape.weights import resolve

POINTS = 9
TINY: dict[str, Any] = {"limit": 6, "max_new_tokens": 16, "directions": 2, "steps": 4}
FLAGS = ["--limit", "6", "--max-new-tokens", "16", "--directions", "2", "--steps", "4"]


def scan_command(model: Path, out: Path, *further: object) -> list[str]:
    return command_line("scan", model, "--out", out, *FLAGS, *further)


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan in one process; read-only."""
    out = tmp_path_factory.mktemp("one process") / "run"
    safescape.scan(str(tiny_model), out=out, **TINY)
    return out


def watched(directory: Path) -> dict[str, str]:
    """An environment in which a worker that begins a point appends it to `begun`, then executes the file `then`."""
    (directory / "site").mkdir()
    (directory / "site" / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
        import importlib.abc, importlib.util, os, pathlib, sys, time

        class Finder(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name != "safescape.measure.session":
                    return None
                sys.meta_path.remove(self)
                spec = importlib.util.find_spec(name)
                load = spec.loader.exec_module
                def exec_module(module):
                    load(module)
                    measure = module.MeasuringSession.measure
                    def noted(self, point, answered=None):
                        import safescape
                        with open({str(directory / "begun")!r}, "a") as file:
                            print(tuple(point), os.getpid(), sep="\\t", file=file)
                        exec(pathlib.Path({str(directory / "then")!r}).read_text())
                        return measure(self, point, answered)
                    module.MeasuringSession.measure = noted
                spec.loader.exec_module = exec_module
                return spec

        sys.meta_path.insert(0, Finder())
        """)
    )
    return {**os.environ, "PYTHONPATH": f"{directory / 'site'}:{os.environ.get('PYTHONPATH', '')}"}


def begun_in(directory: Path) -> Counter[str]:
    """Return how often each point was begun by the workers that `watched` lets note it."""
    return Counter(line.partition("\t")[0] for line in (directory / "begun").read_text().splitlines())


class Watched(NamedTuple):
    """A Ray cluster of two cores whose workers execute a given statement."""

    address: str
    directory: Path

    def let(self, statement: str) -> None:
        """Let every worker that begins a point execute this first."""
        (self.directory / "then").write_text(statement)
        (self.directory / "begun").write_text("")

    def begun(self) -> Counter[str]:
        """Return how often each point was begun since the last `then`."""
        return begun_in(self.directory)


@pytest.fixture(scope="module")
def watched_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A cluster to which this process is connected; commands reach it by its address."""
    directory = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in watched(directory).items():
            patch.setenv(name, value)
        context: Any = ray.init(
            "local", num_cpus=2, include_dashboard=False, object_store_memory=10**8, log_to_driver=False
        )
    yield Watched(context.address_info["gcs_address"], directory)
    ray.shutdown()


def measuring(driver: int, directory: Path | None = None) -> psutil.Process:
    """Return a worker that is measuring a point; with a directory that `watched` filled, one that no other has begun.

    A point that loses two workers is not tried again.
    """
    until = time.monotonic() + 60
    while time.monotonic() < until:
        twice = set()
        if directory is not None:
            lines = [line.split("\t") for line in (directory / "begun").read_text().splitlines()]
            counts = begun_in(directory)
            # of each worker, the point that it has begun last
            twice = {int(pid) for pid, point in {pid: point for point, pid in lines}.items() if counts[point] > 1}
        for child in psutil.Process(driver).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.cmdline()[:1] == ["ray::_Worker.measure"] and child.pid not in twice:
                    return child
        time.sleep(0.01)
    raise AssertionError("no worker measures")


def test_a_run_whose_three_workers_are_killed_gives_the_same_results(
    tiny_model: Path, whole: Path, tmp_path: Path
) -> None:
    out, killed, lines = tmp_path / "run", set(), []
    environment = watched(tmp_path)
    # slow enough for a kill to hit a point that is being measured
    (tmp_path / "then").write_text("time.sleep(0.3)")
    with (
        (tmp_path / "stdout").open("w") as stdout,
        subprocess.Popen(
            scan_command(tiny_model, out, "--workers", "2", "--json"),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as driver,
    ):
        assert driver.stderr is not None
        for line in driver.stderr:
            lines.append(line)
            if line.startswith(("1/", "3/", "5/")):
                victim = measuring(driver.pid, tmp_path)
                victim.kill()
                killed.add(victim.pid)
    assert driver.returncode == 0, "".join(lines)
    assert len(killed) == 3
    assert same_results(out, whole)
    assert (tmp_path / "stdout").read_text() == (whole / "landscape.json").read_text()
    assert all(f"/{POINTS} points" in line for line in lines), "nothing but progress on the terminal: " + "".join(lines)
    begun = begun_in(tmp_path)
    assert len(begun) == POINTS
    # a worker killed before its point had begun leaves one fewer
    assert begun.total() <= POINTS + 3, "nothing is computed twice but what the three had in flight"


def test_a_driver_that_is_killed_leaves_no_worker_and_one_process_resumes(
    tiny_model: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        scan_command(tiny_model, out, "--workers", "2"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as driver:
        assert driver.stderr is not None
        for line in driver.stderr:
            if line.startswith("2/"):
                children = psutil.Process(driver.pid).children(recursive=True)
                workers = [child for child in children if "_Worker" in child.cmdline()[0]]
                driver.kill()
                break
    # the second one may not be there yet when the first has measured two points
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    safescape.scan(str(tiny_model), out=out, **TINY)
    assert same_results(out, whole)
    with Store.read(out) as store:
        first, second = store.sessions()
    assert (first.closed, second.closed) == (False, True)
    assert first.versions["workers"] == "2"
    assert first.origin_at_start == second.origin_at_close


def test_points_that_cannot_be_measured_are_tried_twice_recorded_and_tried_again_on_resuming(
    watched_ray: Watched, tiny_model: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    watched_ray.let(
        "if point == (1, (0.5,), None): os.kill(os.getpid(), 9)\n"
        "if point == (1, (-0.5,), None): import torch; torch.empty(2**60, dtype=torch.uint8)\n"
        "if point[1] == (0.0,): raise ValueError('no such thing')"
    )
    with pytest.raises(RunError) as failed:
        safescape.scan(str(tiny_model), out=out, workers=1, **TINY)
    said = str(failed.value)
    assert said.startswith(f"{out}: 3 of {POINTS} points could not be measured, line 2, (-0.5) among them: the worker")
    assert said.endswith("the others are stored and reported, and the same command tries these again")
    with Store.read(out) as store:
        assert {*store.points.failures().values()} > {"ValueError: no such thing", "the worker ran out of memory"}
    assert safescape.load_run(out).landscape.complete is False
    assert (out / "report.html").is_file()
    begun = watched_ray.begun()
    assert begun["(1, (0.5,), None)"] == begun["(1, (-0.5,), None)"] == begun["(None, (0.0,), None)"] == 2
    assert begun.total() == POINTS + 3
    safescape.scan(str(tiny_model), out=out, **TINY)
    assert same_results(out, whole)


def test_errors_of_a_worker_are_reported_in_one_line(
    watched_ray: Watched, tiny_model: Path, whole: Path, tmp_path: Path
) -> None:
    watched_ray.let("raise safescape.RunError('the disk is on fire; put it out')")
    with pytest.raises(RunError) as failed:
        safescape.scan(str(tiny_model), out=tmp_path / "run", workers=1, **TINY)
    assert str(failed.value) == "the disk is on fire; put it out"
    other = safescape.Survey.load(whole / "survey.json").model_copy(update={"model_fingerprint": "sha256:" + "0" * 64})
    with (
        pytest.raises(InputError, match="the survey was written for sha256:000000000000"),
        open_workers(other, resolve(str(tiny_model)), tmp_path, Placement(workers=1), [], print),
    ):
        pass


def test_an_existing_cluster_is_used_and_left_running(
    watched_ray: Watched, tiny_model: Path, whole: Path, tmp_path: Path
) -> None:
    watched_ray.let("")
    out = tmp_path / "run"
    done = subprocess.run(
        scan_command(tiny_model, out, "--ray", watched_ray.address, "--workers", "2"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert same_results(out, whole)
    assert watched_ray.begun().total() == POINTS
    assert ray.cluster_resources()["CPU"] == 2
    with pytest.raises(InputError, match="--workers 3: the Ray cluster has 2 cores; give --workers 2"):
        safescape.scan(str(tiny_model), out=tmp_path / "many", ray=watched_ray.address, workers=3, **TINY)


@contextlib.contextmanager
def busy(cores: int) -> Iterator[Any]:
    """Reserve cores of the cluster for another actor; killing it releases them."""

    class Holder:
        def ready(self) -> None:
            pass

    actor: Any = ray.remote(Holder).options(num_cpus=cores).remote()
    ray.get(actor.ready.remote())
    try:
        yield actor
    finally:
        ray.kill(actor)


def test_a_run_waits_for_a_busy_cluster(watched_ray: Watched, tiny_model: Path, whole: Path, tmp_path: Path) -> None:
    watched_ray.let("")
    notes: list[str | None] = []
    with busy(2) as holder:

        def release(progress: Progress) -> None:
            notes.append(progress.note)
            if progress.note is not None:
                ray.kill(holder)

        safescape.scan(str(tiny_model), out=tmp_path / "run", workers=2, on_progress=release, **TINY)
    assert same_results(tmp_path / "run", whole)
    assert [note for note in notes if note is not None] == [
        "the Ray cluster is busy: 0 of 2 cores and 0 of 0 GPUs are free, 2 workers need a core each; "
        "waiting up to 120 s"
    ]


def test_a_cluster_that_stays_busy_ends_the_run_with_one_line(
    watched_ray: Watched, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safescape.placement.ray_cluster._FREE_TIMEOUT", 1.0)
    with busy(1), pytest.raises(RunError, match=r"^the Ray cluster is busy: 1 of 2 cores .* the same command resumes$"):
        safescape.scan(str(tiny_model), out=tmp_path / "run", workers=2, **TINY)


def test_the_guards_of_a_survey_run_on_the_cluster_that_measures_it(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    given: list[JudgeSettings] = []
    monkeypatch.setattr("safescape.api.execution.judge_stored", lambda *args, **_: given.append(args[2]))
    safescape.run_survey(safescape.Survey.load(out / "survey.json"), out=out, workers=2)
    assert given == [JudgeSettings(device="cpu", placement=Placement(2))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "--workers 0: expected at least 1"),
        (["--gpus-per-worker", "1"], "--gpus-per-worker 1: is for workers; give --workers N or --ray ADDRESS too"),
        (["--workers", "2", "--gpus-per-worker", "0"], "--gpus-per-worker 0: expected a share such as 0.5"),
        (["--workers", "2", "--gpus-per-worker", "1.5"], "--gpus-per-worker 1.5: expected a share such as 0.5"),
        (["--workers", "9999", "--gpus-per-worker", "1"], "--workers 9999 with 1 GPUs each: this machine has"),
        (["--ray", "nowhere"], "--ray nowhere: expected auto, or HOST:PORT"),
        (["--ray", "auto", "--device", "cuda:1"], "--device cuda:1: workers are given their GPUs by Ray"),
        (["--ray", "127.0.0.1:{port}"], "no Ray cluster answers there within 10 s"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_workers_that_cannot_be_started_are_refused(
    tiny_model: Path, refused: Callable[[Sequence[str], str], None], arguments: list[str], message: str
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        port = deaf.getsockname()[1]
        refused(["scan", str(tiny_model), *(argument.format(port=port) for argument in arguments)], message)


def test_workers_without_the_extra_are_refused(
    tiny_model: Path, refused: Callable[[Sequence[str], str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safescape.placement.placement.find_spec", lambda name: None)
    refused(
        ["scan", str(tiny_model), "--workers", "2"], "--workers 2: Ray is not installed; type pip install 'safescape"
    )


def test_workers_measure_the_same_along_a_gradient(tiny_model: Path, tmp_path: Path) -> None:
    """It is computed before the workers begin, which read it from the run directory."""
    along: dict[str, Any] = {
        **TINY,
        "directions": None,
        "direction": "gradient",
        "also": "margin:builtin:harmful",
        "also_limit": 4,
    }
    safescape.scan(str(tiny_model), out=tmp_path / "alone", **along)
    safescape.scan(str(tiny_model), out=tmp_path / "together", workers=2, **along)
    assert same_results(tmp_path / "alone", tmp_path / "together")
