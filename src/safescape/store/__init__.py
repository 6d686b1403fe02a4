"""What was measured: one SQLite file a run, one transaction a point. The only room that writes SQL.

Knows no model and no figure. A point is either in the file, complete with its responses and verdicts, or it is
not there at all; a process killed at any moment loses at most the point in flight.
"""

from safescape.store.file import SCHEMA_VERSION, reading, write_text
from safescape.store.points import Session, StoredAnswer, Taken
from safescape.store.run import Store
from safescape.store.verdicts import Unjudged

__all__ = ["SCHEMA_VERSION", "Session", "Store", "StoredAnswer", "Taken", "Unjudged", "reading", "write_text"]
