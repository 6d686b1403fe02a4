"""`report`: the figures, picture and page of a run, computed again from what is stored."""

from __future__ import annotations

from pathlib import Path

from safescape import exports, views
from safescape.api.agreements import accept_agreements
from safescape.api.run import Run, run_of
from safescape.options import ReportOptions, each_of, takes
from safescape.store import Store, write_text


@takes(ReportOptions)
def report(options: ReportOptions) -> Run:
    """Compute a run's figures again from what is stored and write landscape.json, landscape.png and report.html.

    Figures for a paper are written first, as `Run.save_figure` does: if one of them cannot be written, nothing is.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet; a figure cannot be drawn as asked.
        RunError: a file cannot be written.

    """
    directory = Path(options.directory)
    if options.agreements:
        accept_agreements(directory, options.agreements)
    with Store.read(directory) as store:
        if files := [Path(path) for path in each_of(options.figures)]:
            exports.save_figures(
                run_of(store, options.safe_below, options.max_unscored).landscape, files, options.columns
            )
        return report_of(store, options.safe_below, options.max_unscored)


def report_of(store: Store, safe_below: float, max_unscored: float) -> Run:
    """Write the files of a run from its open store; see `report`."""
    run = run_of(store, safe_below, max_unscored)
    write_text(run.directory / "landscape.json", run.landscape.to_json())
    write_text(run.directory / "report.html", views.render_page(store, run.landscape))
    views.save_figure(run.figure(), run.directory / "landscape.png")
    return run
