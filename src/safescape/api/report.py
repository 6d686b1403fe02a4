"""`report`: the figures, picture and page of a run, computed again from what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safescape import views
from safescape.api.files import save_figures, write_picture
from safescape.api.run import Run, run_of
from safescape.landscape import SAFE_BELOW
from safescape.options import each_of
from safescape.store import Store, write_text

__all__ = ["report", "report_of"]


def report(
    directory: str | Path,
    *,
    safe_below: float = SAFE_BELOW,
    figures: str | Path | Sequence[str | Path] = (),
    columns: int = 1,
) -> Run:
    """Compute a run's figures again from what is stored and write landscape.json, landscape.png and report.html.

    Args:
        directory: The run directory.
        safe_below: ASR in percent up to which a point counts as safe.
        figures: Files that the landscape is drawn into for a paper, as `Run.save_figure` does. They are written first:
            if one of them cannot be, nothing is.
        columns: Width of those: 1 or 2 columns.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet; a figure cannot be drawn as asked.
        RunError: a file cannot be written.

    """
    with Store.read(Path(directory)) as store:
        if figures:
            save_figures(run_of(store, safe_below).landscape, [Path(path) for path in each_of(figures)], columns)
        return report_of(store, safe_below)


def report_of(store: Store, safe_below: float) -> Run:
    """Write the files of a run from its open store; see `report`."""
    run = run_of(store, safe_below)
    write_text(run.directory / "landscape.json", run.landscape.to_json())
    write_text(run.directory / "report.html", views.render_page(store, run.landscape))
    write_picture(run.directory / "landscape.png", run.figure())
    return run
