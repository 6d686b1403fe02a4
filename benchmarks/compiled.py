"""python benchmarks/compiled.py [--model demo] [--rows 8]

Measure on a CPU what a compiler would save of a decoding step, and what it costs: the decoder layers compiled by
torch.compile, in a process that finds nothing in the compiler's cache on disk and in one that finds all of it, beside
the same layers called from Python. All three multiply weights in the usual layout, as a compiler takes no blocked ones.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

import torch
from transformers import DynamicCache, PreTrainedModel

from safescape.engines import load_model
from safescape.errors import InputError
from safescape.weights import resolve

READ, STEPS = 40, 20


def main() -> None:
    """Print the seconds until the first step, and the milliseconds of a step; each line from a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--only", choices=("called", "compiled"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rows < 1:
        parser.error(f"--rows {given.rows}: expected 1 or more")
    try:
        resolve(given.model)
    except InputError as error:
        parser.error(str(error))
    if given.only is not None:
        measure(given.model, given.rows, compiled=given.only == "compiled")
        return
    with tempfile.TemporaryDirectory() as cache:
        for name, only in (("called from Python", "called"), ("compiled", "compiled"), ("from the cache", "compiled")):
            print(f"{name:20}", end="", flush=True)
            subprocess.run(
                [sys.executable, __file__, "--model", given.model, "--rows", str(given.rows), "--only", only],
                env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
                stderr=subprocess.DEVNULL,
                check=True,
            )


def measure(name: str, rows: int, *, compiled: bool) -> None:
    """Print one line."""
    model = load_model(resolve(name), torch.float32, attention="sdpa", trust_remote_code=False).eval()
    if compiled:
        # a layer reads its number from a field: one program for each would pass the limit
        torch._dynamo.config.recompile_limit = 2 * model.config.num_hidden_layers
        for layer in model.get_decoder().layers:
            layer.compile(dynamic=True)
    start = time.perf_counter()
    step(model, rows, 1)
    first = time.perf_counter() - start
    print(f"{first:6.1f} s until the first step, {1e3 * step(model, rows, STEPS):6.1f} ms a step", flush=True)


def step(model: PreTrainedModel, rows: int, steps: int) -> float:
    """Read a prompt and decode some tokens; return the seconds of a step."""
    cache = DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.full((rows, READ), 5), past_key_values=cache, use_cache=True)
        start = time.perf_counter()
        for _ in range(steps):
            model(input_ids=torch.full((rows, 1), 5), past_key_values=cache, use_cache=True)
    return (time.perf_counter() - start) / steps


if __name__ == "__main__":
    main()
