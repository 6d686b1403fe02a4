"""How fast this machine measures, side by side: the procedure of the paper's script, plain `generate`, the engines."""

from __future__ import annotations

from safescape.speed.results import Bench, Compared, Matrices, compare_sides, matrices_of
from safescape.speed.sides import REFERENCE, Measured, Side, Task, peak_bytes, product_rate, read_once, sides_here

__all__ = [
    "REFERENCE",
    "Bench",
    "Compared",
    "Matrices",
    "Measured",
    "Side",
    "Task",
    "compare_sides",
    "matrices_of",
    "peak_bytes",
    "product_rate",
    "read_once",
    "sides_here",
]
