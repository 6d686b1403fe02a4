"""The commands as Python functions: same words, same defaults; they print nothing and return values."""

from safescape.api.comparing import RunComparison, compare
from safescape.api.finetuning import finetune
from safescape.api.interpolating import path
from safescape.api.repairing import Repaired, repair
from safescape.api.run import Run, load_run, report, run_survey
from safescape.api.scanning import scan

__all__ = [
    "Repaired",
    "Run",
    "RunComparison",
    "compare",
    "finetune",
    "load_run",
    "path",
    "repair",
    "report",
    "run_survey",
    "scan",
]
