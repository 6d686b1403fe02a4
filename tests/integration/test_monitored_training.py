"""The script of the documentation runs unchanged, and a training on two processes is monitored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import tiny_models

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "monitor" / "train.py"


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_refusing_model(tmp_path_factory.mktemp("refusing"), attention_dropout=0.2)


def test_the_page_shows_the_script_that_runs() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 30
    assert f"```python\n{text}```" in (ROOT / "docs" / "monitor.md").read_text(encoding="utf-8")


def test_the_script_runs_as_written(refusing: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(refusing)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.strip().startswith("safescape: step ")]
    assert [line.split(",")[0].split()[-1] for line in lines] == [str(step) for step in range(16)]
    assert all("over-refusal" in line and "moved" in line for line in lines)


TRAINING = """
import json, os, sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments
import safescape

model, out, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(model)
rows = [tokenizer(f"<|user|>{word}<|end|><|assistant|>Yes!<|end|>")["input_ids"] for word in ("ant", "bee", "cat", "d")]
monitor = safescape.SafetyMonitor(limit=6, max_new_tokens=8, every=1, **settings) if settings is not None else None
arguments = TrainingArguments(
    str(out), per_device_train_batch_size=1, num_train_epochs=3, learning_rate=2e-2, use_cpu=True, save_strategy="no"
)
trainer = Trainer(
    AutoModelForCausalLM.from_pretrained(model), arguments, DataCollatorForSeq2Seq(tokenizer),
    [{"input_ids": row, "labels": row} for row in rows], processing_class=tokenizer,
    callbacks=[monitor] if monitor else [],
)
trainer.train()
rank = os.environ["RANK"]
torch.save(trainer.model.state_dict(), out / f"weights-{rank}")
history = [[m.step, m.asr, m.moved] for m in monitor.history] if monitor else []
(out / f"history-{rank}").write_text(json.dumps([history, trainer.state.global_step]))
# The Trainer leaves the process group open. A thread of torch's that outlives it sometimes aborts the interpreter as it
# ends ("terminate called without an active exception", without a monitor, too), so the interpreter does not end itself.
torch.distributed.barrier()
torch.distributed.destroy_process_group()
sys.stdout.flush()
os._exit(0)
"""


def in_two_processes(refusing: Path, directory: Path, settings: object) -> subprocess.CompletedProcess[str]:
    directory.mkdir()
    script = directory / "training.py"
    script.write_text(TRAINING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, str(script), str(refusing), str(directory), json.dumps(settings)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_one_of_two_processes_measures_and_both_get_the_result(refusing: Path, tmp_path: Path) -> None:
    for name, settings in (("without", None), ("with", {}), ("stopped", {"stop_above": 50})):
        done = in_two_processes(refusing, tmp_path / name, settings)
        assert done.returncode == 0, done.stderr
    (first, steps), second = (json.loads((tmp_path / "with" / f"history-{rank}").read_text()) for rank in (0, 1))
    assert [first, steps] == second
    assert [step for step, _, _ in first] == list(range(7))
    assert done.stderr.count("stops the training") == 1
    for rank in (0, 1):
        history, steps = json.loads((tmp_path / "stopped" / f"history-{rank}").read_text())
        assert history[-1][1] > 50
        assert history[-1][0] == steps < 6
        without, watched = (torch.load(tmp_path / name / f"weights-{rank}") for name in ("without", "with"))
        assert all(torch.equal(without[name], watched[name]) for name in without)


def test_a_failed_measurement_does_not_block_the_other_process(refusing: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "x"}\n')
    done = in_two_processes(refusing, tmp_path / "failing", {"also": [f"perplexity:{texts}:text"]})
    assert done.returncode != 0
    assert "too short to be scored" in done.stderr
    assert "the main process could not measure the model" in done.stderr
