"""`compare`: several runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safescape import views
from safescape.api.stored_runs import made_directory, stored_runs
from safescape.landscape import Comparison, comparison_of
from safescape.options import CompareOptions, takes
from safescape.store import write_text

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
    runs = stored_runs(options.runs)
    comparison = RunComparison(
        **dict(comparison_of(runs, safe_below=options.safe_below, max_unscored=options.max_unscored))
    )
    if options.out is not None:
        directory = made_directory(options.out)
        write_text(directory / "comparison.json", comparison.to_json())
        write_text(directory / "comparison.html", views.render_comparison(comparison))
        views.save_figure(comparison.figure(), directory / "comparison.png")
    return comparison
