"""Every option is defined once: flags, keywords, defaults, settings and error messages agree with its field."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Le
from pydantic import Field
from typer.main import get_command

import safescape
from safescape import InputError
from safescape.cli import app
from safescape.cli.study import _PYTHON_ONLY
from safescape.finetuning import MAX_EVALUATIONS
from safescape.landscape import Thresholds
from safescape.options import (
    AgreeOptions,
    BenchOptions,
    CheckOptions,
    CompareOptions,
    DirectionsOptions,
    ExportOptions,
    FinetuneOptions,
    JudgeRunOptions,
    LabelOptions,
    MeasureOptions,
    Option,
    Options,
    PathOptions,
    RepairOptions,
    ReportOptions,
    ScanOptions,
    StudyOptions,
    configured,
    each_of,
    read,
    takes,
)
from safescape.options.option import fields_of, flags_of, is_argument
from safescape.options.pyproject import _FLAGS_ONLY

FUNCTIONS: dict[str, tuple[Callable[..., Any], type[Options], set[str]]] = {
    "scan": (safescape.scan, ScanOptions, {"adapter"}),
    "path": (safescape.path, PathOptions, set()),
    "check": (safescape.check, CheckOptions, {"quick"}),
    "study finetuning": (safescape.study_finetuning, StudyOptions, _PYTHON_ONLY),
    "bench": (safescape.bench, BenchOptions, set()),
    "finetune": (safescape.finetune, FinetuneOptions, set()),
    "repair": (safescape.repair, RepairOptions, set()),
    "judge": (safescape.judge_run, JudgeRunOptions, set()),
    "label": (safescape.label, LabelOptions, set()),
    "agree": (safescape.agree, AgreeOptions, set()),
    "report": (safescape.report, ReportOptions, set()),
    "compare": (safescape.compare, CompareOptions, set()),
    "directions": (safescape.directions, DirectionsOptions, set()),
    "export": (safescape.export, ExportOptions, set()),
}
"""Each command's function, its options, and those that only Python takes."""


def parameters_of(command: str) -> dict[str, Any]:
    """Return the parameters of a command by name, as the parser has them."""
    found: Any = get_command(app)
    for word in command.split():
        found = found.commands[word]
    return {parameter.name: parameter for parameter in found.params}


@pytest.mark.parametrize("command", FUNCTIONS)
def test_every_field_is_a_flag_and_a_keyword_with_the_same_default(command: str) -> None:
    function, options, python_only = FUNCTIONS[command]
    keywords, parameters = inspect.signature(function).parameters, parameters_of(command)
    for name, field in fields_of(options).items():
        default = inspect.Parameter.empty if field.is_required() else field.default
        assert keywords[name].default == default, name
        assert field.description, f"{name} has no help"
        if name in python_only:
            assert name not in parameters
        elif is_argument(field):
            assert parameters[name].param_type_name == "argument"
        else:
            assert set(flags_of(name, field)) == set(parameters[name].opts)
            assert not parameters[name].secondary_opts, "a switch has no --no-switch"
    assert set(parameters) - set(fields_of(options)) <= {"as_json", "verbose", "more"} | (
        {"page", "port", "open_browser"} if command == "label" else set()
    )


@pytest.mark.parametrize("command", ["scan", "path", "check", "study finetuning"])
def test_a_new_measuring_option_is_one_field(command: str) -> None:
    """No command names the shared fields one by one."""
    function, options, python_only = FUNCTIONS[command]
    assert issubclass(options, MeasureOptions)
    assert set(MeasureOptions.model_fields) <= set(inspect.signature(function).parameters)
    assert set(MeasureOptions.model_fields) - python_only <= set(parameters_of(command))


@pytest.mark.parametrize("command", FUNCTIONS)
def test_help_describes_every_argument(command: str) -> None:
    function, options, _ = FUNCTIONS[command]
    arguments = (inspect.getdoc(function) or "").partition("Args:")[2]
    assert [name for name in options.model_fields if f"\n    {name}: " not in arguments] == []


