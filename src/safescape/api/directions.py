"""`directions`: one model along several directions, on one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safescape import views
from safescape.api.stored_runs import made_directory, stored_runs
from safescape.landscape import Directions, directions_of_model
from safescape.options import DirectionsOptions, takes
from safescape.store import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RunDirections(Directions):
    """The figures of one model along several directions, and their picture."""

    def figure(self) -> Figure:
        """Draw compliance, and the capability that is lost, over the distance, a curve per direction."""
        return views.draw_directions(self)


@takes(DirectionsOptions)
def directions(options: DirectionsOptions) -> RunDirections:
    """Compare runs of one model along different directions, in one unit.

    Returns:
        The figures of each run, with distances in shares of the norm of the weights that move.

    Raises:
        InputError: one is not a run directory, they are of different models, or did not ask the same.
        RunError: a file cannot be written.

    """
    runs = stored_runs(options.runs)
    found = RunDirections(
        **dict(directions_of_model(runs, safe_below=options.safe_below, max_unscored=options.max_unscored))
    )
    if options.out is not None:
        directory = made_directory(options.out)
        write_text(directory / "directions.json", found.to_json())
        views.save_figure(found.figure(), directory / "directions.png")
    return found
