"""The commands as Python functions: same words, same defaults; they print nothing and return values."""

from safescape.api.checking import Check, check
from safescape.api.comparing import compare
from safescape.api.configured import configured
from safescape.api.interpolating import path
from safescape.api.run import Run, load_run, report, run_survey
from safescape.api.scanning import scan

__all__ = ["Check", "Run", "check", "compare", "configured", "load_run", "path", "report", "run_survey", "scan"]
