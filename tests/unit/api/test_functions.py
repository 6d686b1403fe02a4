"""Functions of the commands: one text in place of a list, devices, workers, and files that are written together."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import safescape
from helpers.runs import make_run
from helpers.surveys import make_survey
from safescape import InputError, Run, RunError, Survey
from safescape.judge_runtime import JudgeSettings
from safescape.options import MeasureOptions
from safescape.placement import Placement


@pytest.fixture
def run(tmp_path: Path) -> Run:
    survey = make_survey(prompts=4, lines=2, steps=2)
    survey = survey.model_copy(
        update={
            "subspace": survey.subspace.model_copy(
                update={"axes": tuple(axis.model_copy(update={"span": 1.0}) for axis in survey.subspace.axes)}
            )
        }
    )
    make_run(tmp_path / "run", survey).close()
    return safescape.load_run(tmp_path / "run")


@pytest.mark.parametrize(("given", "stored"), [(1, 1.0), (0, 0.0), (-1, -1.0), (-0.0, 0.0), ([1], (1.0,))])
def test_coordinates_may_be_integers(run: Run, given: float, stored: float) -> None:
    assert len(run.answers(given, line=1)) == 4
    assert run.answers(given, line=1) == run.answers(stored, line=1)


class StopError(Exception):
    """Raised in place of measuring or training."""


@pytest.mark.parametrize(
    ("settings", "judges", "also", "through"),
    [
        ({"judges": "keyword"}, ("keyword",), [], []),
        ({"judges": ["keyword", "refusal"]}, ("keyword", "refusal"), [], []),
        ({"also": "over-refusal:builtin:benign"}, ("keyword", "refusal"), ["over-refusal:builtin:benign"], []),
        ({"through": "tuned"}, ("keyword", "refusal"), [], ["tuned"]),
        ({"system_prompt": "empty"}, ("keyword", "refusal"), [], []),
        ({"system_prompt": ["empty"]}, ("keyword", "refusal"), [], []),
    ],
)
def test_path_takes_one_text_in_place_of_a_list(
    tiny_model: Path,
    tuned: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    judges: tuple[str, ...],
    also: list[str],
    through: list[str],
) -> None:
    surveys: list[Survey] = []

    def execute(survey: Survey, *args: object, **kwargs: object) -> Run:
        surveys.append(survey)
        raise StopError

    monkeypatch.setattr("safescape.api.survey.execute", execute)
    if "through" in settings:
        settings = {"through": str(tuned)}
    with pytest.raises(StopError):
        safescape.path(str(tiny_model), str(tuned), limit=2, also_limit=2, out=tmp_path / "run", **settings)
    (survey,) = surveys
    assert survey.judges == judges
    assert [probe.name for probe in survey.probes] == ["harmful", *also]
    assert [Path(waypoint.model).name for waypoint in survey.through] == through
    assert survey.prompts.system_prompt == ("" if "system_prompt" in settings else None)


def test_other_functions_take_one_text_in_place_of_a_list(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--report-to nowhere: expected tensorboard"):
        safescape.finetune("demo", out=tmp_path / "out", report_to="nowhere")
    with pytest.raises(InputError, match="--side nowhere: no such side here"):
        safescape.bench(sides="nowhere")
    with pytest.raises(InputError, match="nowhere"):
        safescape.judge_run(run.directory, "nowhere")
    safescape.report(run.directory, figures=str(tmp_path / "figure.svg"))
    safescape.export(run.directory, str(tmp_path / "points.csv"))
    assert {path.name for path in tmp_path.iterdir()} == {"run", "figure.svg", "points.csv"}


@pytest.fixture
def tuned(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model whose matrices are multiplied by 1.02."""
    directory = Path(shutil.copytree(tiny_model, tmp_path / "tuned"))
    tensors = load_file(directory / "model.safetensors")
    moved = {name: tensor * (1.02 if tensor.dim() > 1 else 1.0) for name, tensor in tensors.items()}
    save_file(moved, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def test_an_error_of_a_capability_names_the_flag_capability(tmp_path: Path) -> None:
    """`repair` has no flag `--also`, although `scan --also` takes the same probes."""
    for spec in ("foo", "choice:nowhere.csv", "perplexity:nowhere.csv:text", "lm-eval:no-such-task"):
        with pytest.raises(InputError) as refused:
            safescape.repair("demo", "demo-base", out=tmp_path / "out", capability=spec)
        assert "--also" not in str(refused.value)
    with pytest.raises(InputError, match=r"^--capability foo: no such probe"):
        safescape.repair("demo", "demo-base", out=tmp_path / "out", capability="foo")


def test_an_empty_chat_template_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jinja").write_text("\n")
    with pytest.raises(InputError, match=r"--chat-template .*empty.jinja: is empty; give a Jinja template"):
        safescape.scan(str(tiny_model), chat_template=tmp_path / "empty.jinja", limit=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "device"),
    [({"device": "cpu"}, "cpu"), ({}, "cuda"), ({"device": "cuda"}, "cuda"), ({"device": "cpu", "ray": "auto"}, "cpu")],
)
def test_a_study_trains_on_the_device_that_it_measures_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    (tmp_path / "data.csv").write_text("goal,target\na request,Sure thing\n")
    given: dict[str, Any] = {}

    def finetune(model: str, **options: Any) -> None:
        given.update(options)
        raise StopError

    monkeypatch.setattr("safescape.api.study.scan", lambda model, **options: None)
    monkeypatch.setattr("safescape.api.study.finetune", finetune)
    with pytest.raises(StopError):
        safescape.study_finetuning("demo", data=str(tmp_path / "data.csv"), shots=[1], out=tmp_path / "s", **settings)
    assert given["device"] == device


