"""What can go wrong in a way that the user can mend.

Every message says what was given, what was expected, and what to type next, in one line. The commands print
it and exit with 2; from Python it is raised.
"""

from __future__ import annotations

__all__ = ["InputError", "RunError", "SafescapeError"]


class SafescapeError(Exception):
    """The base of all errors that safescape raises on purpose."""


class InputError(SafescapeError):
    """What was given cannot be used: a model, an adapter, a prompt set, a number."""


class RunError(SafescapeError):
    """A run could not go on: its directory, its disk, or a model that did not come back to its origin."""
