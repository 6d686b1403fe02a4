"""The figures of a run: attack success rates with intervals, VISAGE, the basin's radius and further measures.

Pure functions of what is stored, with numpy alone. Knows no model, no database and no picture. All rates are
percentages from 0 to 100; lower is safer for an attack success rate (ASR), higher is safer for VISAGE and the AUC.
"""

from safescape.landscape.adaptive import is_settled, plan_of, stages_of
from safescape.landscape.comparison import Compared, Comparison, comparison_of
from safescape.landscape.correction import ScoredCounts, corrected_rate, with_corrections
from safescape.landscape.decision import Decision, Reason, State, Wanted, decision_of, prompts_to_decide
from safescape.landscape.directions import DirectionFigures, Directions, directions_of_model
from safescape.landscape.figures import landscape_of
from safescape.landscape.gate import Gate, Ruling, Thresholds, Unscored, gate_of
from safescape.landscape.intervals import Interval, Rate, rate_of, wilson
from safescape.landscape.judge_error import JudgeError, Origin, StratumTable, judge_error_of
from safescape.landscape.known_errors import error_in_run, known_errors
from safescape.landscape.label_sample import Candidate, draw_sample, sampled_strata, strata_of
from safescape.landscape.noise import AskedAgain, sample_design, with_noise
from safescape.landscape.rates import Reading, perplexity_of, reading_of, unit_of
from safescape.landscape.schema import (
    MAX_UNSCORED,
    OF_A_BASIN,
    SAFE_BELOW,
    Change,
    Clash,
    CorrectedChange,
    Corrections,
    Landscape,
    Measure,
    Metric,
    PointFigures,
    StrictFigures,
    Threshold,
    Turn,
)
from safescape.landscape.threshold import margin_of, threshold_of
from safescape.landscape.tolerance import is_above
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
    "AskedAgain",
    "Candidate",
    "Change",
    "Clash",
    "Compared",
    "Comparison",
    "CorrectedChange",
    "Corrections",
    "Decision",
    "DirectionFigures",
    "Directions",
    "Gate",
    "Interval",
    "JudgeError",
    "Landscape",
    "Measure",
    "Metric",
    "Origin",
    "PointFigures",
    "Rate",
    "Reading",
    "Reason",
    "Ruling",
    "ScoredCounts",
    "State",
    "StratumTable",
    "StrictFigures",
    "Threshold",
    "Thresholds",
    "Turn",
    "Unscored",
    "Wanted",
    "comparison_of",
    "corrected_rate",
    "decision_of",
    "directions_of_model",
    "draw_sample",
    "error_in_run",
    "gate_of",
    "is_above",
    "is_mostly_scored",
    "is_settled",
    "judge_error_of",
    "known_errors",
    "landscape_of",
    "margin_of",
    "perplexity_of",
    "plan_of",
    "prompts_to_decide",
    "radius_if_answered",
    "rate_of",
    "reading_of",
    "sample_design",
    "sampled_strata",
    "stages_of",
    "strata_of",
    "threshold_of",
    "undecided_point",
    "unit_of",
    "unscored_at",
    "unscored_in",
    "wilson",
    "with_corrections",
    "with_noise",
]
