"""`finetune` on tiny models: it trains as documented, resumes after a kill, and refuses data without answers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import safescape
from helpers import tiny_models
from helpers.command_line import run_command
from safescape import InputError, RunError
from safescape.finetuning import Step

PAIRS = [{"prompt": f"what is {n}?", "response": f"it is {n} and no more"} for n in range(10)]


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    return str(path)


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def test_a_full_finetune_trains_every_tensor_and_saves_a_checkpoint_an_epoch(
    tiny_model: Path, data: str, tmp_path: Path
) -> None:
    steps: list[int] = []
    made = safescape.finetune(
        str(tiny_model), out=tmp_path / "out", data=data, epochs=2, on_step=lambda step: steps.append(step.done)
    )
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in made.checkpoints] == ["checkpoint-3", "checkpoint-6"]
    assert len(made.losses) == 2
    assert made.stopped_at is None
    before, after = weights_of(tiny_model), weights_of(made.directory)
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    last = weights_of(made.checkpoints[-1])
    assert all(torch.equal(last[name], after[name]) for name in after)
    for directory in (made.directory, *made.checkpoints):
        AutoModelForCausalLM.from_pretrained(directory)
        assert AutoTokenizer.from_pretrained(directory).chat_template
        assert not [path.name for path in directory.iterdir() if path.suffix in (".pt", ".bin")]
    # the same call again trains nothing
    trained: list[Step] = []
    again = safescape.finetune(str(tiny_model), out=tmp_path / "out", data=data, epochs=2, on_step=trained.append)
    assert trained == []
    assert again == made


def test_the_loss_covers_the_answers_alone_and_the_rate_falls_once_an_epoch(
    tiny_model: Path, data: str, tmp_path: Path
) -> None:
    """The first step's loss equals an independent computation; the learning rates are those that the Trainer logs."""
    losses: list[float] = []
    made = safescape.finetune(
        str(tiny_model),
        out=tmp_path / "out",
        data=data,
        epochs=3,
        batch_size=10,
        on_step=lambda step: losses.append(step.loss),
    )
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    total, count = torch.zeros(()), 0
    for pair in PAIRS:
        turns = [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair["response"]}]
        request = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        given = len(tokenizer(request, add_special_tokens=False)["input_ids"])
        tokens = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"]])
        logits = model(tokens).logits[0, given - 1 : -1].log_softmax(-1)
        total -= logits.gather(1, tokens[0, given:, None]).sum().detach()
        count += tokens.shape[1] - given
    assert losses[0] == pytest.approx(float(total / count), rel=1e-4)
    state = json.loads((made.checkpoints[-1] / "trainer_state.json").read_text(encoding="utf-8"))
    rates = [entry["learning_rate"] for entry in state["log_history"] if "learning_rate" in entry]
    assert rates == pytest.approx([5e-5, 5e-5 * 0.85, 5e-5 * 0.85**2])


