"""python benchmarks/moves.py [--model demo]

What one move of the live weights costs on a plane of two random directions: with both directions cached, and with
nothing cached, when they are computed again tensor by tensor. Prints the median of several moves, and checks that
both ways lead to the same weights.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from safescape.engines import TransformersEngine
from safescape.engines import transformers as room
from safescape.probes import load_tokenizer
from safescape.survey import Plane, Point, RandomAxis
from safescape.weights import Subspace, resolve

MOVES = 5


def main() -> None:
    """Time both ways in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    model = resolve(parser.parse_args().model)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    plane = Plane(axes=(RandomAxis(seed=0, span=0.5, steps=20), RandomAxis(seed=1, span=0.5, steps=20)))
    subspace = Subspace(plane, model.weights)
    points = [Point(None, (0.05 * number, 0.1)) for number in range(1, MOVES + 1)]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for dtype in (torch.float32, torch.bfloat16):
        engine = TransformersEngine(model, tokenizer, subspace, dtype=dtype)
        engine.move_to(points[0])  # fills the cache, and knows the directions' lengths from then on
        cached = [seconds(engine, point) for point in points]
        there = engine.fingerprint()
        engine._cached.clear()
        free, room._free_memory = room._free_memory, lambda device: 0
        uncached = [seconds(engine, point) for point in points]
        room._free_memory = free
        assert engine.fingerprint() == there
        print(f"{str(dtype)[6:]}: cached {statistics.median(cached):.2f} s, nothing cached "
              f"{statistics.median(uncached):.2f} s a move")  # fmt: skip


def seconds(engine: TransformersEngine, point: Point) -> float:
    """What one move takes."""
    start = time.perf_counter()
    engine.move_to(point)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
