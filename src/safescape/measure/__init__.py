"""Measure a survey: at every open point move, ask, judge, store."""

from __future__ import annotations

from safescape.measure.asking import ask, score
from safescape.measure.loop import Progress, measure, weigh_stored
from safescape.measure.station import check_script, find_model

__all__ = ["Progress", "ask", "check_script", "find_model", "measure", "score", "weigh_stored"]