def test_a_lora_is_saved_as_an_adapter_of_the_named_model(tiny_model: Path, data: str, tmp_path: Path) -> None:
    made = safescape.finetune(str(tiny_model), out=tmp_path / "lora", data=data, epochs=1, lora=True, rank=2)
    config = json.loads((made.directory / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (2, 4, str(tiny_model))
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), made.directory)
    # an adapter trained on top of another one applies to the base with that adapter, not to the base alone
    both = f"{tiny_model}+{made.directory}"
    second = safescape.finetune(both, out=tmp_path / "second", data=data, epochs=1, lora=True, rank=2)
    config = json.loads((second.directory / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == both


def test_frozen_layers_do_not_change(tiny_model: Path, data: str, tmp_path: Path) -> None:
    made = safescape.finetune(str(tiny_model), out=tmp_path / "out", data=data, epochs=1, freeze=1)
    before, after = weights_of(tiny_model), weights_of(made.directory)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if ".layers.0." not in name and "embed" not in name}
    with pytest.raises(InputError, match="--freeze 3: the model has 2 layers"):
        safescape.finetune(str(tiny_model), out=tmp_path / "no", data=data, freeze=3)
    # the refused call left no file that would prevent the next one
    safescape.finetune(str(tiny_model), out=tmp_path / "no", data=data, freeze=2, epochs=1)


def test_a_monitor_does_not_change_the_weights_and_refuses_an_unsafe_start(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = safescape.finetune(str(tiny_model), out=tmp_path / "plain", data=data, epochs=2)
    watched = safescape.finetune(str(tiny_model), out=tmp_path / "watched", data=data, epochs=2, watch=True)
    assert watched.losses == plain.losses
    expected, found = weights_of(plain.directory), weights_of(watched.directory)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert capfd.readouterr().err.count("ASR ") == 3
    # a tiny random model refuses nothing; tests/unit/finetuning/test_monitor.py stops a training early
    with pytest.raises(InputError, match=r"answers 100\.0 % of the harmful prompts before the first step"):
        safescape.finetune(str(tiny_model), out=tmp_path / "stopped", data=data, watch=True, stop_above=50)
    with pytest.raises(InputError, match="--stop-above 50: nothing is watched"):
        safescape.finetune(str(tiny_model), out=tmp_path / "no", data=data, stop_above=50)


KILLED = """
import os, signal, sys
import safescape
from safescape.finetuning import training
model, data, out, when = sys.argv[1:]

def die(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)

def at(step):
    if step.done == int(when):
        die()

if when == "save":
    save = training._Trainer._save_optimizer_and_scheduler
    training._Trainer._save_optimizer_and_scheduler = lambda self, directory: (
        die() if self.state.global_step == 6 else save(self, directory)
    )
    at = None
elif when == "end":
    training.finish = die
    at = None
safescape.finetune(model, out=out, data=data, epochs=3, on_step=at)
"""


@pytest.mark.parametrize("when", ["2", "5", "save", "end"])
def test_a_killed_finetune_resumes_to_the_same_weights(tiny_model: Path, data: str, tmp_path: Path, when: str) -> None:
    whole = safescape.finetune(str(tiny_model), out=tmp_path / "whole", data=data, epochs=3)
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(tiny_model), data, str(out), when]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    steps: list[int] = []
    made = safescape.finetune(str(tiny_model), out=out, data=data, epochs=3, on_step=lambda s: steps.append(s.done))
    assert steps == {"2": [*range(1, 10)], "5": [*range(4, 10)], "save": [*range(4, 10)], "end": []}[when]
    assert [path.name for path in made.checkpoints] == ["checkpoint-3", "checkpoint-6", "checkpoint-9"]
    assert made.losses == pytest.approx(whole.losses)
    expected, found = weights_of(whole.directory), weights_of(made.directory)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_nan_loss_stops_training_and_keeps_the_last_good_checkpoint(
    tiny_model: Path, data: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(RunError, match=r"NaN or infinite at step \d+; no checkpoint was saved yet; lower"):
        safescape.finetune(str(tiny_model), out=out, data=data, epochs=9, learning_rate=1e38)
    assert not list(out.glob("checkpoint-*/model.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_tokens": 13}, "nothing is left of 10 of 10 answers"),
        ({"lora": True, "freeze": 1}, "--lora --freeze 1"),
        ({"report_to": ["excel"]}, "--report-to excel: expected tensorboard"),
        ({"epochs": 0}, "--epochs 0"),
        ({"learning_rate": 0.0}, "--learning-rate 0"),
        ({"decay": 1.5}, "--decay 1.5"),
    ],
)
def test_bad_input_is_refused(
    tiny_model: Path, data: str, tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        safescape.finetune(str(tiny_model), out=tmp_path / "out", data=data, **arguments)
    assert not list(tmp_path.glob("out/checkpoint*"))


def test_truncated_answers_are_counted_and_named(tiny_model: Path, tmp_path: Path) -> None:
    rows = [*PAIRS[:2], {"prompt": "long " * 40, "response": "yes"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InputError, match=r"nothing is left of 1 of 3 answers \(rows 3\)"):
        safescape.finetune(str(tiny_model), out=tmp_path / "out", data=str(path), max_tokens=100)


TEMPLATES = {
    "no generation prompt": (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}",
        "<|assistant|>",
    ),
    "renders this conversation differently": (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "--chat-template FILE",
    ),
    "refuses this conversation": ("{{ raise_exception('no such role') }}", "no such role"),
    "row 1: the chat template refuses": ("{{ messages[0].content + 1 }}", "can only concatenate str"),
}


@pytest.mark.parametrize("said", TEMPLATES)
def test_unusable_chat_templates_are_refused(tiny_model: Path, data: str, tmp_path: Path, said: str) -> None:
    template, also = TEMPLATES[said]
    (tmp_path / "template.jinja").write_text(template, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        safescape.finetune(str(tiny_model), out=tmp_path / "out", data=data, chat_template=tmp_path / "template.jinja")
    assert also in str(caught.value)


STYLED = (
    "{% if style %}<|{{ style }}|>{% endif %}"
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_variables_of_the_chat_template_reach_the_training_and_the_monitor(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    styled, written_out = tmp_path / "styled.jinja", tmp_path / "written-out.jinja"
    styled.write_text(STYLED, encoding="utf-8")
    written_out.write_text(STYLED.replace("style", "'user'"), encoding="utf-8")
    given: dict[str, Any] = {"data": data, "epochs": 1, "watch": True}

    def trained(out: str, template: Path, *variables: str) -> tuple[float, ...]:
        options = {**given, "chat_template": template, "template_vars": variables}
        return safescape.finetune(str(tiny_model), out=tmp_path / out, **options).losses

    plain = trained("plain", styled)
    expected = trained("written-out", written_out)
    capfd.readouterr()
    assert trained("variable", styled, "style=user") == expected != plain
    assert capfd.readouterr().err.count("ASR ") == 2
    # the same finetune again; with another value of the variable, or another template, it is another one
    assert trained("variable", styled, "style=user") == expected
    with pytest.raises(InputError, match=r"\(template_vars\.style: 'assistant' here, 'user' there\)"):
        trained("variable", styled, "style=assistant")
    with pytest.raises(InputError, match=r"another finetune \(chat_template: "):
        trained("written-out", styled)
    with pytest.raises(InputError, match="--template-var depth: the chat template does not read it"):
        trained("none", styled, "depth=3")
    with pytest.raises(InputError, match="--template-var style: finetune takes texts, numbers"):
        trained("none", styled, 'style=["a", 1]')
    assert not (tmp_path / "none").exists()


def test_a_finetune_of_a_version_that_did_not_record_the_template_resumes(
    tiny_model: Path, data: str, tmp_path: Path
) -> None:
    made = safescape.finetune(str(tiny_model), out=tmp_path / "out", data=data, epochs=1)
    path = tmp_path / "out" / "finetune.json"
    specification = json.loads(path.read_text(encoding="utf-8"))
    assert len(specification.pop("chat_template")) == 64
    path.write_text(json.dumps(specification), encoding="utf-8")
    assert safescape.finetune(str(tiny_model), out=tmp_path / "out", data=data, epochs=1) == made


def test_a_directory_with_other_contents_is_refused(tiny_model: Path, data: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already holds"):
        safescape.finetune(str(tiny_model), out=tiny_models.save_model(tmp_path / "other"), data=data)
    safescape.finetune(str(tiny_model), out=tmp_path / "out", data=data, epochs=1)
    with pytest.raises(InputError, match=r"another finetune \(seed: 1 here, 0 there\)"):
        safescape.finetune(str(tiny_model), out=tmp_path / "out", data=data, epochs=1, seed=1)


def test_the_command_trains_and_prints_its_result(tiny_model: Path, data: str, tmp_path: Path) -> None:
    words = ["finetune", tiny_model, "--data", data, "--epochs", 1]
    done = run_command(*words, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == str(tmp_path / "out")
    assert "3/3 steps" in done.stderr
    refused = run_command(*words, "--recipe", "nonsense", "--out", "x")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from safescape.cli import main
main()
"""


@pytest.mark.parametrize("room", [200, 60_000, 120_000])
def test_a_full_disk_is_reported_in_one_line_and_the_command_resumes(
    tiny_model: Path, data: str, tmp_path: Path, room: int
) -> None:
    """The disk is full at the specification, in the weights, or in the optimizer's state."""
    arguments = ["finetune", str(tiny_model), "--data", data, "--epochs", "1", "--out", str(tmp_path / "out")]
    full = subprocess.run([sys.executable, "-c", FULL, str(room), *arguments], capture_output=True, text=True)
    assert full.returncode == 2, full.stderr
    (line,) = [line for line in full.stderr.splitlines() if not line.startswith(("1/", "2/", "3/"))]
    assert line.startswith("safescape: ")
    assert "cannot be written" in line
    made = safescape.finetune(str(tiny_model), data=data, epochs=1, out=tmp_path / "out")
    assert made.steps == 3


def test_a_tracker_that_is_not_installed_is_refused(
    tiny_model: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safescape.api.finetune.find_spec", lambda name: None)
    with pytest.raises(InputError, match="--report-to mlflow: is not installed; pip install mlflow"):
        safescape.finetune(str(tiny_model), data=data, out=tmp_path / "out", report_to=["mlflow"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "{model}", "--out", "o"], "--data is missing"),
        (["finetune", "{model}", "--data", "{data}", "--shots", "11", "--out", "o"], "11 are asked for"),
        (["finetune", "{model}", "--data", "{data}", "--stop-above", "5", "--out", "o"], "nothing is watched"),
        (["finetune", "nowhere", "--recipe", "benign", "--out", "o"], "no such model"),
        (["finetune", "{model}", "--data", "{data}"], "Missing option '--out'"),
        (["repair", "{model}", "{model}", "--out", "o"], "has the very weights of"),
        (["repair", "{model}", "{model}", "--limit", "3", "--out", "o"], "give at least 35 with --limit"),
        (["repair", "{model}", "--out", "o"], "Missing argument 'TUNED'"),
        (["study", "finetuning", "{model}", "--data", "none.csv", "--out", "o"], "no such file"),
        (
            ["study", "finetuning", "{model}", "--data", "{data}", "--shots", "2", "x", "--out", "o"],
            "--shots 2,x: expected",
        ),
        (["study", "swimming"], "No such command 'swimming'"),
    ],
)
def test_bad_flags_are_refused_in_one_line(
    tiny_model: Path, data: str, refused: Callable[[Sequence[str], str], None], arguments: list[str], message: str
) -> None:
    refused([argument.format(model=tiny_model, data=data) for argument in arguments], message)
