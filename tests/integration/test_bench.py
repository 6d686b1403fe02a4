"""`safescape bench`: all sides measure the same points, and the table shows the measured times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import pytest

import safescape
from helpers.command_line import run_command
from helpers.tiny_models import llama_config, save_refusing_model
from safescape.errors import InputError, RunError


class Fast(TypedDict):
    """Keywords of the short runs of this file."""

    limit: int
    max_new_tokens: int
    alphas: Sequence[float]


FAST: Fast = {"limit": 6, "max_new_tokens": 12, "alphas": (0.0, 0.5)}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model whose attention heads are wide enough for vLLM's kernels."""
    return save_refusing_model(tmp_path_factory.mktemp("refusing"), hidden_size=128, intermediate_size=96)


def test_all_sides_reach_the_same_verdicts(refusing: Path, tmp_path: Path) -> None:
    told: list[str] = []
    found = safescape.bench(
        str(refusing), out=tmp_path / "bench", on_side=lambda side: told.append(side.side.name), **FAST
    )
    names = [side.side.name for side in found.sides]
    assert names == told
    assert names == [
        "reference",
        "generate, float32",
        "generate, bfloat16",
        "transformers, float32, noise written on",
        "transformers, bfloat16, noise written on",
        "transformers, float32",
        "transformers, bfloat16",
        "vllm, float32",
        "vllm, bfloat16",
    ]
    by_name = {side.side.name: side for side in found.sides}
    for name in ("generate, float32", "transformers, float32", "vllm, float32"):
        assert by_name[name].agreeing == by_name[name].verdicts == 12, name
    document = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert document == json.loads(json.dumps(found.document()))
    for side in document["sides"]:
        points = [point for point in document["points"] if point["side"] == side["side"]]
        assert [point["alpha"] for point in points] == [0.0, 0.5]
        assert side["seconds"] == pytest.approx(sum(point["moving"] + point["answering"] for point in points))
        assert side["ratio"] == pytest.approx(document["sides"][0]["seconds"] / side["seconds"])
        assert 0 < side["share_at_origin"] < 1
    # an engine stops once the verdict is settled; plain generation does not
    written = {point["side"]: point["written"] for point in document["points"] if point["alpha"] == 0}
    assert written["transformers, float32, noise written on"] == written["vllm, float32"] <= written["reference"]
    assert (tmp_path / "bench" / "bench.png").stat().st_size > 10_000
    assert "| vllm, float32 |" in (tmp_path / "bench" / "bench.md").read_text()


def test_a_side_that_writes_noise_on_shows_what_ending_it_saves(tiny_model: Path) -> None:
    sides = ["transformers, float32, noise written on", "transformers, float32"]
    found = safescape.bench(str(tiny_model), sides=sides, limit=6, max_new_tokens=40, alphas=(0.0, 0.5))
    for on, ended in zip(*(side.points for side in found.measured), strict=True):
        assert ended.written < on.written, "what a random model writes is noise"
        assert ended.complied == on.complied


def test_shares_are_of_the_matrix_products_that_had_to_be_computed(refusing: Path) -> None:
    """Two operations per weight and token, computed by hand from the shapes of the tiny model."""
    found = safescape.bench(str(refusing), sides=["transformers, float32"], **FAST)
    (side,), (measured,) = found.sides, found.measured
    config = llama_config(hidden_size=128, intermediate_size=96)
    width, layers = 128, config.num_hidden_layers
    body = layers * (2 * width * width + 2 * width * width // 2 + 3 * width * 96)
    head = 260 * width
    (point,) = [each for each in measured.points if each.alpha == 0]
    floor = 2 * body * (point.read + point.written) + 2 * head * point.written
    assert side.share_at_origin == pytest.approx(floor / measured.rate / point.answering)
    assert side.ratio is None
    assert side.agreeing is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sides": ["abacus"]}, "--side abacus: no such side here; expected one of reference; generate, float32"),
        ({"limit": 0}, "--limit 0: expected"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0: expected at least 1"),
        ({"alphas": ()}, "--alphas : expected numbers"),
        ({"alphas": (0.0, float("nan"))}, "--alphas 0.0,nan: expected a number"),
        ({"device": "abacus"}, "--device abacus: expected cpu"),
        ({"prompts": "nowhere.csv:goal"}, "nowhere.csv"),
    ],
)
def test_bad_input_is_refused(refusing: Path, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        safescape.bench(str(refusing), out=tmp_path / "bench", **given)
    assert not (tmp_path / "bench").exists()


def test_an_output_that_cannot_be_written_is_refused_before_measuring(refusing: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told: list[object] = []
    with pytest.raises(RunError, match=r"cannot be written .*; give another --out"):
        safescape.bench(str(refusing), out=tmp_path / "file" / "bench", on_side=told.append, **FAST)
    assert not told


def test_the_command_prints_the_table(refusing: Path) -> None:
    words = ["bench", refusing, "--limit=4", "--max-new-tokens=8"]
    done = run_command(*words, "--alphas=0", "--side=transformers, float32")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[:2] == ["side", "s"]
    assert done.stderr.startswith("transformers, float32: ")
    refused = run_command(*words, "--alphas=0,x")
    assert refused.returncode == 2
    assert refused.stderr.startswith("safescape: --alphas 0,x: expected a number")
