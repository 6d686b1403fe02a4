"""Judges: what they read, and how verdicts follow. Pure logic: no device, process, network or store.

Judges that need one of those are opened by `judge_runtime`.
"""

from safescape.judges.classifiers import ClassifierJudge
from safescape.judges.coherence import calibrate, scored_part, shuffled
from safescape.judges.guards import GUARD_MODELS, GuardJudge
from safescape.judges.judge import EvidenceJudge, Judge, UnfinishedError, immediate_judge, immediate_judges
from safescape.judges.keyword import KeywordJudge
from safescape.judges.outcomes import RefusalJudge
from safescape.judges.panel import common_stop, panel_verdict

__all__ = [
    "GUARD_MODELS",
    "ClassifierJudge",
    "EvidenceJudge",
    "GuardJudge",
    "Judge",
    "KeywordJudge",
    "RefusalJudge",
    "UnfinishedError",
    "calibrate",
    "common_stop",
    "immediate_judge",
    "immediate_judges",
    "panel_verdict",
    "scored_part",
    "shuffled",
]
