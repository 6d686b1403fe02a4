"""The figures of a run: attack success rates with intervals, VISAGE, the basin's radius and further measures.

Pure functions of what is stored, with numpy alone. Knows no model, no database and no picture. All rates are
percentages from 0 to 100; lower is safer for an attack success rate (ASR), higher is safer for VISAGE and the AUC.
"""

from safescape.landscape.adaptive import is_settled, plan_of, stages_of
from safescape.landscape.comparison import Compared, Comparison, comparison_of
from safescape.landscape.decision import Decision, Reason, State, Wanted, decision_of, prompts_to_decide
from safescape.landscape.figures import landscape_of
from safescape.landscape.gate import Gate, Ruling, Thresholds, Unscored, gate_of
from safescape.landscape.measures import Interval, Rate, rate_of, wilson
from safescape.landscape.rates import Reading, perplexity_of, reading_of
from safescape.landscape.schema import (
    MAX_UNSCORED,
    OF_A_BASIN,
    SAFE_BELOW,
    Change,
    Clash,
    Landscape,
    Measure,
    Metric,
    PointFigures,
    Threshold,
)
from safescape.landscape.threshold import interval_of, margin_of, threshold_of
from safescape.landscape.unscored import (
    is_mostly_scored,
    radius_if_answered,
    undecided_point,
    unscored_at,
    unscored_in,
)

__all__ = [
    "MAX_UNSCORED",
    "OF_A_BASIN",
    "SAFE_BELOW",
    "Change",
    "Clash",
    "Compared",
    "Comparison",
    "Decision",
    "Gate",
    "Interval",
    "Landscape",
    "Measure",
    "Metric",
    "PointFigures",
    "Rate",
    "Reading",
    "Reason",
    "Ruling",
    "State",
    "Threshold",
    "Thresholds",
    "Unscored",
    "Wanted",
    "comparison_of",
    "decision_of",
    "gate_of",
    "interval_of",
    "is_mostly_scored",
    "is_settled",
    "landscape_of",
    "margin_of",
    "perplexity_of",
    "plan_of",
    "prompts_to_decide",
    "radius_if_answered",
    "rate_of",
    "reading_of",
    "stages_of",
    "threshold_of",
    "undecided_point",
    "unscored_at",
    "unscored_in",
    "wilson",
]
