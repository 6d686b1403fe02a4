"""Errors that the user can mend.

Every message says what was given, what was expected, and what to type next, in one line. The commands print
it and exit with code 2; the Python functions raise it.
"""

from __future__ import annotations

from collections.abc import Sequence


class SafescapeError(Exception):
    """Base of all errors that safescape raises on purpose."""


class InputError(SafescapeError):
    """Something given cannot be used: a model, an adapter, a prompt set, a number."""


class RunError(SafescapeError):
    """A run could not continue: its directory, its disk, or a model that did not return to its origin."""


def first_line(error: BaseException, most: int = 200) -> str:
    """Return the first line of an error's message that is not blank, truncated to `most` characters.

    An error without a message, such as `MemoryError()`, is called by the name of its class.
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:most]


def either(words: Sequence[str]) -> str:
    """Return words as a choice: `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
