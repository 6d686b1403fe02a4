"""The demo model, fetched and converted once on this machine; and commands that are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from safescape.weights import Model, resolve


@pytest.fixture(scope="session")
def demo() -> Model:
    """SmolLM2-135M-Instruct with the safety adapter; read-only."""
    return resolve("demo")


@pytest.fixture
def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[str], str], None]:
    """Type a command in an empty directory: it says one line with a message, exits with 2, and leaves nothing."""

    def check(arguments: Sequence[str], message: str) -> None:
        from safescape.cli import main

        here = tmp_path / "here"
        here.mkdir()
        monkeypatch.setattr(sys, "argv", ["safescape", *arguments])
        monkeypatch.chdir(here)
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        assert stopped.value.code == 2, printed.err
        assert printed.out == ""
        assert message in printed.err
        assert len(printed.err.strip().splitlines()) == 1, printed.err
        assert not list(here.iterdir()), "refused before anything was made"

    return check
