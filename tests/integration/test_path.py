"""`safescape path`, planes, further probes and `compare` from end to end on tiny models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import pytest
import torch
from safetensors.torch import load_file, save_file

import safescape
from helpers import tiny_models
from helpers.command_line import run_command
from safescape import InputError, Run


class Asked(TypedDict):
    """Keywords of the short runs of this file."""

    limit: int
    max_new_tokens: int


ASKED: Asked = {"limit": 4, "max_new_tokens": 8}


def finetune(base: Path, directory: Path, seed: int, scale: float = 1.0) -> Path:
    """Save a model with noise added to every tensor of the base; equal seeds give equal models."""
    shutil.copytree(base, directory)
    draw = torch.Generator().manual_seed(seed)
    tensors = load_file(base / "model.safetensors")
    changed = {name: t + scale * 0.05 * torch.randn(t.shape, generator=draw) for name, t in sorted(tensors.items())}
    save_file(changed, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, its finetune, a checkpoint half way, and another finetune; read-only."""
    root = tmp_path_factory.mktemp("models")
    return {
        "base": tiny_model,
        "tuned": finetune(tiny_model, root / "tuned", 1),
        "half": finetune(tiny_model, root / "half", 1, scale=0.5),
        "third": finetune(tiny_model, root / "third", 2),
        "other": tiny_models.save_model(root / "other", tiny_models.llama_config(intermediate_size=64)),
    }


