"""`--dtype auto`: what is decided from facts, what the facts are, and what a run keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import safescape
from helpers import tiny_models
from helpers.command_line import run_command
from helpers.surveys import THINK, make_survey, path_line, path_plane, random_plane, trajectory
from safescape import InputError, Run, Survey
from safescape.api.resumption import begin
from safescape.measure import DtypeChoice, Gpu, choose_dtype, gpu_of
from safescape.measure.live_dtype import Facts, dtype_of
from safescape.placement import LOCAL, Placement
from safescape.weights import resolve

GB = 10**9
H100, RTX_4090 = Gpu(85 * GB), Gpu(25 * GB)
SEVEN_B = 28 * GB
SETTINGS: dict[str, Any] = {"limit": 3, "max_new_tokens": 4, "directions": 1, "steps": 2, "judges": "keyword"}
# by hand: embedding, two layers (attention of 32×32 twice and 16×32 twice, an MLP of 48, two norms), the last norm
PARAMETERS = 260 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 2 * 32) + 32


@pytest.mark.parametrize(
    ("facts", "expected", "why"),
    [
        (Facts(None, None, SEVEN_B), "float32", None),
        (Facts(None, "the weights between the models", SEVEN_B), "float32", None),
        (Facts(H100, None, SEVEN_B), "bfloat16", "in bfloat16, as the checkpoint is stored"),
        (Facts(RTX_4090, None, SEVEN_B), "bfloat16", "in bfloat16, as the checkpoint is stored"),
        (
            Facts(H100, "a line", SEVEN_B),
            "float32",
            "in float32, because bfloat16, which is faster, would round a line",
        ),
        (
            Facts(RTX_4090, "a line", SEVEN_B),
            "bfloat16",
            "in bfloat16, which rounds a line: in float32 weights and cache would take 28 GB, more than 80% of the "
            "GPU's 25 GB",
        ),
        (
            Facts(Gpu(None), "a line", SEVEN_B),
            "float32",
            "in float32, because bfloat16 would round a line; whether it fits into the cluster's GPUs is not known "
            "here: --dtype bfloat16 needs half the memory",
        ),
        (Facts(Gpu(None), None, SEVEN_B), "bfloat16", "in bfloat16, as the checkpoint is stored"),
        (
            Facts(Gpu(16 * GB, has_bfloat16=False), None, SEVEN_B),
            "float32",
            "in float32, because this GPU has no arithmetic in bfloat16",
        ),
        (
            Facts(H100, "a line", SEVEN_B, beside=True),
            "bfloat16",
            "in bfloat16, because vLLM's kernels for adapters take no float32",
        ),
    ],
)
def test_what_is_chosen(facts: Facts, expected: str, why: str | None) -> None:
    assert dtype_of(facts) == (expected, why)


@given(st.integers(0, 2**42), st.integers(0, 2**42), st.integers(0, 2**42))
def test_nothing_is_rounded_that_fits_and_more_memory_never_rounds_more(needed: int, memory: int, more: int) -> None:
    def chosen(memory: int) -> str:
        return dtype_of(Facts(Gpu(memory), "a line", needed)).dtype

    assert (chosen(memory) == "float32") is (needed <= 0.8 * memory)
    if chosen(memory) == "float32":
        assert chosen(memory + more) == "float32"


def stored_in(directory: Path, dtype: torch.dtype, *, but: str = "", other: torch.dtype = torch.float32) -> Path:
    """Save the tiny model in a dtype; the tensors whose name contains `but` in another one."""
    tiny_models.save_model(directory)
    file = directory / "model.safetensors"
    tensors = {
        name: tensor.to(other if but and but in name else dtype).contiguous()
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, {"format": "pt"})
    return directory


@pytest.mark.parametrize(
    ("dtype", "but", "expected", "said"),
    [
        (torch.bfloat16, "", "bfloat16", "as the checkpoint is stored"),
        (torch.bfloat16, "norm", "bfloat16", "as the checkpoint is stored"),
        (torch.float16, "", "float32", "would round the checkpoint, which is stored in float16"),
        (torch.float32, "", "float32", "would round the checkpoint, which is stored in float32"),
        (torch.bfloat16, "proj", "float32", "would round the checkpoint, which is stored in float32"),
    ],
)
def test_a_random_landscape_has_the_dtype_of_most_weights(
    tmp_path: Path, dtype: torch.dtype, but: str, expected: str, said: str
) -> None:
    model = resolve(str(stored_in(tmp_path / "m", dtype, but=but)))
    for subspace in (None, random_plane(2)):
        choice = choose_dtype(make_survey(prompts=2, subspace=subspace), model, H100)
        assert choice.dtype == expected
        assert choice.why is not None
        assert choice.why.endswith(said)


def test_weights_between_models_and_merged_adapters_are_not_rounded(tmp_path: Path) -> None:
    directory = stored_in(tmp_path / "m", torch.bfloat16)
    model = resolve(str(directory))
    for subspace in (path_line(), path_plane()):
        why = "in float32, because bfloat16, which is faster, would round the weights between the models"
        assert choose_dtype(make_survey(subspace=subspace), model, H100) == ("float32", why)
    assert choose_dtype(make_survey(through=trajectory(1)), model, H100).dtype == "float32"
    adapted = resolve(f"{directory}+{tiny_models.save_adapter(directory, tmp_path / 'adapter')}")
    choice = choose_dtype(make_survey(), adapted, H100)
    assert choice == ("float32", "in float32, because bfloat16, which is faster, would round what the adapter changes")
    beside = make_survey(subspace=path_line()).model_copy(update={"engine": "vllm", "adapter": "unmerged"})
    assert choose_dtype(beside, model, H100).dtype == "bfloat16"


def test_a_cpu_reads_no_file(tiny_model: Path) -> None:
    assert choose_dtype(make_survey(), resolve(str(tiny_model))._replace(weights=None), None) == ("float32", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "rows", "tokens"),
    [
        ({}, 80, 128 + 25 // 3 + 128),
        ({"batch_size": 16}, 16, 128 + 25 // 3 + 128),
        ({"max_new_tokens": 512}, 80, 128 + 25 // 3 + 512),
        ({"markers": THINK, "max_thinking_tokens": 300}, 80, 128 + 25 // 3 + 300 + 128),
        ({"markers": THINK}, 80, 128 + 25 // 3 + 128 + 128),
    ],
)
def test_the_weights_and_the_cache_of_all_answers_must_fit(
    tiny_model: Path, changes: dict[str, Any], rows: int, tokens: int
) -> None:
    """Per token: keys and values of two heads of eight numbers in two layers, four bytes each."""
    survey = make_survey(subspace=path_line()).model_copy(update=changes)
    assert len(survey.prompts.prompts[-1]) == 25
    needed = 4 * PARAMETERS + rows * tokens * 2 * 2 * 2 * 8 * 4
    memory = -(-needed * 10 // 8)
    model = resolve(str(tiny_model))
    assert choose_dtype(survey, model, Gpu(memory + 1)).dtype == "float32"
    assert choose_dtype(survey, model, Gpu(memory - 2)).dtype == "bfloat16"


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let this machine have GPUs, by their memory and compute capability."""

    def have(*found: tuple[int, tuple[int, int]]) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=found[number][0])
        )
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: found[number][1])

    return have


