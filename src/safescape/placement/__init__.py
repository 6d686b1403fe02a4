"""Where work is done: in this process, or on actors of a Ray. What needs Ray, which is an extra, is in `cluster`."""

from __future__ import annotations

from safescape.placement.flags import HERE, Placement, check_gpus, check_placement
from safescape.placement.memory import is_out_of_memory

__all__ = ["HERE", "Placement", "check_gpus", "check_placement", "is_out_of_memory"]
