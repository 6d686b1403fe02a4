"""Probes beside the harmful prompts, as `--also` names them, and the questions of multiple-choice tasks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from safescape.errors import InputError
from safescape.probes.lm_eval import harness_probe
from safescape.probes.margin import margin_probe
from safescape.probes.prompts import PromptSet, load_prompts, load_set
from safescape.probes.public_sets import parse_name
from safescape.probes.rows import csv_table, is_file, read_text
from safescape.probes.set_files import set_paths
from safescape.survey import ChoiceProbe, HarnessProbe, PerplexityProbe, Probe, PromptProbe, Question

_CAPABILITIES = "choice:TEST.csv[:DEV.csv], choice:mmlu:SUBJECT, perplexity:PROMPTS or lm-eval:TASK"
_LETTERS = "ABCD"
_COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answer")


def further_probes(
    specs: Sequence[str], limit: int | None, system_prompt: str | None, openings: Path | None = None
) -> list[Probe]:
    """Return one probe for each specification, in their order.

    Args:
        specs: `over-refusal:PROMPTS` (harmless prompts), `attack:PROMPTS` (prompts that carry an attack),
            `margin:PROMPTS` (see `margin_probe`), or what `capability_probe` takes. PROMPTS is what `load_prompts`
            takes.
        limit: The number of items of each, from the first; None for all.
        system_prompt: The system prompt that the prompts among them are asked with.
        openings: The file of openings for refusal margins; None: the shipped ones.

    Raises:
        InputError: a specification is none of these, or is given twice.

    """
    if limit is not None and limit < 1:
        raise InputError(f"--also-limit {limit}: expected at least 1 item")
    probes = [_probe(spec, limit, system_prompt, openings) for spec in specs]
    for spec in specs:
        if specs.count(spec) > 1:
            raise InputError(f"--also {spec}: given twice; give each once")
    return probes


def _probe(spec: str, limit: int | None, system_prompt: str | None, openings: Path | None) -> Probe:
    kind, _, source = spec.partition(":")
    if kind == "margin" and source:
        return margin_probe(spec, limit, system_prompt, openings)
    if kind not in ("over-refusal", "attack") or not source:
        return capability_probe(spec, limit)
    is_attack = kind == "attack"
    if is_attack:
        found = load_set(source, limit, flag=f"--also {kind}")
    else:
        found = PromptSet(load_prompts(source, limit, flag=f"--also {kind}", purpose="harmless"))
    return PromptProbe(name=spec, source=source, harmful=is_attack, system_prompt=system_prompt, **found._asdict())


def capability_probe(
    spec: str, limit: int | None, *, flag: str = "--also"
) -> ChoiceProbe | PerplexityProbe | HarnessProbe:
    """Return the probe of a capability.

    Args:
        spec: `choice:TEST.csv` or `choice:TEST.csv:DEV.csv` (multiple choice in the MMLU layout), `choice:mmlu:SUBJECT`
            (five-shot), `perplexity:PROMPTS` (texts), or `lm-eval:TASK` (a task's name or its YAML file).
        limit: The number of items, from the first; None for all.
        flag: What the user gave it with, for the messages.

    Raises:
        InputError: the specification is none of these, or its data cannot be read.

    """
    kind, _, source = spec.partition(":")
    if kind == "choice" and source:
        test, shots = _test_and_shots(source, f"{flag} {spec}")
        questions = load_questions(test, shots, limit, flag=f"{flag} choice")
        return ChoiceProbe(name=spec, source=source, questions=questions)
    if kind == "perplexity" and source:
        texts = load_prompts(source, limit, flag=f"{flag} perplexity", purpose="text")
        return PerplexityProbe(name=spec, source=source, texts=texts)
    if kind == "lm-eval" and source:
        return harness_probe(spec, source, limit, flag=flag)
    also = "over-refusal:PROMPTS, attack:PROMPTS, margin:PROMPTS, " if flag == "--also" else ""
    raise InputError(f"{flag} {spec}: no such probe; expected {also}{_CAPABILITIES}")


def _test_and_shots(source: str, given: str) -> tuple[Path, Path | None]:
    """Return the file of the questions, and the file of the solved ones if there is one."""
    if source.startswith("mmlu:"):
        named = parse_name(source)
        if named is None:
            raise InputError(f"{given}: MMLU has no such subject; expected mmlu:SUBJECT as in mmlu:abstract_algebra")
        test, shots = set_paths(named.data, given)
        return test, shots
    if is_file(source) or ":" not in source:
        return Path(source), None
    name, _, examples = source.rpartition(":")
    return Path(name), Path(examples)


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
    context = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    if shots is not None:
        context += "".join(f"{row.text} {_LETTERS[row.answer]}\n\n" for row in _rows(shots, flag))
    options = tuple(f" {letter}" for letter in _LETTERS)
    return tuple(
        Question(context=context + row.text, options=options, answer=row.answer)
        for row in itertools.islice(_rows(test, flag), limit)
    )


class _Row(NamedTuple):
    text: str
    """The question with its lettered choices, up to where the answer follows."""
    answer: int


def _rows(path: Path, flag: str) -> list[_Row]:
    given = f"{flag}:{path}"
    table = csv_table(read_text(path, given, newline=""), given)
    if missing := [column for column in _COLUMNS if column not in (table.columns or ())]:
        raise InputError(f"{given}: no column {missing[0]!r}; expected {', '.join(_COLUMNS)}")
    rows = [_row(row.value, f"{given}: {row.place}") for row in table.rows]
    if not rows:
        raise InputError(f"{given}: no questions in it; expected at least one")
    return rows


def _row(row: dict[str, str], given: str) -> _Row:
    question, *choices, answer = (row[column] for column in _COLUMNS)
    if not question.strip():
        raise InputError(f"{given} lacks its question; fill or remove it")
    if answer.strip() not in ("0", "1", "2", "3"):
        raise InputError(f"{given} has the answer {answer!r}; expected 0, 1, 2 or 3")
    lines = [f"{letter}. {choice}" for letter, choice in zip(_LETTERS, choices, strict=True)]
    return _Row("\n".join((question.strip(), *lines, "Answer:")), int(answer))
