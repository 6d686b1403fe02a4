"""python benchmarks/experts.py [--pairs 9] [FAMILY ...]

Decode 40 prompts of unequal length with tiny random mixtures of experts, up to 24 new tokens each: by the engine, and
by transformers' own `generate` over one left-padded batch. Both run in turn on the same machine; printed are the median
times of each and the median of their ratios. Windows are longer than the prompts with their answers.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.families import FAMILIES, save
from safescape.engines import TransformersEngine
from safescape.probes import load_tokenizer
from safescape.survey import Lines, RandomAxis
from safescape.weights import Subspace, auto_class, quiet, resolve

_LINE = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
PROMPTS = [
    f"<|user|>{'which of these words is it '[: 4 + 9 * number % 23]}{number}<|assistant|>" for number in range(40)
]
TOKENS = 24


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 2)[2])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="by model_type; by default all with experts")
    parser.add_argument("--pairs", type=int, default=9, help="timings of each")
    given = parser.parse_args()
    mixtures = {family.model_type: family for family in FAMILIES if _has_experts(family.settings)}
    if unknown := set(given.families) - mixtures.keys():
        parser.error(f"{min(unknown)}: no tiny mixture of experts; expected {', '.join(sorted(mixtures))}")
    if given.pairs < 1:
        parser.error(f"--pairs {given.pairs}: expected 1 or more")
    print("| family | engine | generate | ratio |\n|---|---:|---:|---:|")
    for family in (mixtures[kind] for kind in given.families or mixtures):
        with tempfile.TemporaryDirectory() as directory, quiet():
            times = paired(save(family.widened(), Path(directory) / "model"), given.pairs)
        ours, plain = (statistics.median(each) for each in zip(*times, strict=True))
        ratio = statistics.median(ours / plain for ours, plain in times)
        print(f"| {family.name} | {1000 * ours:.0f} ms | {1000 * plain:.0f} ms | {ratio:.2f} |", flush=True)


def _has_experts(settings: dict[str, Any]) -> bool:
    return any(name.startswith(("num_experts", "moe_num_experts")) for name in settings) or (
        "text_config" in settings and _has_experts(settings["text_config"])
    )


def paired(directory: Path, pairs: int) -> list[tuple[float, float]]:
    """Return the seconds that the engine and `generate` take, in turn, after one run of each that is not counted."""
    model = resolve(str(directory))
    tokenizer = load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    engine = TransformersEngine(model, tokenizer, Subspace(_LINE, model.weights), batch_size=len(PROMPTS))
    truth: Any = auto_class(AutoConfig.from_pretrained(directory)).from_pretrained(directory, dtype=torch.float32)
    truth.eval()
    padded = tokenizer(PROMPTS, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")

    def ours() -> None:
        engine.respond(PROMPTS, max_new_tokens=TOKENS, stop=())

    def plain() -> None:
        with torch.inference_mode():
            truth.generate(**padded, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)

    times = [(seconds(ours), seconds(plain)) for _ in range(pairs + 1)]
    engine.close()
    return times[1:]


def seconds(work: Any) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
