"""What all tiers share: tiny random models on disk, built in milliseconds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

# files of tests that run side by side share out the cores, and so do the commands that they start
if side_by_side := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    _cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores // int(side_by_side))))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from helpers import tiny_models

# their assertions say what they saw, as those of the tests do
pytest.register_assert_rewrite("helpers")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """AdvBench, XSTest and the other sets that the repository does not hold."""
    assert SHARED.is_dir(), f"{SHARED} is absent: check out shared/ beside the repository, these tests read from it"
    return SHARED


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with a byte-level tokenizer and a chat template; read-only."""
    return tiny_models.save_model(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Type a command: its exit code."""

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
    """Type a command in the directory `here`: it says one line with a message, exits with 2, and leaves nothing."""

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
        assert sorted(here.rglob("*")) == before, "refused before anything was made"

    return check
