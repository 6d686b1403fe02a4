"""The contents of a run directory, for comparing two runs bit by bit."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def stored_responses(directory: Path) -> list[tuple[object, ...]]:
    """Return every stored response with its point, verdicts and evidence, in the order of the points."""
    with sqlite3.connect(directory / "run.sqlite") as connection:
        return connection.execute(
            "SELECT p.line, p.coords, p.waypoint, p.effective, p.off, r.probe, r.number, r.text, r.finish, r.tokens,"
            " v.judge, v.outcome, v.reason, v.probability, e.log_probability, e.tokens FROM points p"
            " JOIN responses r ON r.point = p.id JOIN verdicts v ON v.response = r.id"
            " LEFT JOIN evidence e ON e.response = r.id ORDER BY 1, 2, 3, 6, 7, 11"
        ).fetchall()


def same_results(directory: Path, whole: Path) -> bool:
    """Return whether two runs have the same stored rows and the same files."""
    files = ("landscape.json", "landscape.png", "survey.json")
    return stored_responses(directory) == stored_responses(whole) and all(
        (directory / file).read_bytes() == (whole / file).read_bytes() for file in files
    )
