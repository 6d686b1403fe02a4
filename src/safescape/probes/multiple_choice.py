"""Capability tasks: multiple choice from files in the MMLU layout."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from safescape.errors import InputError
from safescape.probes.rows import csv_table, read_text
from safescape.survey import Question

_LETTERS = "ABCD"
_COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answer")


class _Row(NamedTuple):
    text: str
    """The question with its lettered choices, up to where the answer follows."""
    answer: int


def load_questions(
    test: Path, shots: Path | None = None, limit: int | None = None, *, flag: str = "--also choice"
) -> tuple[Question, ...]:
    """Return multiple-choice questions as MMLU asks them (Hendrycks et al. 2021), each independent of the others.

    Args:
        test: A CSV file with the columns question, choice0 to choice3, answer (0 to 3). Its name without `_test` is
            the subject.
        shots: A file of the same layout; all its rows precede every question, with their answers.
        limit: The number of questions, from the first; None for all.
        flag: What the user gave the files with, for the messages.

    Raises:
        InputError: a file is absent, lacks a column, or has a row without an answer.

    """
    subject = test.stem.removesuffix("_test").replace("_", " ")
    head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    solved = () if shots is None else _rows(shots, flag)
    context = head + "".join(f"{row.text} {_LETTERS[row.answer]}\n\n" for row in solved)
    options = tuple(f" {letter}" for letter in _LETTERS)
    return tuple(
        Question(context=context + row.text, options=options, answer=row.answer)
        for row in itertools.islice(_rows(test, flag), limit)
    )


def _rows(path: Path, flag: str) -> Sequence[_Row]:
    given = f"{flag}:{path}"
    # line endings inside a question are part of it
    table = csv_table(read_text(path, given, newline=""))
    if missing := [column for column in _COLUMNS if column not in table.columns]:
        raise InputError(f"{given}: no column {missing[0]!r}; expected {', '.join(_COLUMNS)}")
    rows = [_row(row, f"{given}: row {number}") for number, row in enumerate(table.rows, start=1)]
    if not rows:
        raise InputError(f"{given}: no questions in it; expected at least one")
    return rows


def _row(row: dict[str, str | None], given: str) -> _Row:
    question, *choices, answer = (row[column] for column in _COLUMNS)
    if question is None or not question.strip() or any(choice is None for choice in choices):
        raise InputError(f"{given} lacks its question or a choice; fill or remove it")
    if answer is None or answer.strip() not in ("0", "1", "2", "3"):
        raise InputError(f"{given} has the answer {answer!r}; expected 0, 1, 2 or 3")
    lines = [f"{letter}. {choice}" for letter, choice in zip(_LETTERS, choices, strict=True)]
    return _Row("\n".join((question.strip(), *lines, "Answer:")), int(answer))
