"""The commands as Python functions: same words, same defaults; they print nothing and return values.

`view` is a command only: it serves pages until Ctrl-C, and in a notebook a run shows itself. The functions are imported
here at once, since a submodule of the same name would take the place of one that is imported later.
"""

from safescape.api.bench import bench
from safescape.api.check import Check, check
from safescape.api.compare import RunComparison, compare
from safescape.api.export import export
from safescape.api.finetune import finetune
from safescape.api.judge import judge, judge_run
from safescape.api.path import path
from safescape.api.repair import Repaired, repair
from safescape.api.report import report
from safescape.api.run import Run, load_run
from safescape.api.scan import scan
from safescape.api.study import Study, study_finetuning
from safescape.api.survey import run_survey

__all__ = [
    "Check",
    "Repaired",
    "Run",
    "RunComparison",
    "Study",
    "bench",
    "check",
    "compare",
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
