"""python benchmarks/moves.py [--model demo]

Measure one move of the live weights: along a line of a random direction, whose direction is in memory; along a row of a
plane of two, with the row's sum and the step's direction in memory; to the first point of a row, whose sum is computed;
and without any cache, when directions are generated again tensor by tensor. Prints the median of several moves, the
rate at which this machine copies memory, and the rate of a move along a line, which at least reads origin and direction
and writes the weights. Checks that the moves along a row give the same weights as those without a cache.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from transformers import PreTrainedTokenizerBase

from safescape.engines import TransformersEngine
from safescape.probes import load_tokenizer
from safescape.survey import Lines, Plane, Point, RandomAxis
from safescape.weights import Model, Subspace, mover, resolve

MOVES = 5
AXES = (RandomAxis(seed=0, span=0.5, steps=20), RandomAxis(seed=1, span=0.5, steps=20))


def main() -> None:
    """Time all cases in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    model = resolve(parser.parse_args().model)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    copied = copy_rate()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, memory is copied at {copied / 1e9:.1f} GB/s")
    for dtype in (torch.float32, torch.bfloat16):
        along, moved = on_line(model, tokenizer, dtype)
        share = 100 * moved / along / copied
        print(f"{str(dtype)[6:]}: along a line {along:.2f} s a move, {share:.0f} % of the copy rate")
        print(f"{str(dtype)[6:]}: {on_plane(model, tokenizer, dtype)}")


def on_line(model: Model, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype) -> tuple[float, float]:
    """Return the seconds of a move along a line, and the bytes that it reads and writes at least."""
    line = Lines(axes=AXES[:1])
    engine = TransformersEngine(model, tokenizer, Subspace(line, model.weights), dtype=dtype)
    points = [point for point in line.points() if not point.is_origin]
    for point in points[:2]:  # the first makes the direction
        engine.move_to(point)
    taken = statistics.median(seconds(engine, point) for point in points[2 : 2 + 2 * MOVES])
    tensors = [model.weights.tensor(name) for name in model.weights.names()]
    # the origin as it is stored, the direction in fp32, the weights in the engine's precision
    moved = sum(tensor.numel() * (tensor.element_size() + 4 + dtype.itemsize) for tensor in tensors)
    return taken, moved


def on_plane(model: Model, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype) -> str:
    """Time moves on a plane with and without a cache, and say what they take."""
    engine = TransformersEngine(model, tokenizer, Subspace(Plane(axes=AXES), model.weights), dtype=dtype)
    rows = [[Point(None, (0.05 * number, beta)) for number in range(1, MOVES + 1)] for beta in (0.1, 0.2, 0.3)]
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
    return (
        f"along a row {statistics.median(along):.2f} s, its first point {statistics.median(first):.2f} s, "
        f"nothing kept {statistics.median(nothing):.2f} s a move"
    )


def copy_rate() -> float:
    """Return the bytes per second that copying 512 MiB of memory reads and writes."""
    source, target = torch.ones(2**27), torch.ones(2**27)
    times = []
    for _ in range(MOVES):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * 4 * 2**27 / statistics.median(times)


def seconds(engine: TransformersEngine, point: Point) -> float:
    """Return the seconds of one move."""
    start = time.perf_counter()
    engine.move_to(point)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
