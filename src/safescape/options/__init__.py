"""The options of every command, each defined once: flags, keywords of the functions and keys of pyproject.toml.

Loads no torch, so that `--help` does not wait for it. `options.option` reads a field's flags, help and kind.
"""

from safescape.options.finetune import FinetuneOptions, RepairOptions
from safescape.options.inspect import InspectOptions
from safescape.options.measure import (
    BenchOptions,
    CheckOptions,
    MeasureOptions,
    PathOptions,
    ScanOptions,
    StudyOptions,
)
from safescape.options.option import Option, Options, each_of, read, takes
from safescape.options.pyproject import configured
from safescape.options.runs import (
    AgreeOptions,
    CompareOptions,
    DirectionsOptions,
    ExportOptions,
    JudgeOptions,
    JudgeRunOptions,
    LabelOptions,
    ReportOptions,
)

__all__ = [
    "AgreeOptions",
    "BenchOptions",
    "CheckOptions",
    "CompareOptions",
    "DirectionsOptions",
    "ExportOptions",
    "FinetuneOptions",
    "InspectOptions",
    "JudgeOptions",
    "JudgeRunOptions",
    "LabelOptions",
    "MeasureOptions",
    "Option",
    "Options",
    "PathOptions",
    "RepairOptions",
    "ReportOptions",
    "ScanOptions",
    "StudyOptions",
    "configured",
    "each_of",
    "read",
    "takes",
]
