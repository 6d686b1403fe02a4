"""python benchmarks/blocked_linear.py

Time matrix products with few rows and the demo model's weight shapes, in torch's usual layout and in oneDNN's blocked
layout. Each weight is used once per round, as in a forward pass, so that none stays in the CPU cache. Prints GFLOP/s
and the ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from safescape.engines.blocked_layers import BlockedLinear

SHAPES = ((576, 576), (192, 576), (1536, 576), (576, 1536), (49152, 576))
"""Shapes of the weights: (out, in)."""
ROWS = (8, 40, 80)
WEIGHTS, ROUNDS = 24, 5


def main() -> None:
    """Time each shape in both layouts, alternately."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'dtype':9} {'rows':>4} {'weight':>12} {'usual':>7} {'blocked':>8} {'ratio':>6}")
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            for rows in ROWS:
                for shape in SHAPES:
                    compare(dtype, rows, shape)


def compare(dtype: torch.dtype, rows: int, shape: tuple[int, int]) -> None:
    """Print one line of the table."""
    count = 2 if shape[0] > 10_000 else WEIGHTS
    usual = [torch.nn.Linear(shape[1], shape[0], bias=False, dtype=dtype) for _ in range(count)]
    blocked = [BlockedLinear(layer) for layer in usual]
    states = torch.randn(rows, shape[1], dtype=dtype)
    floating = 2e-9 * rows * shape[0] * shape[1] * count
    # the best of several alternating rounds, because the machine may be busy
    rounds = [(timed(usual, states), timed(blocked, states)) for _ in range(ROUNDS)]
    a, b = (floating / min(times) for times in zip(*rounds, strict=True))
    print(f"{str(dtype)[6:]:9} {rows:4} {shape[0]:>6}x{shape[1]:<5} {a:7.0f} {b:8.0f} {b / a:6.2f}", flush=True)


def timed(layers: Sequence[Callable[[torch.Tensor], torch.Tensor]], states: torch.Tensor) -> float:
    """Return the seconds for all layers once."""
    start = time.perf_counter()
    for layer in layers:
        layer(states)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
