"""The worker in this process: memory that runs out is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.surveys import make_survey
from safescape import RunError
from safescape.measure import workers


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (MemoryError("\n\n  no room  \nfor it"), "no room"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory\nException raised from"),
            "DefaultCPUAllocator: can't",
        ),
    ],
)
def test_memory_that_runs_out_is_one_line_whatever_the_error_says(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: object) -> None:
        raise error

    monkeypatch.setattr(workers, "MeasuringSession", hungry)
    with pytest.raises(RunError) as failed:
        workers.LocalWorker(make_survey(), None, Path(), [])  # type: ignore[arg-type]
    assert str(failed.value).startswith(f"memory ran out on cpu ({reason}")
    assert "--dtype bfloat16 or a lower --batch-size than 128" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_another_error_is_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(workers, "MeasuringSession", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        workers.LocalWorker(make_survey(), None, Path(), [])  # type: ignore[arg-type]
