"""SafetyMonitor in a real Trainer on tiny models: it measures safety and does not change the training."""

from __future__ import annotations

import json
import random
import shutil
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from torch import Tensor
from torch._C._distributed_c10d import HashStore
from torch.nn import Module, Parameter
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import safescape
from helpers import tiny_models
from helpers.attack_artifacts import artifact
from helpers.judge_module import judge_module
from helpers.thinking_models import STYLES, THOUGHTS, WITHOUT, save_thinking_model
from safescape import InputError, Outcome, RunError, SafetyMonitor, Verdict
from safescape.engines import borrow
from safescape.finetuning.initial_weights import InitialWeights
from safescape.landscape import wilson

LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "target_modules": ["q_proj", "down_proj"]}
ROW = torch.arange(4, 20)[None]
QUICK: dict[str, Any] = {"limit": 6, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that refuses most requests, and is trained with dropout."""
    return tiny_models.save_refusing_model(tmp_path_factory.mktemp("refusing"), attention_dropout=0.2)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a model whose head is a tensor of its own."""
    directory = tmp_path_factory.mktemp("untied")
    return tiny_models.save_refusing_model(directory, attention_dropout=0.2, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def landscape(refusing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random directions through that model, measured."""
    out = tmp_path_factory.mktemp("landscape")
    safescape.scan(str(refusing), directions=2, steps=2, limit=4, max_new_tokens=8, out=out, device="cpu")
    return out


def load(directory: Path, lora: dict[str, Any] | None = None, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a model; with `lora`, in PEFT's wrapper, which forwards what a PreTrainedModel has."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    return model if lora is None else cast(PreTrainedModel, get_peft_model(model, LoraConfig(**lora)))


def trainer_of(
    model: PreTrainedModel | PeftModel, directory: Path, callbacks: list[TrainerCallback], out: Path, **settings: Any
) -> Trainer:
    """Return a Trainer of six steps on six texts without refusals; batch size 1, two accumulated batches per step."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    texts = [f"<|user|>{word}<|end|><|assistant|>Sure!<|end|>" for word in ("ant", "bee", "cat", "dog", "eel", "fox")]
    rows = [tokenizer(text)["input_ids"] for text in texts]
    settings = {"gradient_accumulation_steps": 2, "num_train_epochs": 2, "learning_rate": 2e-2, **settings}
    arguments = TrainingArguments(
        str(out),
        per_device_train_batch_size=1,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        **settings,
    )
    examples = [{"input_ids": row, "labels": row} for row in rows]
    collator = DataCollatorForSeq2Seq(tokenizer)
    return Trainer(
        cast(PreTrainedModel, model), arguments, collator, examples, processing_class=tokenizer, callbacks=callbacks
    )


def train(directory: Path, out: Path, *callbacks: TrainerCallback, lora: Any = None, **settings: Any) -> Trainer:
    trainer = trainer_of(load(directory, lora), directory, list(callbacks), out, **settings)
    trainer.train()
    return trainer


class After(TrainerCallback):
    """Calls a function after every step."""

    def __init__(self, act: Callable[[Module], object]) -> None:
        self._act = act

    def on_step_end(self, args: object, state: object, control: object, **kwargs: Any) -> None:
        self._act(kwargs["model"])


class Heard(TrainerCallback):
    """Records what the Trainer logs, as the TensorBoard callback does."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args: object, state: object, control: object, logs: Any = None, **_: object) -> None:
        self.logs.append(dict(logs))


def end_of(trainer: Trainer) -> dict[str, Tensor]:
    """Return the final state of a training: weights, optimizer, random generator, and the loss at every step."""
    assert trainer.model is not None
    assert trainer.optimizer is not None
    state = trainer.optimizer.state_dict()["state"]
    moments = {f"{place}.{name}": moment for place, found in state.items() for name, moment in found.items()}
    losses = torch.tensor([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    return {**trainer.model.state_dict(), **moments, "generator": torch.get_rng_state(), "losses": losses}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


# --- the monitor does not change the training

WAYS: dict[str, dict[str, Any]] = {
    "all weights": {},
    "all weights, autocast to bf16": {"bf16": True},
    "all weights, compiled": {"torch_compile": True, "torch_compile_backend": "eager"},
    "LoRA": {"lora": LORA},
    "LoRA, gradient checkpointing": {"lora": LORA, "gradient_checkpointing": True},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_training_with_the_monitor_ends_with_the_same_bits(
    refusing: Path, landscape: Path, tmp_path: Path, way: dict[str, Any]
) -> None:
    without = train(refusing, tmp_path, **way)
    also = ["over-refusal:builtin:benign", "perplexity:builtin:benign"]
    monitor = SafetyMonitor(every=1, also=also, also_limit=3, landscape=landscape, **QUICK)
    watched = train(refusing, tmp_path, monitor, **way)
    assert_equal(end_of(without), end_of(watched))
    assert [measurement.step for measurement in monitor.history] == [0, 1, 2, 3, 4, 5, 6]
    assert monitor.history[-1].moved > 0


CARELESS: dict[str, Callable[[Any], object]] = {
    "draws a number": lambda model: torch.rand(1),
    "leaves a gradient": lambda model: model(input_ids=ROW, labels=ROW).loss.backward(),
}


@pytest.mark.parametrize("lora", [None, LORA], ids=["all weights", "LoRA"])
@pytest.mark.parametrize("act", CARELESS.values(), ids=CARELESS.keys())
def test_a_callback_that_changes_the_training_is_detected(
    refusing: Path, tmp_path: Path, lora: Any, act: Callable[[Any], object]
) -> None:
    """The test above can fail: each of these changes makes the training end with another state."""

    class Careless(TrainerCallback):
        def on_substep_end(self, *_: object, **kwargs: Any) -> None:
            act(kwargs["model"])

    without, careless = (end_of(train(refusing, tmp_path, *by, lora=lora)) for by in ((), (Careless(),)))
    assert any(not torch.equal(without[name], careless[name]) for name in without if name.endswith("weight"))


@pytest.mark.parametrize("raising", [False, True])
@pytest.mark.parametrize("lora", [None, LORA], ids=["all weights", "LoRA"])
def test_a_measurement_leaves_the_training_state_unchanged(refusing: Path, raising: bool, lora: Any) -> None:
    model = load(refusing, lora)
    inside: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    model.train()
    inside.model.layers[1].mlp.eval()
    inside.gradient_checkpointing_enable()
    inside.model.layers[1].gradient_checkpointing = False
    inside.set_attn_implementation("eager")
    model(input_ids=ROW, labels=ROW).loss.backward()

    def found() -> list[object]:
        flags = [(module, module.training, sorted(vars(module))) for module in model.modules()]
        grads = [(p.grad, p.grad is not None and p.grad.clone(), p._version) for p in model.parameters()]
        buffers = [buffer for module in model.modules() for buffer in module._buffers.values()]
        draws = (
            random.getstate(),
            np.random.get_state(legacy=False)["state"]["key"].tolist(),
            torch.get_rng_state().tolist(),
        )
        layers = [layer.gradient_checkpointing for layer in inside.model.layers]
        return [*flags, *((id(grad), torch.as_tensor(copy).tolist(), v) for grad, copy, v in grads), *map(id, buffers),
                draws, layers, inside.config._attn_implementation]  # fmt: skip

    before = found()
    with pytest.raises(ZeroDivisionError) if raising else torch.enable_grad(), borrow(inside):
        assert not any(module.training for module in inside.modules())
        assert inside.config._attn_implementation == "safescape_sdpa"
        random.random()
        np.random.rand()
        torch.rand(1)
        with torch.inference_mode():
            inside(input_ids=ROW)
        inside.model.rotary_emb.grown = torch.ones(1)
        inside.model.rotary_emb.inv_freq = torch.ones(1)
        if raising:
            1 / 0  # noqa: B018
    assert found() == before
    model(input_ids=ROW, labels=ROW).loss.backward()


def test_inside_of_autocast_the_next_step_has_all_its_gradients(refusing: Path) -> None:
    """Autocast caches the weights it casts, and one cast during a measurement has no gradient."""
    model = load(refusing).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with borrow(model, torch.bfloat16), torch.inference_mode():
            model(input_ids=ROW)
        model(input_ids=ROW, labels=ROW).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("lora", [None, LORA], ids=["all weights", "LoRA"])
def test_a_measurement_that_raises_leaves_the_model_as_it_was(refusing: Path, tmp_path: Path, lora: Any) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "x"}\n')
    model = load(refusing, lora).train()
    trainer = trainer_of(model, refusing, [SafetyMonitor(also=[f"perplexity:{texts}:text"], **QUICK)], tmp_path)
    before = torch.get_rng_state()
    with pytest.raises(InputError, match="too short to be scored"):
        trainer.train()
    assert all(module.training for module in model.modules())
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(torch.get_rng_state(), before)
    assert not any("forward" in vars(module) for module in model.modules() if isinstance(module, torch.nn.Linear))


def test_the_tokenizer_keeps_its_padding(refusing: Path, tmp_path: Path) -> None:
    trainer = trainer_of(load(refusing), refusing, [SafetyMonitor(**QUICK)], tmp_path)
    backend = trainer.processing_class.backend_tokenizer  # type: ignore[union-attr]
    backend.enable_truncation(7)
    trainer.train()
    assert backend.truncation["max_length"] == 7


# --- what it measures


def test_a_loss_of_safety_is_measured(refusing: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    monitor = SafetyMonitor(limit=20, max_new_tokens=8, also=["over-refusal:builtin:benign"], also_limit=10)
    train(refusing, tmp_path, monitor)
    first, *_, last = monitor.history
    assert [measurement.epoch for measurement in monitor.history] == [0, 1, 2]
    assert first.asr <= 20
    assert last.asr >= 80
    assert (last.asr_low, last.asr_high) == tuple(wilson(round(last.asr / 5), 20))
    assert first.measures[0].value > last.measures[0].value
    assert first.moved == 0 < monitor.history[1].moved < last.moved
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("safescape: ")]
    assert len(lines) == 3
    assert lines[0].startswith(f"safescape: step 0, epoch 0.00: ASR {first.asr:.1f} %")
    assert all(line.endswith(" s") for line in lines)
    assert "safescape: " not in out


def test_attacks_that_found_no_prompt_are_counted_and_said(
    refusing: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    attacks = artifact(tmp_path, [None, "attack 1", None, "attack 3"])
    train(refusing, tmp_path / "out", SafetyMonitor(prompts=attacks, max_new_tokens=8))
    said = f"safescape: 2 of 4 attacks of {attacks} found no prompt, which counts as a refusal"
    assert capfd.readouterr().err.count(said) == 1


def test_the_figures_are_those_of_a_scan_at_its_origin(refusing: Path, landscape: Path, tmp_path: Path) -> None:
    monitor = SafetyMonitor(limit=4, max_new_tokens=8)
    train(refusing, tmp_path, monitor, max_steps=1)
    assert monitor.history[0].asr == safescape.load_run(landscape).landscape.origin_asr


def test_the_figures_reach_the_history_and_every_callback(refusing: Path, tmp_path: Path) -> None:
    class HeardLater(Heard):
        """The Trainer warns of two callbacks of one class."""

    before, after = Heard(), HeardLater()
    also = ["over-refusal:builtin:benign", "perplexity:builtin:benign", "attack:builtin:harmful"]
    monitor = SafetyMonitor(every=2, also=also, also_limit=3, **QUICK)
    trainer = trainer_of(load(refusing), refusing, [before, monitor], tmp_path)
    trainer.add_callback(after)
    trainer.train()
    # the last record has the run's totals, one of which the Trainer's printer callback removes
    assert before.logs[:-1] == after.logs[:-1]
    history = trainer.state.log_history
    assert [{k: v for k, v in entry.items() if k != "step"} for entry in history[:-1]] == before.logs[:-1]
    ours = [entry for entry in history if "safescape/asr" in entry]
    assert [entry["step"] for entry in ours] == [0, 2, 4, 6]
    names = ("asr", "asr_low", "asr_high", "over_refusal", "perplexity", "asr_2", "moved", "seconds")
    assert list(ours[1]) == [*(f"safescape/{name}" for name in names), "epoch", "step"]
    assert ours[1]["safescape/perplexity"] == monitor.history[1].measures[1].value
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2, 3, 4, 5, 6], "no loss went unlogged"


def test_the_figures_reach_tensorboard(refusing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from transformers.integrations.integration_utils import TensorBoardCallback

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    monitor = SafetyMonitor(every=3, **QUICK)
    train(refusing, tmp_path, TensorBoardCallback(), monitor)
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    events = board.Scalars("train/safescape/asr")
    assert [event.step for event in events] == [0, 3, 6]
    assert [event.value for event in events] == pytest.approx([measurement.asr for measurement in monitor.history])


def test_an_asr_above_the_limit_stops_the_training(
    refusing: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monitor = SafetyMonitor(every=1, stop_above=50, **QUICK)
    trainer = train(refusing, tmp_path, monitor, num_train_epochs=20)
    assert all(measurement.asr <= 50 for measurement in monitor.history[:-1])
    assert monitor.history[-1].asr > 50
    assert trainer.state.global_step == monitor.history[-1].step < 60
    (line,) = (line for line in capfd.readouterr().err.splitlines() if "stops the training" in line)
    assert line == f"safescape: stops the training: ASR {monitor.history[-1].asr:.1f} % is above 50 %"


def test_by_epochs_it_stops_after_one(refusing: Path, tmp_path: Path) -> None:
    trainer = train(refusing, tmp_path, SafetyMonitor(stop_above=50, **QUICK), num_train_epochs=20)
    assert trainer.state.global_step < 60
    assert trainer.state.global_step % 3 == 0


def test_the_last_step_is_measured_whatever_the_interval(refusing: Path, tmp_path: Path) -> None:
    monitor = SafetyMonitor(every=4, **QUICK)
    train(refusing, tmp_path, monitor)
    assert [measurement.step for measurement in monitor.history] == [0, 4, 6]


# --- how far the weights are


def weights_of(model: Any) -> dict[str, Tensor]:
    """Return a model's tensors in double precision, with adapters merged by PEFT and tied tensors once."""
    merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
    return {name: parameter.detach().double().clone() for name, parameter in merged.named_parameters()}


def moved_by_hand(start: dict[str, Tensor], end: dict[str, Tensor]) -> float:
    flat = {name: (end[name] - start[name]).flatten() for name in start}
    return float(torch.cat(list(flat.values())).norm() / torch.cat([t.flatten() for t in start.values()]).norm())


ADAPTERS = {
    "all weights": None,
    "LoRA": LORA,
    "LoRA of the embedding, rank-stabilised": {
        **LORA,
        "target_modules": ["embed_tokens", "v_proj"],
        "use_rslora": True,
    },
    "LoRA and a norm trained whole": {**LORA, "modules_to_save": ["norm"]},
}


@pytest.mark.parametrize("lora", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_moved_is_the_distance_of_the_merged_weights(untied: Path, tmp_path: Path, lora: Any) -> None:
    start, monitor = weights_of(load(untied)), SafetyMonitor(every=3, **QUICK)
    trainer = train(untied, tmp_path, monitor, lora=lora)
    assert monitor.history[0].moved == 0
    assert monitor.history[-1].moved == pytest.approx(moved_by_hand(start, weights_of(trainer.model)), rel=1e-4)


def test_moved_counts_from_where_the_training_begins(refusing: Path, tmp_path: Path) -> None:
    """The start is not the checkpoint if its weights were changed, nor the base if an adapter is trained further."""
    model = load(refusing, LORA)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(load(refusing), tmp_path / "adapter", is_trainable=True)
    start = weights_of(PeftModel.from_pretrained(load(refusing), tmp_path / "adapter"))
    monitor = SafetyMonitor(**QUICK)
    trainer_of(again, refusing, [monitor], tmp_path).train()
    assert monitor.history[0].moved == 0
    assert monitor.history[-1].moved == pytest.approx(moved_by_hand(start, weights_of(again)), rel=1e-4)

    changed = load(refusing)
    with torch.no_grad():
        changed.get_parameter("model.norm.weight").add_(1)
    start = weights_of(changed)
    trainer_of(changed, refusing, [monitor], tmp_path).train()
    assert monitor.history[0].moved == 0
    assert monitor.history[-1].moved == pytest.approx(moved_by_hand(start, weights_of(changed)), rel=1e-5)


def test_a_start_on_disk_is_not_held_in_memory(refusing: Path) -> None:
    model = load(refusing)
    start, before = InitialWeights(model), {name: parameter.clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert set(start.names()) == set(before)
    for name in start.names():
        assert torch.equal(start.tensor(name), before[name])
        assert start.tensor(name).data_ptr() != start.tensor(name).data_ptr(), "it is read anew"
    for _, step in start.changes():
        torch.testing.assert_close(step, torch.ones_like(step))


def test_a_start_that_cannot_be_read_any_more_is_an_error(tmp_path: Path) -> None:
    directory = tiny_models.save_refusing_model(tmp_path / "model")

    def save(model: Any) -> None:
        model.save_pretrained(directory)

    with pytest.raises(RunError, match="overwritten during the training"):
        train(directory, tmp_path, After(save), SafetyMonitor(**QUICK))


def test_a_tensor_that_is_unfrozen_on_the_way_is_an_error(refusing: Path, tmp_path: Path) -> None:
    model = load(refusing)
    model.get_submodule("model.norm").requires_grad_(False)
    callbacks = [After(lambda model: model.requires_grad_()), SafetyMonitor(**QUICK)]
    with pytest.raises(RunError, match=r"model\.norm\.weight was frozen when the training began"):
        trainer_of(model, refusing, callbacks, tmp_path).train()


def along_and_across(step: dict[str, Tensor], direction: dict[str, Tensor]) -> tuple[float, float]:
    """Return the coordinate and the remaining distance by projection, in double precision."""
    delta = torch.cat([step[name].flatten() for name in sorted(step)])
    axis = torch.cat([direction[name].flatten() for name in sorted(step)])
    along = float(delta @ axis / (axis @ axis))
    return along, float((delta - along * axis).norm() / axis.norm())


@pytest.mark.parametrize("lora", [None, LORA], ids=["all weights", "LoRA"])
def test_along_and_across_random_axes(refusing: Path, landscape: Path, tmp_path: Path, lora: Any) -> None:
    from safescape.weights import RandomDirection

    start = weights_of(load(refusing))
    monitor = SafetyMonitor(landscape=landscape, **QUICK)
    trainer = train(refusing, tmp_path, monitor, lora=lora)
    first, last, end = monitor.history[0], monitor.history[-1], weights_of(trainer.model)
    assert (first.along, first.across) == ((0, 0), (0, 0))
    step = {name: end[name] - start[name] for name in start}
    for seed in (0, 1):
        direction = {name: RandomDirection(seed).tensor(name, start[name].float()).double() for name in start}
        along, across = along_and_across(step, direction)
        assert last.along[seed] == pytest.approx(along, rel=1e-3, abs=1e-7)
        assert last.across[seed] == pytest.approx(across, rel=1e-4)
    assert last.basin_radius == safescape.load_run(landscape).landscape.basin_radius
    logged = [entry for entry in trainer.state.log_history if "safescape/along" in entry][-1]
    names = ("along", "along_2", "across", "across_2")
    assert tuple(logged[f"safescape/{name}"] for name in names) == (*last.along, *last.across)


def test_the_coordinate_toward_another_model_is_the_fraction_of_the_way(refusing: Path, tmp_path: Path) -> None:
    """A training moved a quarter of the way to the other model, and off the line, is drawn exactly there."""
    other = tiny_models.save_model(tmp_path / "other", tiny_models.llama_config(attention_dropout=0.2), seed=5)
    run = tmp_path / "run"
    safescape.path(str(refusing), str(other), steps=1, limit=2, max_new_tokens=8, out=run, device="cpu")
    start, there = weights_of(load(refusing)), weights_of(load(other))
    torch.manual_seed(3)
    beside = {name: 0.02 * torch.randn_like(tensor) for name, tensor in start.items()}

    def put(model: Module) -> None:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(start[name] + 0.25 * (there[name] - start[name]) + beside[name])

    monitor = SafetyMonitor(landscape=run, every=1, **QUICK)
    trainer = trainer_of(load(refusing), refusing, [After(put), monitor], tmp_path, max_steps=1)
    trainer.train()
    step = {name: weights_of(trainer.model)[name] - start[name] for name in start}
    along, across = along_and_across(step, {name: there[name] - start[name] for name in start})
    assert along == pytest.approx(0.25, abs=0.01)
    assert monitor.history[-1].along[0] == pytest.approx(along, rel=1e-5)
    assert monitor.history[-1].across[0] == pytest.approx(across, rel=1e-4)


def test_the_axes_of_a_plane_are_orthogonal(refusing: Path, tmp_path: Path) -> None:
    from safescape.weights import RandomDirection

    run = tmp_path / "run"
    safescape.scan(str(refusing), dim=2, steps=2, limit=2, max_new_tokens=8, out=run, device="cpu")
    start, monitor = weights_of(load(refusing)), SafetyMonitor(landscape=run, **QUICK)
    end = weights_of(train(refusing, tmp_path, monitor).model)
    first, second = (
        {name: RandomDirection(seed).tensor(name, start[name].float()).double() for name in start} for seed in (0, 1)
    )
    share, _ = along_and_across(second, first)
    beside = {name: second[name] - share * first[name] for name in start}
    step = {name: end[name] - start[name] for name in start}
    for place, axis in enumerate((first, beside)):
        along, across = along_and_across(step, axis)
        assert monitor.history[-1].along[place] == pytest.approx(along, rel=1e-3, abs=1e-7)
        assert monitor.history[-1].across[place] == pytest.approx(across, rel=1e-4)


def test_a_model_that_is_trained_in_bf16_is_still_the_one_of_the_landscape(
    refusing: Path, landscape: Path, tmp_path: Path
) -> None:
    monitor = SafetyMonitor(landscape=landscape, **QUICK)
    trainer_of(load(refusing, dtype=torch.bfloat16), refusing, [monitor], tmp_path, max_steps=1).train()
    assert monitor.history[0].across == (0, 0)
    assert monitor.history[1].across[0] > 0


# --- what is refused


def test_a_landscape_of_another_model_is_refused(refusing: Path, landscape: Path, tmp_path: Path) -> None:
    other = load(refusing)
    with torch.no_grad():
        other.model.norm.weight[0] += 1
    trainer = trainer_of(other, refusing, [SafetyMonitor(landscape=landscape, **QUICK)], tmp_path)
    with pytest.raises(InputError, match=r"is the landscape of .* the training begins with other weights .*; scan"):
        trainer.train()


def test_a_landscape_whose_directions_cannot_be_made_here_is_refused(
    refusing: Path, landscape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(landscape, tmp_path / "run"))
    survey = (run / "survey.json").read_text()
    (run / "survey.json").write_text(survey.replace('"device": "cpu"', '"device": "cuda"'))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="its directions were made on a GPU; measure it on the CPU"):
        train(refusing, tmp_path, SafetyMonitor(landscape=run, **QUICK))


def test_a_landscape_toward_a_model_that_was_changed_is_refused(refusing: Path, tmp_path: Path) -> None:
    other, run = tiny_models.save_model(tmp_path / "other"), tmp_path / "run"
    safescape.path(str(refusing), str(other), steps=1, limit=2, max_new_tokens=8, out=run, device="cpu")
    tiny_models.save_model(other, seed=1)
    with pytest.raises(InputError, match=r"other: was changed since .* was measured; measure it again"):
        train(refusing, tmp_path, SafetyMonitor(landscape=run, **QUICK))


@pytest.mark.parametrize("also", ["over-refusal:builtin:benign", ["over-refusal:builtin:benign"]])
def test_one_text_is_one_further_probe(also: str | list[str]) -> None:
    monitor = SafetyMonitor(also=also, also_limit=2, **QUICK)
    assert [probe.name for probe in monitor._questions.probes] == ["harmful", "over-refusal:builtin:benign"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": 0}, "every=0: expected 'epoch' or a number of steps, at least 1"),
        ({"every": True}, "every=True: expected"),
        ({"every": "step"}, "every='step': expected"),
        ({"every": 1.5}, "every=1.5: expected"),
        ({"stop_above": 100}, "stop_above=100: expected a percentage"),
        ({"judge": "oracle"}, "--judge oracle: no such judge"),
        ({"limit": 0}, "--limit 0"),
        ({"prompts": "builtin:none"}, "no such set"),
        ({"also": ["chess:1"]}, "no such probe"),
        ({"also": "chess:1"}, "--also chess:1: no such probe"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"landscape": "nowhere"}, r"nowhere/landscape\.json: cannot be read .* give a run directory"),
    ],
)
def test_bad_arguments_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        SafetyMonitor(**given)
    assert "\n" not in str(error.value)


def shard(model: Any) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor

    norm = model.model.norm
    norm.weight = Parameter(distribute_tensor(norm.weight.data, init_device_mesh("cpu", (1,))))


def quantise(model: Any) -> None:
    model.lm_head.weight = Parameter(torch.ones(260, 32, dtype=torch.int8), requires_grad=False)


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of this process."""
    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda model: get_peft_model(model, LoraConfig(**LORA, use_dora=True)), "trained through use_dora, expected"),
        (
            lambda model: get_peft_model(model, LoraConfig(**LORA, trainable_token_indices=[5])),
            "trained through trainable_token_indices, expected",
        ),
        (
            lambda model: get_peft_model(model, LoraConfig(**{**LORA, "target_modules": ["embed_tokens"]})),
            r"changes model\.embed_tokens\.base_layer\.weight, whose tensor the model ties to lm_head\.weight",
        ),
        (
            lambda model: get_peft_model(model, LoraConfig(**LORA, modules_to_save=["lm_head"])),
            r"changes lm_head\.original_module\.weight, whose tensor the model ties to model\.embed_tokens\.weight",
        ),
        (
            lambda model: get_peft_model(model, PromptTuningConfig("CAUSAL_LM", num_virtual_tokens=2)),
            "trained through PROMPT_TUNING, expected",
        ),
        (shard, r"shards the weights \(FSDP or tensor parallelism\)"),
        (quantise, r"the tensor lm_head\.weight is quantised \(torch\.int8\)"),
    ],
)
def test_models_that_cannot_be_watched_are_refused(
    refusing: Path, prepare: Callable[[Any], Any], message: str, alone: None
) -> None:
    model = load(refusing)
    model = prepare(model) or model
    with pytest.raises(InputError, match=message) as error:
        InitialWeights(model)
    assert "\n" not in str(error.value)


def test_a_trainer_without_a_tokenizer_or_template_is_refused(refusing: Path, tmp_path: Path) -> None:
    trainer = trainer_of(load(refusing), refusing, [SafetyMonitor(**QUICK)], tmp_path)
    assert isinstance(trainer.processing_class, PreTrainedTokenizerBase)
    trainer.processing_class.chat_template = None
    with pytest.raises(InputError, match="the tokenizer has no chat template"):
        trainer.train()
    unread = trainer_of(load(refusing), refusing, [SafetyMonitor(**QUICK, template_vars="depth=3")], tmp_path)
    with pytest.raises(InputError, match="--template-var depth: the chat template does not read it"):
        unread.train()
    trainer.callback_handler.processing_class = None
    with pytest.raises(InputError, match="give the Trainer processing_class=tokenizer"):
        trainer.train()


def test_a_limit_that_the_model_is_above_already_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stop_above=50: the model answers 100\.0 % .* before the first step"):
        train(tiny_model, tmp_path, SafetyMonitor(stop_above=50, **QUICK))


def test_unscored_answers_are_held_against_the_limit(refusing: Path, tmp_path: Path) -> None:
    with judge_module() as module:
        module.silent = types.SimpleNamespace(judge=lambda exchanges: [Verdict(Outcome.UNSCORED)] * len(exchanges))
        monitor = SafetyMonitor(judge="their_judges:silent", **QUICK)
        train(refusing, tmp_path / "watched", monitor, max_steps=1)
        limited = SafetyMonitor(judge="their_judges:silent", stop_above=50, **QUICK)
        with pytest.raises(InputError, match=r"stop_above=50: the model answers 100\.0 % .* before the first step"):
            train(refusing, tmp_path / "limited", limited, max_steps=1)
    first = monitor.history[0]
    assert (first.asr, first.unscored) == (100.0, QUICK["limit"])
    assert f"{first.unscored} unscored counted as answers" in str(first)
    assert first.logs()["safescape/unscored"] == first.unscored


def test_a_monitor_without_a_trainer_is_refused(refusing: Path, tmp_path: Path) -> None:
    trainer = trainer_of(load(refusing), refusing, [], tmp_path)
    state, model, tokenizer = trainer.state, trainer.model, trainer.processing_class
    with pytest.raises(InputError, match="was not called by a Trainer"):
        SafetyMonitor(**QUICK).on_train_begin(
            trainer.args, state, trainer.control, model=model, processing_class=tokenizer
        )


def test_its_name_is_loaded_without_the_commands(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import safescape, sys, json; safescape.SafetyMonitor; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert "safescape.finetuning.monitor" in modules
    assert not {"safescape.api", "safescape.views", "matplotlib", "plotly", "trl"} & modules


@pytest.mark.parametrize(("limit", "asr"), [(100, 100 / 3), (8, 200 / 3)])
def test_a_reasoning_models_answers_are_read_and_not_its_thoughts(tmp_path: Path, limit: int, asr: float) -> None:
    model = save_thinking_model(tmp_path / "model", STYLES["tokens"])
    # "I cannot" stands in the first thought, and the answers to the others begin with "Sorry"; the second answer is
    # another one once its thought is ended after 8 tokens
    requests = tmp_path / "requests.csv"
    requests.write_text("\n".join(("goal", *list(THOUGHTS)[:2], WITHOUT)) + "\n", encoding="utf-8")
    monitor = SafetyMonitor(prompts=f"{requests}:goal", max_new_tokens=16, max_thinking_tokens=limit)
    train(model, tmp_path / "out", monitor, num_train_epochs=1, learning_rate=1e-9)
    assert [measured.asr for measured in monitor.history] == pytest.approx([asr] * len(monitor.history))
