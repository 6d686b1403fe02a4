"""The results of a run: one SQLite database per run directory, one transaction per point. Only this room writes SQL.

Knows no model and no figure. A point is stored completely, with its responses and verdicts, or not at all: a process
that is killed at any moment loses at most the point in flight.
"""

from safescape.store.database import SCHEMA_VERSION
from safescape.store.labels import ShownAnswer
from safescape.store.noise import EndedAnswer, WholeAnswer
from safescape.store.points import KnownPoints, Stamp, StoredAnswer
from safescape.store.run import SessionRecord, Store, check_survey, new_file, stored_survey, write_text
from safescape.store.verdicts import StoredExchange

__all__ = [
    "SCHEMA_VERSION",
    "EndedAnswer",
    "KnownPoints",
    "SessionRecord",
    "ShownAnswer",
    "Stamp",
    "Store",
    "StoredAnswer",
    "StoredExchange",
    "WholeAnswer",
    "check_survey",
    "new_file",
    "stored_survey",
    "write_text",
]
