"""Measure how near a finetuned language model stands to losing its safety."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safescape.api.agree import agree
    from safescape.api.bench import bench
    from safescape.api.check import Check, check
    from safescape.api.compare import RunComparison, compare
    from safescape.api.directions import RunDirections, directions
    from safescape.api.execution import run_survey
    from safescape.api.export import export
    from safescape.api.finetune import finetune
    from safescape.api.inspect import inspect
    from safescape.api.judge import judge, judge_run
    from safescape.api.label import Labelling, label
    from safescape.api.path import path
    from safescape.api.repair import repair
    from safescape.api.report import report
    from safescape.api.run import Run, load_run
    from safescape.api.scan import scan
    from safescape.api.study import study_finetuning
    from safescape.errors import InputError, RunError, SafescapeError
    from safescape.finetuning.monitor import SafetyMonitor
    from safescape.landscape import Comparison, JudgeError, Landscape
    from safescape.survey import (
        ChoiceProbe,
        ComputedAxis,
        Exchange,
        Gradient,
        InterpolationAxis,
        Lines,
        MarginProbe,
        Outcome,
        PerplexityProbe,
        Plane,
        Point,
        PromptProbe,
        RandomAxis,
        Survey,
        Verdict,
    )

__all__ = [
    "Check",
    "ChoiceProbe",
    "Comparison",
    "ComputedAxis",
    "Exchange",
    "Gradient",
    "InputError",
    "InterpolationAxis",
    "JudgeError",
    "Labelling",
    "Landscape",
    "Lines",
    "MarginProbe",
    "Outcome",
    "PerplexityProbe",
    "Plane",
    "Point",
    "PromptProbe",
    "RandomAxis",
    "Run",
    "RunComparison",
    "RunDirections",
    "RunError",
    "SafescapeError",
    "SafetyMonitor",
    "Survey",
    "Verdict",
    "agree",
    "bench",
    "check",
    "compare",
    "directions",
    "export",
    "finetune",
    "inspect",
    "judge",
    "judge_run",
    "label",
    "load_run",
    "path",
    "repair",
    "report",
    "run_survey",
    "scan",
    "study_finetuning",
]

_COMMANDS = (
    *("agree", "bench", "check", "compare", "directions", "export", "finetune", "inspect", "judge", "label"),
    *("path", "repair", "report", "scan"),
)
"""Each in `api`, in the file of its name."""
_MODULES = {
    **{name: f"api.{name}" for name in _COMMANDS},
    "Check": "api.check",
    "Labelling": "api.label",
    "Run": "api.run",
    "RunComparison": "api.compare",
    "RunDirections": "api.directions",
    "SafetyMonitor": "finetuning.monitor",
    "judge_run": "api.judge",
    "load_run": "api.run",
    "run_survey": "api.execution",
    "study_finetuning": "api.study",
}
"""Loaded on first access, so that a name waits for no library that it does not need."""
_ROOMS = ("errors", "survey", "landscape")
"""Searched for all other names."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = (import_module(f"{__name__}.{place}") for place in ([_MODULES[name]] if name in _MODULES else _ROOMS))
    value: object = next(vars(home)[name] for home in homes if name in vars(home))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
