"""`repair` on real models: it saves the model that it measured, transformers loads it, and bad input is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import safescape
from helpers import tiny_models
from helpers.attack_artifacts import artifact
from helpers.command_line import run_command
from safescape import InputError
from safescape.finetuning import Evaluation
from safescape.finetuning.evaluations import Evaluator
from safescape.weights import blocks, resolve


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo after a few steps on harmful requests with affirmative openings, as an adapter."""
    out = tmp_path_factory.mktemp("attacked") / "lora"
    made = safescape.finetune(
        "demo", out=out, recipe="harmful", data="advbench", skip=300, lora=True, rank=4, epochs=3, learning_rate=2e-3
    )
    assert made.losses[-1] < made.losses[0]
    return out


@pytest.mark.data("advbench")
def test_an_attacked_demo_is_repaired_by_rescaling_its_adapter(attacked: Path, tmp_path: Path) -> None:
    seen: list[Evaluation] = []
    asked: dict[str, Any] = {"prompts": "advbench", "limit": 40, "max_new_tokens": 24}
    repaired = safescape.repair(
        "demo", f"demo+{attacked}", out=tmp_path / "repaired", on_evaluation=seen.append, **asked
    )
    assert seen[0].coords == (1.0,)
    assert seen[0].asr > 50
    assert len(seen) == 8
    assert repaired.is_adapter
    assert repaired.best.interval.high <= 10
    (alpha,) = repaired.best.coords
    before, after = (load_file(d / "adapter_model.safetensors") for d in (attacked, tmp_path / "repaired"))
    assert before.keys() == after.keys()
    for key in before:
        factor = alpha if "lora_B" in key else 1.0
        torch.testing.assert_close(after[key], before[key] * factor)
    # the saved model is measured again
    run = safescape.path("demo", f"demo+{tmp_path / 'repaired'}", out=tmp_path / "run", steps=1, beyond=0.0, **asked)
    other = next(point for point in run.points if point.coords == (1.0,))
    assert other.complied == repaired.best.complied
    card = (tmp_path / "repaired" / "README.md").read_text(encoding="utf-8")
    assert f"{seen[0].complied} of 40" in card
    assert f"{repaired.best.complied} of 40" in card


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and a finetune of it, in three shards each."""
    folder = tmp_path_factory.mktemp("pair")
    config = tiny_models.llama_config(num_hidden_layers=4)
    base, tuned = (
        tiny_models.save_model(folder / name, config, seed=seed, max_shard_size="60KB")
        for seed, name in enumerate(("base", "tuned"))
    )
    return base, tuned


def settled_by(
    monkeypatch: pytest.MonkeyPatch, is_safe: Callable[[tuple[float, ...]], bool]
) -> list[tuple[float, ...]]:
    """Decide what is safe, because tiny random models refuse nothing; return the list of the points measured."""
    measured: list[tuple[float, ...]] = []

    def at(self: Evaluator, coords: tuple[float, ...]) -> Evaluation:
        measured.append(coords)
        complied = 0 if is_safe(coords) else 80
        return Evaluation(coords, 80, complied, sum(coords) / 3)

    monkeypatch.setattr(Evaluator, "at", at)
    return measured


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_is_saved_in_the_finetunes_files_and_loads(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Literal["float32", "bfloat16"]
) -> None:
    base, tuned = pair
    settled_by(monkeypatch, lambda coords: coords[0] <= 0.5 and coords[1] <= 0.5)
    repaired = safescape.repair(str(base), str(tuned), out=tmp_path / "out", layers=2, dtype=dtype)
    assert repaired.best.coords == (0.5, 0.5)
    names = {path.name for path in tuned.glob("*.safetensors*")}
    assert len(names) > 2
    assert {path.name for path in (tmp_path / "out").glob("*.safetensors*")} == names
    expected = {
        name: torch.add(
            resolve(str(base)).weights.tensor(name),
            (resolve(str(tuned)).weights.tensor(name) - resolve(str(base)).weights.tensor(name)) * 0.5,
        ).to(getattr(torch, dtype))
        for name in resolve(str(base)).weights.names()
    }
    found = resolve(str(tmp_path / "out")).weights
    assert all(torch.equal(found.tensor(name), expected[name]) for name in expected)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == getattr(torch, dtype)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("stored", [0, 1, 3, 7])
def test_an_interrupted_repair_resumes_and_measures_no_point_twice(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    base, tuned = map(str, pair)
    measured = settled_by(monkeypatch, lambda coords: coords[0] <= 0.3)
    whole, parts = tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    expected = safescape.repair(base, tuned, out=whole)
    assert len(measured) == len(set(measured)) == 8
    points = list(measured)
    measured.clear()

    original = Evaluator.at

    def interrupted(self: Evaluator, coords: tuple[float, ...]) -> Evaluation:
        if len(measured) == stored:
            raise KeyboardInterrupt
        return original(self, coords)

    with monkeypatch.context() as context:
        context.setattr(Evaluator, "at", interrupted)
        with pytest.raises(KeyboardInterrupt):
            safescape.repair(base, tuned, out=parts)
    assert measured == points[:stored]
    assert parts.exists() == bool(stored), "without an evaluation nothing is left"
    resumed = safescape.repair(base, tuned, out=parts)
    assert measured == points
    assert resumed.search == expected.search
    assert files_of(parts) == files_of(whole)


def test_a_repair_that_is_killed_while_it_saves_resumes(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned = map(str, pair)
    measured = settled_by(monkeypatch, lambda coords: coords[0] <= 0.3)
    safescape.repair(base, tuned, out=tmp_path / "whole" / "out")
    out = tmp_path / "parts" / "out"
    written: list[Path] = []
    measured.clear()

    def cut_short(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half a file")
        written.append(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(blocks, "save_file", cut_short)
        with pytest.raises(KeyboardInterrupt):
            safescape.repair(base, tuned, out=out)
    assert written
    assert not (out / "repair.json").exists()
    safescape.repair(base, tuned, out=out)
    assert len(measured) == 8
    assert files_of(out) == files_of(tmp_path / "whole" / "out")


def test_a_finished_repair_loads_no_model_and_a_different_one_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned, out = str(pair[0]), str(shutil.copytree(pair[1], tmp_path / "tuned")), tmp_path / "out"
    measured = settled_by(monkeypatch, lambda coords: coords[0] <= 0.3)
    first = safescape.repair(base, tuned, out=out)
    before = files_of(out)
    measured.clear()
    monkeypatch.setattr("safescape.api.repair.TransformersEngine", None)
    seen: list[Evaluation] = []
    again = safescape.repair(base, tuned, out=out, on_evaluation=seen.append)
    assert again == first
    assert seen == list(first.search.evaluations)
    with pytest.raises(InputError, match=r"holds another repair \(max_asr: 20\.0 here, 10\.0 there\); give a new one"):
        safescape.repair(base, tuned, out=out, max_asr=20.0)
    tiny_models.save_model(Path(tuned), tiny_models.llama_config(num_hidden_layers=4), seed=7, max_shard_size="60KB")
    with pytest.raises(InputError, match=r"holds another repair \(tuned_fingerprint: "):
        safescape.repair(base, tuned, out=out)
    assert not measured
    assert files_of(out) == before


def test_nothing_is_saved_if_no_point_is_safe(tiny_model: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    attacks = artifact(tmp_path, [None, *(f"attack {n}" for n in range(39))])
    words = ["repair", *pair, "--out", tmp_path / "out", "--prompts", attacks, "--limit", 40, "--max-new-tokens", 4]
    done = run_command(*words)
    assert done.returncode == 1, done.stderr
    assert f"1 of 40 attacks of {attacks} found no prompt, which counts as a refusal" in done.stderr
    assert "FAILED no point on the way is safe; the best: α = " in done.stdout
    assert not (tmp_path / "out").exists()
    assert json.loads(run_command(*words, "--json").stdout)["saved"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"limit": 20}, r"--max-asr 10: with 20 prompts .* reaches 16\.1 %; give at least 35 with --limit"),
        ({"layers": 5}, "--layers 5: expected 1 to 4"),
        ({"max_asr": 0.0}, "--max-asr 0"),
        ({"data": "x", "capability": "y"}, "leave one out"),
        ({"capability": "over-refusal:builtin:benign"}, "--capability over-refusal"),
        ({"capability": "foo"}, "--capability foo: no such probe; expected choice:"),
        ({"dtype": "int8"}, "--dtype int8"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0"),
        ({"batch_size": 0}, "--batch-size 0"),
    ],
)
def test_bad_input_is_refused(pair: tuple[Path, Path], tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        safescape.repair(*map(str, pair), out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_directory_in_use_and_a_model_given_as_its_own_finetune_are_refused(pair: tuple[Path, Path]) -> None:
    base, tuned = pair
    with pytest.raises(InputError, match="is not empty"):
        safescape.repair(str(base), str(tuned), out=tuned)
    with pytest.raises(InputError, match="has the very weights"):
        safescape.repair(str(base), str(base), out=base.parent / "out")


@pytest.mark.parametrize("variables", [{}, {"style": "user"}])
def test_the_loss_is_the_perplexity_of_the_answers(
    pair: tuple[Path, Path], tmp_path: Path, variables: dict[str, str]
) -> None:
    """The loss at the finetune equals an independent computation with transformers."""
    base, tuned = pair[0], shutil.copytree(pair[1], tmp_path / "tuned")
    tokenizer: Any = AutoTokenizer.from_pretrained(tuned)
    tokenizer.chat_template = "{% if style %}<|{{ style }}|>{% endif %}" + tokenizer.chat_template
    tokenizer.save_pretrained(tuned)
    row = {"prompt": "what is two?", "response": "it is two"}
    (tmp_path / "v.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    seen: list[Evaluation] = []
    safescape.repair(
        str(base), str(tuned), out=tmp_path / "o", data=str(tmp_path / "v.jsonl"), limit=40, max_new_tokens=2,
        on_evaluation=seen.append, template_vars=[f"{name}={value}" for name, value in variables.items()],
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_pretrained(tuned)
    turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
    given = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, tokenize=False, **variables)
    whole = tokenizer.apply_chat_template(turns, tokenize=False, **variables)
    assert ("<|user|><|user|>" in given) == bool(variables)
    tokens = tokenizer(whole, return_tensors="pt").input_ids
    labels = tokens.clone()
    labels[:, : len(tokenizer(given).input_ids)] = -100
    with torch.no_grad():
        expected = float(model(tokens, labels=labels).loss.exp())
    assert seen[0].loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.data("advbench")
def test_an_adapter_that_repair_wrote_is_readable_by_peft(attacked: Path) -> None:
    config = json.loads((attacked / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "demo"
    under = AutoModelForCausalLM.from_pretrained(resolve("demo").directory)
    PeftModel.from_pretrained(under, attacked)