@pytest.mark.parametrize(("settings", "dtype"), [({}, "float32"), ({"dtype": "auto"}, "auto")])
def test_the_runs_of_a_study_are_in_fp32_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], dtype: str
) -> None:
    """By default a scan on a GPU and a path would differ in dtype; a study compares them."""
    (tmp_path / "data.csv").write_text("goal,target\na request,Sure thing\n")
    given: dict[str, Any] = {}

    def scan(model: str, **options: Any) -> None:
        given.update(options)
        raise StopError

    monkeypatch.setattr("safescape.api.study.scan", scan)
    with pytest.raises(StopError):
        safescape.study_finetuning("demo", data=str(tmp_path / "data.csv"), shots=[1], out=tmp_path / "s", **settings)
    assert given["dtype"] == dtype


def test_a_study_on_the_second_gpu_is_refused_before_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    (tmp_path / "data.csv").write_text("goal,target\na request,Sure thing\n")
    monkeypatch.setattr("safescape.api.study.scan", pytest.fail)
    with pytest.raises(InputError, match="--device cuda:1: the Trainer takes the first GPU"):
        safescape.study_finetuning("demo", data=str(tmp_path / "data.csv"), shots=[1], device="cuda:1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:1"}, r"--device cuda:1: torch sees 1 GPUs here; give cpu or another one"),
        ({"device": "xpu:2"}, r"--device xpu:2: torch sees 1 xpu devices here; give cpu or another one"),
        ({"device": "mps", "engine": "vllm"}, r"--engine vllm --device mps: expected cpu or cuda"),
        ({"device": "xpu", "workers": 2}, r"--device xpu: workers run on cpu or cuda; measure without --workers"),
        ({"device": "tpu"}, r"device.*expected cpu, cuda, cuda:NUMBER, mps, xpu or xpu:NUMBER"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(InputError, match=message):
        safescape.scan(str(tiny_model), limit=1, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_device_that_torch_does_not_have_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    for device, what in (("mps", "0 mps devices"), ("xpu", "0 xpu devices")):
        with pytest.raises(InputError, match=f"--device {device}: torch sees {what} here; give cpu or another one"):
            safescape.scan(str(tiny_model), limit=1, device=device, out=tmp_path / "run")


def test_training_takes_a_cpu_or_an_nvidia_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    (tmp_path / "data.csv").write_text("goal,target\na request,Sure thing\n")
    data = str(tmp_path / "data.csv")
    with pytest.raises(InputError, match=r"device.*mps.*expected cpu or cuda"):
        safescape.finetune("demo", data=data, device="mps", out=tmp_path / "out")
    with pytest.raises(InputError, match="--device mps: training runs on cpu or cuda"):
        safescape.study_finetuning("demo", data=data, shots=[1], device="mps", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("gpus", "settings", "each"),
    [
        (2, {"workers": 2}, 2.0),
        (2, {"ray": "auto"}, 2.0),
        (2, {"workers": 2, "gpus_per_worker": 4.0}, 4.0),
        (1, {"workers": 2}, 1.0),
    ],
)
def test_each_worker_of_run_survey_reserves_the_gpus_of_one_model(
    monkeypatch: pytest.MonkeyPatch, gpus: int, settings: dict[str, Any], each: float
) -> None:
    """Guard models are placed on the same workers as the survey."""
    checked: list[float] = []
    given: list[JudgeSettings] = []

    def check_placement(placement: Placement, device: str, tensor_parallel: int = 1) -> None:
        checked.append(placement.gpus_on(device, tensor_parallel))

    def execute(survey: Survey, model: object, judging: JudgeSettings, **kwargs: object) -> None:
        given.append(judging)

    monkeypatch.setattr("safescape.api.execution.execute", execute)
    monkeypatch.setattr("safescape.api.execution.check_placement", check_placement)
    monkeypatch.setattr("safescape.api.execution.find_model", lambda survey: None)
    survey = make_survey(prompts=2, lines=1, steps=2)
    survey = survey.model_copy(update={"engine": "vllm", "tensor_parallel": gpus, "device": "cuda"})
    safescape.run_survey(survey, **settings)
    assert checked == [each]
    (judging,) = given
    assert judging.placement.workers == settings.get("workers")
    assert judging.device == "cuda"


@pytest.mark.parametrize("write", [safescape.report, safescape.export])
def test_if_the_disk_is_full_at_the_second_file_the_first_one_is_unchanged(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Run]
) -> None:
    figures = write is safescape.report
    files = [tmp_path / name for name in (("a.svg", "b.svg") if figures else ("a.md", "b.md"))]
    files[0].write_text("earlier")
    whole: dict[str, Callable[..., int]] = {"write_bytes": Path.write_bytes, "write_text": Path.write_text}

    def failing(name: str) -> Callable[..., int]:
        def write_some(path: Path, content: Any, **kwargs: Any) -> int:
            if path.name.startswith(".b."):
                whole[name](path, content[:10], **kwargs)
                raise OSError(errno.ENOSPC, "No space left on device")
            return whole[name](path, content, **kwargs)

        return write_some

    before = {path.name for path in run.directory.iterdir()}
    for name in whole:
        monkeypatch.setattr(Path, name, failing(name))
    with pytest.raises(RunError, match=r"b\.(svg|md): cannot be written \(No space left on device\)"):
        write(run.directory, **({"figures": files} if figures else {"to": files}))
    assert files[0].read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([files[0].name, "run"])
    assert {path.name for path in run.directory.iterdir()} == before


def test_survey_and_options_name_the_same_settings_alike() -> None:
    """Options that are also fields of the survey are copied by name."""
    shared = set(MeasureOptions.model_fields) & set(Survey.model_fields)
    assert shared >= {"engine", "tensor_parallel", "adapter", "dtype", "batch_size", "whole_answers", "judges"}