@pytest.fixture(scope="module")
def line(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("path") / "run"
    through = [str(models["half"]), str(models["tuned"])]
    return safescape.path(str(models["base"]), str(models["tuned"]), out=out, steps=4, through=through, **ASKED)


def test_a_line_from_base_to_finetune_is_measured(line: Run, models: dict[str, Path]) -> None:
    points = line.landscape.on_line(0)
    assert [p.coords[0] for p in points] == [-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    assert line.landscape.complete
    document = json.loads((line.directory / "landscape.json").read_text())
    assert document["axes"][0]["kind"] == "interpolation"
    assert document["axes"][0]["toward"] == str(models["tuned"])


def test_checkpoints_of_the_trajectory_have_the_expected_coordinates(line: Run) -> None:
    half, tuned = (p for p in line.points if p.waypoint is not None)
    assert half.effective == pytest.approx((0.5,), abs=1e-5)
    assert tuned.effective == pytest.approx((1.0,), abs=1e-5)
    assert max(half.off, tuned.off) < 1e-5
    at_one = next(p for p in line.landscape.on_line(0) if p.coords == (1.0,))
    assert (tuned.refused, tuned.complied) == (at_one.refused, at_one.complied)


def test_the_command_and_the_function_do_the_same(line: Run, models: dict[str, Path], tmp_path: Path) -> None:
    flags = ["--steps", 4, "--through", models["half"], "--through", models["tuned"]]
    flags += ["--limit", 4, "--max-new-tokens", 8, "--out", tmp_path / "run", "--json"]
    done = run_command("path", models["base"], models["tuned"], *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (line.directory / "landscape.json").read_text()


def test_a_plane_through_three_models_is_measured(models: dict[str, Path], tmp_path: Path) -> None:
    base, tuned, third = (str(models[name]) for name in ("base", "tuned", "third"))
    run = safescape.path(base, tuned, third, steps=1, beyond=0.5, through=[third], out=tmp_path / "run", **ASKED)
    assert run.landscape.subspace == "plane"
    assert run.landscape.complete
    (waypoint,) = (p for p in run.points if p.waypoint is not None)
    assert waypoint.effective[1] == pytest.approx(1.0, abs=1e-5)
    assert waypoint.off < 1e-5


def test_planes_with_one_and_two_random_directions_are_measured(models: dict[str, Path], tmp_path: Path) -> None:
    base, tuned = str(models["base"]), str(models["tuned"])
    across = safescape.path(base, tuned, across="random", steps=2, beyond=0, span=0.2, out=tmp_path / "across", **ASKED)
    assert len(across.points) == 3 * 3
    plane = safescape.scan(base, dim=2, steps=(4, 2), span=(0.5, 0.2), out=tmp_path / "plane", **ASKED)
    assert len(plane.points) == 5 * 3
    assert {p.coords[1] for p in plane.points} == {-0.2, 0.0, 0.2}
    assert len(plane.answers((0.25, -0.2))) == 4
    flags = ["--steps", "4,2", "--span", "0.5,0.2", "--limit", 4, "--max-new-tokens", 8, "--out", tmp_path / "plane"]
    again = run_command("scan", base, "--dim", 2, *flags)
    assert again.returncode == 0, again.stderr
    assert "15/15 points" in again.stderr, "the same flags find the run finished"


@pytest.fixture(scope="module")
def several(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two system prompts, and one probe of every further kind."""
    root = tmp_path_factory.mktemp("several")
    (root / "sums_test.csv").write_text(
        "question,choice0,choice1,choice2,choice3,answer\none and one?,1,2,3,4,1\ntwo and two?,1,2,3,4,3\n"
    )
    (root / "sums_dev.csv").write_text("question,choice0,choice1,choice2,choice3,answer\ntwo less one?,1,2,3,4,0\n")
    (root / "texts.jsonl").write_text('{"turns": ["A text.", "more"]}\n{"turns": ["Another text, longer.", "more"]}\n')
    also = [
        "over-refusal:builtin:benign",
        f"choice:{root / 'sums_test.csv'}:{root / 'sums_dev.csv'}",
        f"perplexity:{root / 'texts.jsonl'}:turns.0",
    ]
    return safescape.scan(
        str(models["base"]), directions=1, steps=2, system_prompt=["default", "roleplay"], also=also, also_limit=2,
        out=root / "run", **ASKED,
    )  # fmt: skip


def test_every_probe_is_measured_at_every_point(several: Run) -> None:
    landscape = several.landscape
    assert [p.name for p in several.survey.probes][:2] == ["harmful, default", "harmful, roleplay"]
    assert {(m.kind, m.n) for m in landscape.measures} == {("accuracy", 2), ("over_refusal", 2), ("perplexity", 2)}
    assert len(landscape.measures) == 3 * 3
    assert set(landscape.differences) == {"harmful, roleplay"}
    assert all(m.value > 1 for m in landscape.measures if m.kind == "perplexity")
    assert len(several.answers(0.5, probe="harmful, roleplay")) == 4
    question = next(p for p in several.survey.probes if p.kind == "choice").questions[0]
    assert question.context == (
        "The following are multiple choice questions (with answers) about sums.\n\n"
        "two less one?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: A\n\none and one?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    )


def test_scores_are_those_of_the_engine_at_the_point(several: Run) -> None:
    """Perplexity at the origin, computed from transformers' loss."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(several.survey.model)
    tokenizer = AutoTokenizer.from_pretrained(several.survey.model)
    nats = tokens = 0.0
    for text in ("A text.", "Another text, longer."):
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.inference_mode():
            nats += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    (found,) = (m for m in several.landscape.measures if m.kind == "perplexity" and m.coords == (0.0,))
    assert found.value == pytest.approx(float(torch.tensor(nats / tokens).exp()), rel=1e-5)


def test_two_runs_are_compared(models: dict[str, Path], tmp_path: Path) -> None:
    runs = []
    for name in ("base", "tuned"):
        runs.append(tmp_path / name)
        safescape.scan(str(models[name]), directions=1, steps=2, out=runs[-1], **ASKED)
    comparison = safescape.compare(runs)
    assert comparison.models == (str(models["base"]), str(models["tuned"]))
    done = run_command("compare", *runs)
    assert done.returncode == 0, done.stderr
    assert "less the first" in done.stdout
    document = json.loads(run_command("compare", *runs, "--json").stdout)
    assert document["names"] == [str(run) for run in runs]
    assert set(document["differences"][0]) >= {"origin_asr", "visage", "safety_auc", "basin_radius"}
    other = tmp_path / "other"
    safescape.scan(str(models["base"]), directions=1, steps=4, out=other, **ASKED)
    with pytest.raises(InputError, match="steps: 2 here, 4 there"):
        safescape.compare([runs[0], other])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["path", "{base}", "{base}"], "has the very weights of"),
        (["path", "{base}", "{other}"], "has shape"),
        (["path", "{base}", "{tuned}", "{half}"], "lie on one line through the origin (cosine"),
        (["path", "{base}", "{tuned}", "{third}", "--across", "random"], "the plane is already the one through"),
        (["path", "{base}", "{tuned}", "--across", "sideways"], "--across sideways: expected random"),
        (["path", "{base}", "{tuned}", "--through", "{other}"], "has shape"),
        (["path", "{base}", "{tuned}", "--beyond", "-1"], "--beyond -1.0: expected 0 or more"),
        (["path", "{base}", "{tuned}", "--steps", "0"], "--steps 0: expected at least 1"),
        (["scan", "{base}", "--dim", "3"], "--dim 3: expected 1 (lines) or 2 (a plane)"),
        (["scan", "{base}", "--dim", "2", "--directions", "3"], "--directions 3: a plane has 2"),
        (["scan", "{base}", "--steps", "4,4"], "--steps: 2 values for 1 axis"),
        (["scan", "{base}", "--span", "wide"], "--span wide: expected a number"),
        (["scan", "{base}", "--also", "choice:{missing}"], "row 2 (line 3) has the answer ''; expected 0, 1, 2 or 3"),
        (["scan", "{base}", "--also", "choice:nowhere.csv"], "choice:nowhere.csv: cannot be read"),
        (["scan", "{base}", "--also", "perplexity:{empty}:text"], "row 1 (line 2) is empty"),
        (["scan", "{base}", "--also", "juggling:x"], "--also juggling:x: no such probe; expected over-refusal"),
        (["scan", "{base}", "--also", "attack:builtin:harmful", "--also", "attack:builtin:harmful"], "given twice"),
        (["scan", "{base}", "--system-prompt", "empty", "--system-prompt", "empty"], "given twice"),
        (["compare", "{base}"], "no run.sqlite in it"),
    ],
    ids=lambda value: " ".join(value)[-60:] if isinstance(value, list) else "",
)
def test_bad_input_is_refused_in_one_line(
    models: dict[str, Path],
    tmp_path: Path,
    refused: Callable[[Sequence[str], str], None],
    arguments: list[str],
    message: str,
) -> None:
    columns = "question,choice0,choice1,choice2,choice3,answer\n"
    (tmp_path / "missing.csv").write_text(f"{columns}a?,1,2,3,4,0\nb?,1,2,3,4,\n")
    (tmp_path / "empty.csv").write_text('text,other\n"",1\n')
    files = {"missing": tmp_path / "missing.csv", "empty": tmp_path / "empty.csv"}
    refused([argument.format(**models, **files) for argument in arguments], message)
