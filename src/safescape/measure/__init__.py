"""Measure a survey: at every open point move, ask, judge, store."""

from __future__ import annotations

from safescape.measure.loop import Progress, measure, weigh_stored
from safescape.measure.session import check_script, find_model
from safescape.measure.stages import ask, score

__all__ = ["Progress", "ask", "check_script", "find_model", "measure", "score", "weigh_stored"]
