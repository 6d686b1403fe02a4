"""`compare`: several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safescape import views
from safescape.api.files import write_picture
from safescape.errors import InputError
from safescape.landscape import SAFE_BELOW, Compared, Comparison, comparison_of
from safescape.store import Store, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunComparison", "compare"]


class RunComparison(Comparison):
    """The figures of several runs, and their picture."""

    def figure(self) -> Figure:
        """Draw the runs on one scale: lines as one curve a run, planes as one heat map a run."""
        return views.draw_comparison(self)


def compare(
    runs: Sequence[str | Path], *, out: str | Path | None = None, safe_below: float = SAFE_BELOW
) -> RunComparison:
    """Compare the landscapes of runs with the same probes.

    Args:
        runs: At least two run directories, finished or not.
        out: Directory of comparison.json, comparison.png and comparison.html; nothing is written without it.
        safe_below: ASR in percent up to which a point counts as safe.

    Returns:
        The figures of each run, and each run's differences from the first one with paired 95 % intervals.

    Raises:
        InputError: one is not a run directory, or their surveys differ; the message names what differs.
        RunError: a file cannot be written.

    """
    found = comparison_of([_read(Path(run)) for run in runs], safe_below=safe_below)
    comparison = RunComparison(**dict(found))
    if out is not None:
        _write(comparison, Path(out))
    return comparison


def _read(directory: Path) -> Compared:
    with Store.read(directory) as store:
        return Compared(str(directory), store.survey, list(store.points.measured()))


def _write(comparison: RunComparison, directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {directory}: cannot be made ({error.strerror}); give another directory") from error
    write_text(directory / "comparison.json", comparison.to_json())
    write_text(directory / "comparison.html", views.render_comparison(comparison))
    write_picture(directory / "comparison.png", comparison.figure())
