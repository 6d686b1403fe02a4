"""`compare`: several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safescape.landscape import SAFE_BELOW, Compared, Comparison, comparison_of
from safescape.store import Store

__all__ = ["compare"]


def compare(runs: Sequence[str | Path], *, safe_below: float = SAFE_BELOW) -> Comparison:
    """Compare the landscapes of runs that asked the same things.

    Args:
        runs: At least two run directories, finished or not.
        safe_below: The ASR, in percent, up to which a point counts as safe.

    Returns:
        The figures of each run, and each run's differences from the first one with paired 95 % intervals.

    Raises:
        InputError: one is no run directory, or they did not ask the same; the message names what differs.

    """
    return comparison_of([_read(Path(run)) for run in runs], safe_below=safe_below)


def _read(directory: Path) -> Compared:
    with Store.read(directory) as store:
        return Compared(str(directory), store.survey, list(store.measured()))