def test_the_thresholds_of_a_check_are_those_of_the_gate() -> None:
    given = read(CheckOptions, {"base": "a", "tuned": "b"}).model_dump(include=set(Thresholds.model_fields))
    assert Thresholds(**given) == Thresholds()


def test_a_repair_has_an_evaluation_for_every_block() -> None:
    most = next(entry.le for entry in RepairOptions.model_fields["layers"].metadata if isinstance(entry, Le))
    assert most == MAX_EVALUATIONS - 4


def test_a_check_is_quick_by_default() -> None:
    limits = {}
    for settings in ({}, {"quick": False}, {"paper": True}):
        limits[str(settings)] = read(CheckOptions, {"base": "a", "tuned": "b", **settings}).preset.max_new_tokens
    assert list(limits.values()) == [48, 128, 512]


def test_settings_are_the_options_of_check_but_those_of_a_machine(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.safescape.check]\nunknown = 1\n")
    with pytest.raises(InputError, match="expected one of max-asr") as refused:
        configured(tmp_path / "pyproject.toml")
    named = set(str(refused.value).partition("one of ")[2].split(", "))
    assert named == {
        name.replace("_", "-") for name in CheckOptions.model_fields if name not in {*_FLAGS_ONLY, "base", "tuned"}
    }
    assert set(CheckOptions.model_fields) >= _FLAGS_ONLY


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limit": 0}, "--limit 0: expected at least 1"),
        ({"limit": "many"}, "--limit many: expected a whole number"),
        ({"seed": -1}, "--seed -1: expected 0 or more"),
        ({"dim": 3}, r"--dim 3: expected 1 \(lines\) or 2 \(a plane\)"),
        ({"dtype": "float16"}, "--dtype float16: expected auto, float32 or bfloat16"),
        ({"span": [0.5, float("nan")]}, "--span 0.5,nan: expected a number above 0, for example 0.5"),
        ({"safe_below": 100}, "--safe-below 100: expected a percentage from 0 to below 100"),
        ({"judges": 3}, "--judge 3: expected a text, or several"),
        ({"quick": True, "paper": True}, "--quick and --paper exclude each other"),
    ],
)
def test_a_value_out_of_bounds_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        safescape.scan("demo", **given)


def test_an_unknown_keyword_is_an_error_of_the_call() -> None:
    with pytest.raises(TypeError, match=r"scan\(\) got an unexpected keyword argument 'promts'"):
        safescape.scan("demo", promts="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing a required argument: 'tuned'"):
        safescape.path("demo")  # type: ignore[call-arg]


def test_one_text_is_not_a_list_of_letters() -> None:
    assert each_of("keyword") == ("keyword",)
    assert each_of(["keyword", "refusal"]) == ("keyword", "refusal")
    assert each_of(Path("a.pdf")) == (Path("a.pdf"),)
    assert each_of(()) == ()


class Settings(Options):
    """Options of a function of this test."""

    model: str = Field(kw_only=False)
    """A model."""
    size: Annotated[int, Field(ge=1)] = 3
    """How large."""
    shape: Literal["round", "square"] | None = None
    names: Annotated[str | Sequence[str], Option(default="none")] = ()
    """Names."""


@takes(Settings)
def described(options: Settings) -> str:
    """Describe the settings.

    Raises:
        InputError: always.

    """
    return f"{options.model} {options.size} {options.shape} {','.join(each_of(options.names))}"


def test_a_function_takes_the_fields_as_arguments() -> None:
    assert described("a") == "a 3 None "
    assert described(model="a", names="xy", size=4) == "a 4 None xy"
    assert str(inspect.signature(described)).startswith("(model: str, *, size: int = 3, shape:")
    assert described.__doc__ is not None
    assert "Args:\n    model: A model.\n    size: How large.\n" in described.__doc__
    assert described.__doc__.index("names: Names (default: none).") < described.__doc__.index("Raises:")


def test_options_and_commands_that_load_no_model_do_not_wait_for_torch() -> None:
    code = "import sys, safescape, safescape.options; safescape.report, safescape.compare, safescape.export"
    assert subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"]).returncode == 0
