"""Fixtures of all tiers, and the rule for tests that need public data sets."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

# worker processes of pytest share the cores, and so do the commands that they start
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    _cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores // int(workers))))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# public data sets are in a directory beside the repository, if there is one; otherwise those in the cache are used
SHARED = Path(__file__).parents[2] / "shared" / "data"
if SHARED.is_dir():
    os.environ.setdefault("SAFESCAPE_DATA", str(SHARED))

# failed assertions of the helpers show their values, as those of the tests do
pytest.register_assert_rewrite("helpers")

from helpers import tiny_models  # noqa: E402

_NEEDS = "needs public data sets: "


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "data(*names): the test reads these public data sets, which are never fetched")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose public data sets are not on this machine; fail it in CI if `SAFESCAPE_DATA` promises them."""
    names = {str(name) for marker in item.iter_markers("data") for name in marker.args}
    missing = [name for name in sorted(names) if not _is_here(name)]
    if not missing:
        return
    if os.environ.get("CI") and os.environ.get("SAFESCAPE_DATA"):
        pytest.fail(f"SAFESCAPE_DATA={os.environ['SAFESCAPE_DATA']} lacks {', '.join(missing)}", pytrace=False)
    pytest.skip(_NEEDS + " ".join(missing))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line which tests did not run, and how to fetch what they need."""
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", []) if report.longrepr]
    needs = [reason.rpartition(_NEEDS)[2].strip("')") for reason in reasons if _NEEDS in reason]
    if needs:
        names = sorted({name for need in needs for name in need.split()})
        terminalreporter.write_line(
            f"{len(needs)} tests did not run, for want of public data sets; to fetch them: "
            f"safescape data fetch {' '.join(names)}"
        )


@functools.cache
def _is_here(name: str) -> bool:
    from safescape.probes import locate, set_named

    return locate(set_named(name)).where is not None


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with a byte-level tokenizer and a chat template; read-only."""
    return tiny_models.save_model(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def pictures() -> ModuleType:
    """The script that makes the pictures of the documentation."""
    return _benchmark("pictures")


@pytest.fixture(scope="session")
def intervals() -> ModuleType:
    """The script that simulates how often intervals hold the truth."""
    return _benchmark("intervals")


@pytest.fixture(scope="session")
def strict_intervals() -> ModuleType:
    """The same for safety beside capability."""
    return _benchmark("strict_intervals")


def _benchmark(name: str) -> ModuleType:
    directory = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, directory)
    try:
        return import_module(name)
    finally:
        sys.path.remove(directory)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command line in this process, and return its exit code."""

    def run(*words: object) -> int:
        from safescape.cli import main

        monkeypatch.setattr(sys, "argv", ["safescape", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code))

    return run


@pytest.fixture
def refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: Callable[..., int],
) -> Callable[[Sequence[object], str], None]:
    """Check that a command run in the directory `here` prints one line with a message, exits with 2, writes nothing."""

    def check(words: Sequence[object], message: str) -> None:
        here = tmp_path / "here"
        here.mkdir(exist_ok=True)
        before = sorted(here.rglob("*"))
        monkeypatch.chdir(here)
        code = typed(*words)
        printed = capsys.readouterr()
        assert code == 2, printed.err
        assert printed.out == ""
        assert message in printed.err
        assert len(printed.err.strip().splitlines()) == 1, printed.err
        assert sorted(here.rglob("*")) == before, "nothing was written"

    return check
