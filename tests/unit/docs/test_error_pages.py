"""Every error message in the code is quoted on a page of docs/errors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "errors"
NAMES = {"InputError", "RunError"}
GAP = "\0"
"""Stands for a value that the message contains."""
OPEN = re.compile(r"…|\b(?:NAME|VALUE|RUN|OTHER|DIR|FILE|ID|N|M)\b|\b\d[\d.:]*")
"""What a page writes in place of a value: dots, NAME, a number."""
NOT_REACHED = {
    "is another model now",  # caught and shown as a note while judging
}


def text_of(node: ast.expr) -> str:
    match node:
        case ast.Constant(str(value)):
            return value
        case ast.JoinedStr(values):
            return "".join(map(text_of, values))
        case ast.BinOp(left, ast.Add(), right):
            return text_of(left) + text_of(right)
    return GAP


def messages() -> dict[str, str]:
    """Return the words of each error by where it is raised."""
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES and node.args:
                text = text_of(node.args[0])
                # fewer than three words are a fragment of a message that is composed elsewhere
                if re.search(r"\w+ \w+ \w+|--\S+ ?\0: expected", text):
                    found[f"{path.relative_to(ROOT / 'src')}:{node.lineno}"] = " ".join(text.split())
    return found


def quotations() -> list[re.Pattern[str]]:
    """Return the pages' quotes as patterns, in which any value may be filled in."""
    found = []
    for page in PAGES.glob("*.md"):
        for quoted in re.findall(r"`([^`]+)`", page.read_text(encoding="utf-8")):
            parts = [part.strip() for part in OPEN.split(" ".join(quoted.split()))]
            kept = [part for part in parts if part.strip("().,;:")]
            if sum(map(len, kept)) >= 9 and any(" " in part for part in kept):
                found.append(re.compile(".*?".join(map(re.escape, kept))))
    return found


def test_errors_and_quotes_are_found() -> None:
    assert len(messages()) > 250
    assert len(quotations()) > 150


@pytest.mark.parametrize(("place", "message"), messages().items())
def test_every_error_is_quoted_on_a_page(place: str, message: str) -> None:
    if any(words in message for words in NOT_REACHED):
        return
    assert any(pattern.search(message) for pattern in quotations()), f"{place}: no page of docs/errors quotes {message}"


def test_every_page_is_in_the_index() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in PAGES.glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def test_every_page_has_cause_and_fix() -> None:
    for page in PAGES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        if page.name != "README.md":
            assert re.search(r"\*\*Cause", text), page.name
            assert re.search(r"\*\*Fix|and fix", text), page.name
