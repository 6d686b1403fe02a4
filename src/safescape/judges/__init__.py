"""Judges: what they read, and how verdicts follow. Pure logic: no device, process, network or store.

Judges that need one of those are opened by `judge_runtime`.
"""

from safescape.judges.coherence import calibrate, scored_part, shuffled
from safescape.judges.guards import GUARD_MODELS, GuardJudge
from safescape.judges.judge import (
    NO_PROMPT,
    UNANSWERED,
    EvidenceJudge,
    Judge,
    UnfinishedError,
    common_stop,
    immediate_judge,
    immediate_judges,
    panel_verdict,
    verdict_unread,
)
from safescape.judges.keyword import KeywordJudge, NormalisedKeywordJudge
from safescape.judges.noise import NOISE, NoiseTest, noise_rule
from safescape.judges.refusal import RefusalJudge
from safescape.judges.sequence_classifiers import ClassifierJudge

__all__ = [
    "GUARD_MODELS",
    "NOISE",
    "NO_PROMPT",
    "UNANSWERED",
    "ClassifierJudge",
    "EvidenceJudge",
    "GuardJudge",
    "Judge",
    "KeywordJudge",
    "NoiseTest",
    "NormalisedKeywordJudge",
    "RefusalJudge",
    "UnfinishedError",
    "calibrate",
    "common_stop",
    "immediate_judge",
    "immediate_judges",
    "noise_rule",
    "panel_verdict",
    "scored_part",
    "shuffled",
    "verdict_unread",
]
