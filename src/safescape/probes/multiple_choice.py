"""Capability tasks: multiple choice from files in the MMLU layout."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from safescape.errors import InputError
from safescape.survey import Question

__all__ = ["load_questions"]

_LETTERS = "ABCD"
_COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answer")


class _Row(NamedTuple):
    text: str
    """The question with its lettered choices, up to where the answer stands."""
    answer: int


def load_questions(test: Path, shots: Path | None = None, limit: int | None = None) -> tuple[Question, ...]:
    """Return multiple-choice questions as MMLU asks them (Hendrycks et al. 2021), each independent of the others.

    Args:
        test: A CSV file with the columns question, choice0 to choice3, answer (0 to 3). Its name without `_test` is
            the subject.
        shots: A file of the same layout; all its rows stand answered before every question.
        limit: How many questions, from the first; None for all.

    Raises:
        InputError: a file is absent, lacks a column, or has a row without an answer.

    """
    subject = test.stem.removesuffix("_test").replace("_", " ")
    head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    solved = () if shots is None else _rows(shots)
    context = head + "".join(f"{row.text} {_LETTERS[row.answer]}\n\n" for row in solved)
    options = tuple(f" {letter}" for letter in _LETTERS)
    return tuple(
        Question(context=context + row.text, options=options, answer=row.answer)
        for row in itertools.islice(_rows(test), limit)
    )


def _rows(path: Path) -> Sequence[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            if missing := [column for column in _COLUMNS if column not in names]:
                raise InputError(f"--also choice:{path}: no column {missing[0]!r}; expected {', '.join(_COLUMNS)}")
            rows = [_row(path, number, row) for number, row in enumerate(reader, start=1)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--also choice:{path}: cannot be read ({error}); give a CSV in the MMLU layout") from error
    if not rows:
        raise InputError(f"--also choice:{path}: no questions in it; expected at least one")
    return rows


def _row(path: Path, number: int, row: dict[str, str | None]) -> _Row:
    question, *choices, answer = (row[column] for column in _COLUMNS)
    if question is None or not question.strip() or any(choice is None for choice in choices):
        raise InputError(f"--also choice:{path}: row {number} lacks its question or a choice; fill or remove it")
    if answer is None or answer.strip() not in ("0", "1", "2", "3"):
        raise InputError(f"--also choice:{path}: row {number} has the answer {answer!r}; expected 0, 1, 2 or 3")
    lines = [f"{letter}. {choice}" for letter, choice in zip(_LETTERS, choices, strict=True)]
    return _Row("\n".join((question.strip(), *lines, "Answer:")), int(answer))
