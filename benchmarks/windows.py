"""python benchmarks/windows.py [--pairs 5] [FAMILY ...]

Decode 40 prompts of unequal length, up to 48 new tokens each, with small random models whose layers attend within a
window or a chunk that is shorter than the prompts, and with the same models whose windows are longer than all rows, so
that every layer attends to everything. Both run in turn on the same machine; printed are the median times of each and
the median of their ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.families import FAMILIES, Family, save
from safescape.engines import TransformersEngine
from safescape.probes import load_tokenizer
from safescape.survey import Lines, RandomAxis
from safescape.weights import Subspace, quiet, resolve

LINE = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
PROMPTS = [
    f"<|user|>{'which of these words is it '[: 4 + 9 * number % 23]}{number}<|assistant|>" for number in range(40)
]
TOKENS = 48
WINDOWED = ("mistral", "gemma2", "gemma3_text", "gpt_oss", "phi3", "cohere2", "llama4_text", "olmo3")
LAYERS, WINDOW = 8, 16
SIZE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}


def sized(family: Family, window: int) -> Family:
    """Return a family as a model of 5 to 20 million parameters with windows, or chunks, of some length."""
    named = "attention_chunk_size" if family.model_type == "llama4_text" else "sliding_window"
    given = dict(family.settings)
    if "layer_types" in given:
        given["layer_types"] = given["layer_types"] * (LAYERS // len(given["layer_types"]))
    if "head_dim" in given:
        given["head_dim"] = 32
    return family._replace(settings={**given, **SIZE, named: window})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 2)[2])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="by model_type; by default all with windows")
    parser.add_argument("--pairs", type=int, default=5, help="timings of each")
    given = parser.parse_args()
    if unknown := set(given.families) - set(WINDOWED):
        parser.error(f"{min(unknown)}: has no window here; expected {', '.join(WINDOWED)}")
    if given.pairs < 1:
        parser.error(f"--pairs {given.pairs}: expected 1 or more")
    families = {family.model_type: family for family in FAMILIES}
    print("| family | windows | full attention | ratio |\n|---|---:|---:|---:|")
    for family in (families[kind] for kind in given.families or WINDOWED):
        with tempfile.TemporaryDirectory() as directory, quiet():
            opened = [
                engine_of(save(sized(family, window), Path(directory) / str(window))) for window in (WINDOW, 4096)
            ]
            times = [tuple(map(seconds, opened)) for _ in range(given.pairs + 1)][1:]
        windows, full = (statistics.median(each) for each in zip(*times, strict=True))
        ratio = statistics.median(windows / full for windows, full in times)
        print(f"| {family.name} | {1000 * windows:.0f} ms | {1000 * full:.0f} ms | {ratio:.2f} |", flush=True)


def engine_of(directory: Path) -> TransformersEngine:
    """Open a model."""
    model = resolve(str(directory))
    tokenizer = load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    return TransformersEngine(model, tokenizer, Subspace(LINE, model.weights), batch_size=len(PROMPTS))


def seconds(engine: Any) -> float:
    """Return how long the prompts take."""
    start = time.perf_counter()
    engine.respond(PROMPTS, max_new_tokens=TOKENS, stop=())
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
