"""Benchmarks of this machine: the procedure of the paper's script, plain `generate`, and the engines."""

from __future__ import annotations

from safescape.speed.results import Bench, MatrixSizes, SideResult, matrix_sizes, measure_sides
from safescape.speed.sides import (
    REFERENCE,
    PointTiming,
    Side,
    SideTiming,
    Task,
    matmul_rate,
    peak_bytes,
    prefill_tokens,
    sides_here,
)

__all__ = [
    "REFERENCE",
    "Bench",
    "MatrixSizes",
    "PointTiming",
    "Side",
    "SideResult",
    "SideTiming",
    "Task",
    "matmul_rate",
    "matrix_sizes",
    "measure_sides",
    "peak_bytes",
    "prefill_tokens",
    "sides_here",
]
