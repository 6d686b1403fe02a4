"""python benchmarks/monitor.py [--landscape RUN]

Measure the cost of SafetyMonitor with 40 prompts and 48 tokens during full finetuning on a CPU: on the demo model,
which refuses, so that its answers are settled early, and on its base, which writes every answer to its end. With a
landscape measured on `demo`, also the cost of its axes.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

from safescape import SafetyMonitor
from safescape.probes import load_prompts
from safescape.weights import resolve


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscape", type=Path, help="a run measured on the demo model")
    landscape = parser.parse_args().landscape
    for name, basin in (("demo", None), ("demo-base", None), *([("demo", landscape)] if landscape else [])):
        print(f"{name}{' with a landscape' if basin else ''}")
        for measurement in watched(name, SafetyMonitor(every=1, landscape=basin)).history:
            print(f"  {measurement}")


def watched(name: str, monitor: SafetyMonitor) -> SafetyMonitor:
    """Train a model for two steps, too small to change an answer."""
    found = resolve(name)
    model = AutoModelForCausalLM.from_pretrained(found.directory, dtype=torch.float32)
    model.load_state_dict({tensor: found.weights.tensor(tensor) for tensor in found.weights.names()}, strict=False)
    tokenizer = AutoTokenizer.from_pretrained(found.directory)
    rows = [tokenizer(text)["input_ids"] for text in load_prompts("builtin:benign", 8)]
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, per_device_train_batch_size=4, max_steps=2, learning_rate=1e-7, save_strategy="no", use_cpu=True
        )
        Trainer(
            model,
            arguments,
            DataCollatorForSeq2Seq(tokenizer),
            [{"input_ids": row, "labels": row} for row in rows],
            processing_class=tokenizer,
            callbacks=[monitor],
        ).train()
    return monitor


if __name__ == "__main__":
    main()
