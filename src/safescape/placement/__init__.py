"""Where a survey is measured: in this process, or on workers of a Ray cluster (`ray_cluster`, extra `ray`)."""

from __future__ import annotations

from safescape.placement.placement import LOCAL, Placement, check_gpus, check_placement, is_out_of_memory

__all__ = ["LOCAL", "Placement", "check_gpus", "check_placement", "is_out_of_memory"]
