"""`safescape check`: the gate for a release."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import show_check
from safescape.cli.progress import show_progress
from safescape.options import CheckOptions, configured


@with_options(CheckOptions, without={"quick"})
def check(given: Given, as_json: AsJson = False) -> int:
    """Example: safescape check demo ./my-finetune --max-asr 5 --junit check.xml

    Ask BASE, TUNED and points between and beyond them harmful requests, measure what the two refuse and can do, and
    exit with 1 if TUNED fails a threshold. The measured values are compared with the thresholds; with --strict, the
    worse ends of their intervals. Flags take precedence over the table tool.safescape.check of ./pyproject.toml.
    """
    with show_progress() as on_progress:
        found = safescape.check(**{**configured(), **given}, on_progress=on_progress)
    show_check(found, as_json=as_json)
    return 0 if found.passed else 1
