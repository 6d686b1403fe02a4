"""Judges that need a device, a process, a network or Ray, and the judging of stored answers.

They run after the model under test has been unloaded.
"""

from safescape.judge_runtime.open import JudgeSettings, check_judge, is_model, resolve_judges
from safescape.judge_runtime.stored import (
    Judged,
    JudgeProgress,
    identified_verdicts,
    judge_exchanges,
    judge_stored,
    update_panels,
)

__all__ = [
    "JudgeProgress",
    "JudgeSettings",
    "Judged",
    "check_judge",
    "identified_verdicts",
    "is_model",
    "judge_exchanges",
    "judge_stored",
    "resolve_judges",
    "update_panels",
]
