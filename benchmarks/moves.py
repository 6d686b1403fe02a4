"""python benchmarks/moves.py [--model demo]

Measure one move of the live weights along a row of a plane of two random directions: with the row's sum and the step's
direction in memory; on the first point of a row, whose sum is computed; and without any cache, when both directions are
generated again tensor by tensor. Prints the median of several moves, and checks that all give the same weights.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from safescape.engines import TransformersEngine
from safescape.probes import load_tokenizer
from safescape.survey import Plane, Point, RandomAxis
from safescape.weights import Subspace, mover, resolve

MOVES = 5


def main() -> None:
    """Time all cases in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    model = resolve(parser.parse_args().model)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    plane = Plane(axes=(RandomAxis(seed=0, span=0.5, steps=20), RandomAxis(seed=1, span=0.5, steps=20)))
    subspace = Subspace(plane, model.weights)
    rows = [[Point(None, (0.05 * number, beta)) for number in range(1, MOVES + 1)] for beta in (0.1, 0.2, 0.3)]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for dtype in (torch.float32, torch.bfloat16):
        engine = TransformersEngine(model, tokenizer, subspace, dtype=dtype)
        first, along = [], []
        for row in rows:
            engine.move_to(Point(None, (0.0, 0.0)))
            begun, *rest = [seconds(engine, point) for point in row]
            first.append(begun)
            along += rest
        there = engine.fingerprint()
        free, mover.free_memory = mover.free_memory, lambda device: 0
        engine.move_to(Point(None, (0.0, 0.0)))  # drops the cache
        nothing = [seconds(engine, point) for point in rows[-1]]
        mover.free_memory = free
        assert engine.fingerprint() == there
        print(f"{str(dtype)[6:]}: along a row {statistics.median(along):.2f} s, its first point "
              f"{statistics.median(first):.2f} s, nothing kept {statistics.median(nothing):.2f} s a move")  # fmt: skip


def seconds(engine: TransformersEngine, point: Point) -> float:
    """Return the seconds of one move."""
    start = time.perf_counter()
    engine.move_to(point)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
