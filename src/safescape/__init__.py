"""Measure how near a finetuned language model stands to losing its safety."""

from safescape.api import Run, load_run, report, run_survey, scan
from safescape.errors import InputError, RunError, SafescapeError
from safescape.landscape import Landscape
from safescape.survey import Axis, Outcome, Point, Probe, Survey

__all__ = [
    "Axis",
    "InputError",
    "Landscape",
    "Outcome",
    "Point",
    "Probe",
    "Run",
    "RunError",
    "SafescapeError",
    "Survey",
    "load_run",
    "report",
    "run_survey",
    "scan",
]
