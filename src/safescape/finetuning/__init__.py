"""Finetuning: watching what a training does to a model's safety."""

from safescape.finetuning.monitor import SafetyMonitor
from safescape.finetuning.watching import Measurement

__all__ = ["Measurement", "SafetyMonitor"]
