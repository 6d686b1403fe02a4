"""`export`: tables, a section of a model card and an Inspect log, made from a run directory."""

from __future__ import annotations

from safescape.api.run import Run, load_run
from safescape.options import ExportOptions, each_of, takes


@takes(ExportOptions)
def export(options: ExportOptions) -> Run:
    """Write files for other tools from a run directory, finished or not; all of them, or none.

    Nothing in the run directory changes.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet; as for `Run.export`.
        RunError: a file cannot be written.

    """
    run = load_run(options.directory, safe_below=options.safe_below, max_unscored=options.max_unscored)
    place = options.model_dump(include={"what", "at", "line", "waypoint", "probe"})
    run.export(*each_of(options.to), **place)
    return run