@pytest.mark.parametrize(
    ("device", "placement", "tensor_parallel", "expected"),
    [
        ("cpu", LOCAL, 1, None),
        ("cpu", Placement(None, "auto"), 1, None),
        ("cuda", LOCAL, 1, Gpu(80)),
        ("cuda:1", LOCAL, 1, Gpu(24)),
        ("cuda:2", LOCAL, 1, Gpu(16, has_bfloat16=False)),
        ("cuda", LOCAL, 2, Gpu(32, has_bfloat16=False)),
        ("cuda", Placement(2), 1, Gpu(16, has_bfloat16=False)),
        ("cuda", Placement(2, gpus_per_worker=0.5), 1, Gpu(8, has_bfloat16=False)),
        ("cuda", Placement(2, gpus_per_worker=2.0), 1, Gpu(16, has_bfloat16=False)),
        ("cuda", Placement(None, "auto"), 1, Gpu(None)),
        ("cuda", Placement(None, "auto", 0.5), 4, Gpu(None)),
    ],
)
def test_what_an_engine_has_of_gpus(
    gpus: Callable[..., None], device: str, placement: Placement, tensor_parallel: int, expected: Gpu | None
) -> None:
    gpus((80, (9, 0)), (24, (8, 9)), (16, (7, 5)))
    assert gpu_of(device, placement, tensor_parallel) == expected


def test_gpus_of_apple_and_intel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda where: SimpleNamespace(total_memory=where.index))
    assert gpu_of("mps", LOCAL, 1) == Gpu(12)
    assert gpu_of("xpu:7", LOCAL, 1) == Gpu(7)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Gpu | None], None]:
    """Choose the dtype for a GPU, although the CPU measures."""
    return lambda gpu: monkeypatch.setattr("safescape.api.survey.gpu_of", lambda *_: gpu)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return stored_in(tmp_path / "model", torch.bfloat16)


def scan(model: Path, notes: list[str | None] | None = None, **given: Any) -> Run:
    heard: list[str | None] = [] if notes is None else notes
    return safescape.scan(str(model), on_progress=lambda at: heard.append(at.note), **{**SETTINGS, **given})


