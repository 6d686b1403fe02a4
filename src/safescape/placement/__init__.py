"""Where work is done: in this process, or on actors of a Ray cluster. `ray` needs the extra of that name."""

from __future__ import annotations

from safescape.placement.check import check_placement
from safescape.placement.placement import HERE, Placement, check_gpus, is_out_of_memory

__all__ = ["HERE", "Placement", "check_gpus", "check_placement", "is_out_of_memory"]
