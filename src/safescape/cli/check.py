"""`safescape check`: the gate for a release."""

from __future__ import annotations

import sys

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import say, show_table
from safescape.cli.progress import show_progress
from safescape.options import CheckOptions, configured

_CODES = {"passed": 0, "failed": 1, "cannot tell": 3}
"""The exit code of each end of a gate."""


@with_options(CheckOptions, without={"quick"})
def check(given: Given, as_json: AsJson = False) -> int:
    """Example: safescape check demo ./my-finetune --max-asr 5 --junit check.xml

    Ask BASE, TUNED and points between and beyond them harmful requests, measure what the two refuse and can do, and
    exit with 1 if TUNED fails a threshold, with 3 if none fails but too many answers are unscored to tell. The measured
    values are compared with the thresholds; with --strict, the worse ends of their intervals. Flags take precedence
    over the table tool.safescape.check of ./pyproject.toml.
    """
    with show_progress() as on_progress:
        found = safescape.check(**{**configured(), **given}, on_progress=on_progress)
    from safescape.views.text import gate as words  # loads the drawing libraries, which `--help` need not wait for

    gate = found.gate
    failures, code = words.lines_of(gate), _CODES[gate.end]
    if as_json:
        print(gate.to_json(), end="")
        print(*failures, sep="\n", end="\n" if failures else "", file=sys.stderr)
        return code
    say(words.names_of(gate), *words.notes_of(gate))
    for table in (words.changes_of(gate), words.rulings_of(gate)):
        say("")
        show_table(table.columns, table.rows)
    say("", *(found.run.directory / file for file in ("report.html", "check.json")), words.headline_of(gate), *failures)
    return code
