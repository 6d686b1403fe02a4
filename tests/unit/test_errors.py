"""One line for an error, whatever its message is."""

from __future__ import annotations

import pytest

from safescape.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such file"), "no such file"),
        (ValueError("\n\n  no such file  \nand a traceback"), "no such file"),
        (MemoryError(), "MemoryError"),
        (RuntimeError(" \n "), "RuntimeError"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_the_first_line_that_says_something(error: BaseException, line: str) -> None:
    assert first_line(error) == line
