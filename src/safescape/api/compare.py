"""`compare`: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safescape import views
from safescape.errors import InputError
from safescape.landscape import Compared, Comparison, comparison_of
from safescape.options import CompareOptions, takes
from safescape.store import Store, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RunComparison(Comparison):
    """The figures of several runs, and their picture."""

    def figure(self) -> Figure:
        """Draw the runs on one scale: lines as one curve a run, planes as one heat map a run."""
        return views.draw_comparison(self)


@takes(CompareOptions)
def compare(options: CompareOptions) -> RunComparison:
    """Compare the landscapes of runs with the same probes.

    Returns:
        The figures of each run, and each run's differences from the first one with paired 95 % intervals.

    Raises:
        InputError: one is not a run directory, or their surveys differ; the message names what differs.
        RunError: a file cannot be written.

    """
    runs = []
    for run in options.runs:
        with Store.read(Path(run)) as store:
            runs.append(Compared(str(Path(run)), store.survey, store.points.measured()))
    comparison = RunComparison(
        **dict(comparison_of(runs, safe_below=options.safe_below, max_unscored=options.max_unscored))
    )
    if options.out is not None:
        directory = Path(options.out)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {directory}: cannot be made ({error.strerror}); give another directory") from error
        write_text(directory / "comparison.json", comparison.to_json())
        write_text(directory / "comparison.html", views.render_comparison(comparison))
        views.save_figure(comparison.figure(), directory / "comparison.png")
    return comparison
