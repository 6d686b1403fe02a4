"""Measure how near a finetuned language model stands to losing its safety."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safescape.api import Run, compare, load_run, path, report, run_survey, scan
    from safescape.errors import InputError, RunError, SafescapeError
    from safescape.finetuning import SafetyMonitor
    from safescape.landscape import Comparison, Landscape
    from safescape.survey import (
        ChoiceProbe,
        InterpolationAxis,
        Lines,
        Outcome,
        PerplexityProbe,
        Plane,
        Point,
        PromptProbe,
        RandomAxis,
        Survey,
    )

__all__ = [
    "ChoiceProbe",
    "Comparison",
    "InputError",
    "InterpolationAxis",
    "Landscape",
    "Lines",
    "Outcome",
    "PerplexityProbe",
    "Plane",
    "Point",
    "PromptProbe",
    "RandomAxis",
    "Run",
    "RunError",
    "SafescapeError",
    "SafetyMonitor",
    "Survey",
    "compare",
    "load_run",
    "path",
    "report",
    "run_survey",
    "scan",
]

_HOMES = ("errors", "survey", "landscape", "finetuning", "api")
"""Searched in this order, so that only `SafetyMonitor` and the functions of `api` wait for torch."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = (import_module(f"{__name__}.{home}") for home in _HOMES)
    value: object = next(vars(home)[name] for home in homes if name in home.__all__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