def test_a_scan_stores_what_was_chosen_and_says_so(
    model: Path, tmp_path: Path, on: Callable[[Gpu | None], None]
) -> None:
    on(H100)
    notes: list[str | None] = []
    run = scan(model, notes, out=tmp_path / "gpu")
    assert run.survey.dtype == "bfloat16"
    assert notes[0] == "in bfloat16, as the checkpoint is stored"
    given = scan(model, out=tmp_path / "given", dtype="bfloat16")
    assert given.survey == run.survey
    assert (given.directory / "landscape.json").read_bytes() == (run.directory / "landscape.json").read_bytes()
    assert scan(model, out=tmp_path / "paper", paper=True).survey.dtype == "float32"
    assert scan(model, out=tmp_path / "wide", dtype="float32").survey.dtype == "float32"
    on(None)
    notes.clear()
    assert scan(model, notes, out=tmp_path / "cpu").survey.dtype == "float32"
    assert notes[0] is None


def test_a_path_is_measured_in_fp32_where_it_fits(
    model: Path, tmp_path: Path, on: Callable[[Gpu | None], None]
) -> None:
    tuned = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        tuned.lm_head.weight.mul_(1.5)
    tuned.save_pretrained(tmp_path / "tuned")
    tiny_models.tokenizer().save_pretrained(tmp_path / "tuned")
    given = {**{name: SETTINGS[name] for name in ("limit", "max_new_tokens", "steps")}, "beyond": 0}

    def path(out: str) -> Survey:
        return safescape.path(str(model), str(tmp_path / "tuned"), out=tmp_path / out, **given).survey

    on(H100)
    assert path("large").dtype == "float32"
    on(Gpu(100_000))
    assert path("small").dtype == "bfloat16"
    assert path("large").dtype == "float32", "it goes on as it was begun"


@pytest.mark.parametrize("begun", ["float32", "bfloat16"])
@pytest.mark.parametrize("gpu", [None, H100, Gpu(16 * GB, has_bfloat16=False)])
def test_a_run_keeps_its_dtype(
    model: Path, tmp_path: Path, on: Callable[[Gpu | None], None], begun: str, gpu: Gpu | None
) -> None:
    first = scan(model, out=tmp_path / "run", dtype=begun)
    before = (first.directory / "survey.json").read_bytes()
    on(gpu)
    notes: list[str | None] = []
    again = scan(model, notes, out=tmp_path / "run")
    assert again.survey == first.survey
    assert (first.directory / "survey.json").read_bytes() == before
    own = "bfloat16" if gpu is H100 else "float32"
    assert ((notes[0] or "") == f"in {begun}, as the run was begun") is (begun != own)
    with pytest.raises(InputError, match=rf"different survey \(dtype: .* here, '{begun}' there\)"):
        scan(model, out=tmp_path / "run", dtype="float32" if begun == "bfloat16" else "bfloat16")
    with pytest.raises(InputError, match=r"different survey \(max_new_tokens: 5 here, 4 there\)"):
        scan(model, out=tmp_path / "run", max_new_tokens=5)


def test_the_default_directory_of_an_earlier_version_is_resumed(
    model: Path, tmp_path: Path, on: Callable[[Gpu | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions measured in fp32 on a GPU, too; an explicit dtype has its own directory."""
    monkeypatch.chdir(tmp_path)
    on(H100)
    fresh = scan(model, limit=2)
    assert fresh.survey.dtype == "bfloat16"
    earlier = scan(model, dtype="float32")
    assert scan(model).directory == earlier.directory
    asked = scan(model, dtype="bfloat16")
    assert asked.directory != earlier.directory
    assert scan(model).directory == asked.directory, "its own dtype comes first"
    assert scan(model, limit=2).directory == fresh.directory


def test_a_run_of_an_earlier_version_with_a_merged_adapter_is_resumed(
    model: Path, on: Callable[[Gpu | None], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With `--engine vllm` on a GPU, float32 had meant that the adapter is merged."""
    survey = make_survey(prompts=2, subspace=path_line()).model_copy(
        update={"engine": "vllm", "device": "cuda", "adapter": "unmerged", "dtype": "bfloat16"}
    )
    stored = survey.model_copy(update={"adapter": "merged", "dtype": "float32"})
    (tmp_path / "survey.json").write_text(stored.model_dump_json())
    monkeypatch.setattr("safescape.api.resumption.with_chats", lambda survey, *_: survey)

    def resumed(left_open: list[str]) -> Survey:
        return begin(
            survey,
            resolve(str(model)),
            tmp_path,
            template_of=None,
            max_thinking_tokens=None,
            choose=lambda survey: DtypeChoice("bfloat16", "in bfloat16"),
            left_open=left_open,
        ).survey

    assert resumed(["dtype", "adapter"]) == stored
    assert resumed(["dtype"]).differences(stored) == ["adapter: 'unmerged' here, None there"]


def test_the_command_prints_nothing_of_it_on_a_cpu(model: Path, tmp_path: Path) -> None:
    flags = ["--limit=2", "--max-new-tokens=2", "--directions=1", "--steps=2", "--device=cpu"]
    done = run_command("scan", str(model), *flags, "--dtype=auto", f"--out={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "float" not in done.stderr
    assert Survey.load(tmp_path / "run" / "survey.json").dtype == "float32"
