"""The options of every command, each defined once: flags, keywords of the functions and keys of pyproject.toml.

Loads no torch, so that `--help` does not wait for it.
"""

from safescape.options.finetune import FinetuneOptions, RepairOptions
from safescape.options.judge import JudgeOptions, JudgeRunOptions
from safescape.options.measure import (
    BenchOptions,
    CheckOptions,
    MeasureOptions,
    PathOptions,
    ScanOptions,
    StudyOptions,
)
from safescape.options.option import (
    Option,
    Options,
    choices_of,
    default_of,
    each_of,
    either,
    expected_of,
    fields_of,
    flags_of,
    help_of,
    is_argument,
    kind_of,
    option_of,
    read,
    takes,
)

__all__ = [
    "BenchOptions",
    "CheckOptions",
    "FinetuneOptions",
    "JudgeOptions",
    "JudgeRunOptions",
    "MeasureOptions",
    "Option",
    "Options",
    "PathOptions",
    "RepairOptions",
    "ScanOptions",
    "StudyOptions",
    "choices_of",
    "default_of",
    "each_of",
    "either",
    "expected_of",
    "fields_of",
    "flags_of",
    "help_of",
    "is_argument",
    "kind_of",
    "option_of",
    "read",
    "takes",
]
