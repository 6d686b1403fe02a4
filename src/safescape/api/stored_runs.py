"""Several stored runs that a command sets side by side, and the directory that it writes to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safescape.errors import InputError
from safescape.landscape import Compared
from safescape.store import Store


def stored_runs(directories: Sequence[str | Path]) -> list[Compared]:
    """Return what is stored of runs, finished or not.

    Raises:
        InputError: one is not a run directory.

    """
    runs = []
    for directory in map(Path, directories):
        with Store.read(directory) as store:
            runs.append(Compared(str(directory), store.survey, store.points.measured()))
    return runs


def made_directory(out: str | Path) -> Path:
    """Return the directory of `--out`, which is made if it is not there.

    Raises:
        InputError: it cannot be made.

    """
    directory = Path(out)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {directory}: cannot be made ({error.strerror}); give another directory") from error
    return directory
