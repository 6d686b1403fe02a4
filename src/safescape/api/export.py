"""`export`: tables, a section of a model card and an Inspect log, made from a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safescape.api.run import Run, load_run
from safescape.landscape import SAFE_BELOW
from safescape.options import each_of

__all__ = ["export"]


def export(
    directory: str | Path,
    to: str | Path | Sequence[str | Path],
    *,
    what: str | None = None,
    at: float | Sequence[float] | None = None,
    line: int | None = None,
    waypoint: int | None = None,
    probe: str | None = None,
    safe_below: float = SAFE_BELOW,
) -> Run:
    """Write files for other tools from a run directory, in which nothing changes.

    Args:
        directory: A run directory, finished or not.
        to: A file, or several; all of them are written, or none.
        what: Table to write; this and the following as for `Run.export`.
        at: Point of the log.
        line: Line of that point.
        waypoint: Number of a checkpoint instead.
        probe: Name of the log's probe.
        safe_below: ASR in percent up to which a point counts as safe.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet; as for `Run.export`.
        RunError: a file cannot be written.

    """
    run = load_run(directory, safe_below=safe_below)
    run.export(*each_of(to), what=what, at=at, line=line, waypoint=waypoint, probe=probe)
    return run
