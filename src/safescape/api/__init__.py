"""The commands as Python functions: same words, same defaults; they print nothing and return values."""

from safescape.api.benching import bench
from safescape.api.checking import Check, check
from safescape.api.comparing import RunComparison, compare
from safescape.api.configured import configured
from safescape.api.finetuning import finetune
from safescape.api.interpolating import path
from safescape.api.judging import judge, judge_run
from safescape.api.repairing import Repaired, repair
from safescape.api.run import Run, export, load_run, report, run_survey
from safescape.api.scanning import scan
from safescape.api.studying import Study, study_finetuning

__all__ = [
    "Check",
    "Repaired",
    "Run",
    "RunComparison",
    "Study",
    "bench",
    "check",
    "compare",
    "configured",
    "export",
    "finetune",
    "judge",
    "judge_run",
    "load_run",
    "path",
    "repair",
    "report",
    "run_survey",
    "scan",
    "study_finetuning",
]
