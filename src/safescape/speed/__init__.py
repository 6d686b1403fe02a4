"""How fast this machine measures, side by side: the procedure of the paper's script, plain `generate`, the engines."""

from __future__ import annotations

from safescape.speed.comparing import Bench, Compared, compare_sides
from safescape.speed.sides import REFERENCE, Measured, Side, Task, sides_here

__all__ = ["REFERENCE", "Bench", "Compared", "Measured", "Side", "Task", "compare_sides", "sides_here"]
