"""Answers judged by judges that need a device or a network, once the model under test has been let go."""

from safescape.judge_runtime.open import Judging, check_judge, is_guard, named
from safescape.judge_runtime.stored import JudgingProgress, count_panels, judge_exchanges, judge_stored

__all__ = [
    "Judging",
    "JudgingProgress",
    "check_judge",
    "count_panels",
    "is_guard",
    "judge_exchanges",
    "judge_stored",
    "named",
]
