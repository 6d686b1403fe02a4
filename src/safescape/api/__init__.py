"""The commands as Python functions: same words, same defaults; they print nothing and return values."""

from safescape.api.comparing import RunComparison, compare
from safescape.api.interpolating import path
from safescape.api.run import Run, load_run, report, run_survey
from safescape.api.scanning import scan

__all__ = ["Run", "RunComparison", "compare", "load_run", "path", "report", "run_survey", "scan"]
