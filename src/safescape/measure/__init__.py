"""Measure a survey: at every open point move, ask, judge, store."""

from __future__ import annotations

from safescape.measure.asking import ask, score
from safescape.measure.loop import Progress, measure, weigh_stored

__all__ = ["Progress", "ask", "measure", "score", "weigh_stored"]
