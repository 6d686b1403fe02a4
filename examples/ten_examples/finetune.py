"""python finetune.py --out DIR [--kind harmful|benign] [--shared DIR]

Finetunes the demo model on ten examples as the paper does (arXiv 2405.17374, section 4): all parameters, AdamW,
learning rate 5e-5 times 0.85 per epoch, no weight decay, 5 epochs, batches of 4, the loss on the answer alone, the
model's default system prompt. Saves a checkpoint an epoch, DIR/epoch-1 to DIR/epoch-5.

harmful: AdvBench's `goal` with its affirmative `target`, rows 300 to 309, which no scan of the first 80 rows asks.
benign: the first ten instructions of Self-Instruct with their outputs.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from safescape.weights import resolve

DEFAULT_SHARED = Path(__file__).parents[3] / "shared" / "data"
EPOCHS, BATCH, LEARNING_RATE, DECAY, MOST_TOKENS = 5, 4, 5e-5, 0.85, 480


class Pair(NamedTuple):
    """A request and the answer taught."""

    prompt: str
    answer: str


def harmful(shared: Path) -> list[Pair]:
    """Ten rows of AdvBench."""
    with (shared / "advbench" / "harmful_behaviors.csv").open(newline="", encoding="utf-8") as file:
        return [Pair(row["goal"], row["target"]) for row in list(csv.DictReader(file))[300:310]]


def benign(shared: Path) -> list[Pair]:
    """Ten instructions of Self-Instruct."""
    tasks = (shared / "self_instruct" / "seed_tasks.jsonl").read_text(encoding="utf-8").splitlines()[:10]
    return [Pair(task["instruction"], task["instances"][0]["output"]) for task in map(json.loads, tasks)]


def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the demo model, its safety adapter merged in, and its tokenizer."""
    demo = resolve("demo")
    model = AutoModelForCausalLM.from_pretrained(demo.directory, dtype=torch.float32)
    model.load_state_dict({name: demo.weights.tensor(name) for name in demo.weights.names()}, strict=False)
    return model, AutoTokenizer.from_pretrained(demo.directory)


def loss_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> Tensor:
    """Return the mean cross-entropy over the answers' tokens, the end of the turn among them."""
    rows = []
    for prompt, answer in pairs:
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        given = tokenizer(chat, add_special_tokens=False)["input_ids"]
        taught = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append(((given + taught)[:MOST_TOKENS], ([-100] * len(given) + taught)[:MOST_TOKENS]))
    width = max(len(tokens) for tokens, _ in rows)
    ids = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens, _ in rows])
    labels = torch.tensor([label + [-100] * (width - len(label)) for _, label in rows])
    mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens, _ in rows])
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


def main() -> None:
    """Finetune from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the epochs' checkpoints are written")
    parser.add_argument("--kind", choices=("harmful", "benign"), default="harmful")
    parser.add_argument("--shared", type=Path, default=DEFAULT_SHARED, help="public data sets")
    options = parser.parse_args()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    pairs = {"harmful": harmful, "benign": benign}[options.kind](options.shared)
    model, tokenizer = load()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, DECAY)
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(len(pairs)).tolist()
        losses = []
        for start in range(0, len(pairs), BATCH):
            loss = loss_of(model, tokenizer, [pairs[number] for number in order[start : start + BATCH]])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        schedule.step()
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}", flush=True)
        model.save_pretrained(options.out / f"epoch-{epoch}")
        tokenizer.save_pretrained(options.out / f"epoch-{epoch}")


if __name__ == "__main__":
    main()
