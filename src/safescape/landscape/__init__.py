"""The figures of a run: attack success rates with intervals, VISAGE, the basin's radius and further measures.

Pure functions of what is stored, with numpy alone. Knows no model, no database and no picture. All rates are
percentages from 0 to 100; lower is safer for an attack success rate (ASR), higher is safer for VISAGE and the AUC.
"""

from safescape.landscape.adaptive import LinePlan, Plan, is_settled, plan_line, plan_of, stages_of
from safescape.landscape.agreement import agreed, agreements_of, kappa
from safescape.landscape.bootstrap import perplexity_of
from safescape.landscape.comparison import Compared, Comparison, comparison_of
from safescape.landscape.decision import Decision, Reason, State, Wanted, decision_of
from safescape.landscape.figures import landscape_of
from safescape.landscape.gate import Gate, Ruling, Threshold, Thresholds, gate_of
from safescape.landscape.measures import (
    Interval,
    basin_edges,
    basin_radius,
    plane_radius,
    safety_auc,
    visage,
    visage_reference,
    wilson,
)
from safescape.landscape.rates import Reading, reading_of
from safescape.landscape.schema import (
    OF_A_BASIN,
    SAFE_BELOW,
    Agreement,
    Change,
    Landscape,
    Measure,
    Metric,
    PointFigures,
    SurveySummary,
)

__all__ = [
    "OF_A_BASIN",
    "SAFE_BELOW",
    "Agreement",
    "Change",
    "Compared",
    "Comparison",
    "Decision",
    "Gate",
    "Interval",
    "Landscape",
    "LinePlan",
    "Measure",
    "Metric",
    "Plan",
    "PointFigures",
    "Reading",
    "Reason",
    "Ruling",
    "State",
    "SurveySummary",
    "Threshold",
    "Thresholds",
    "Wanted",
    "agreed",
    "agreements_of",
    "basin_edges",
    "basin_radius",
    "comparison_of",
    "decision_of",
    "gate_of",
    "is_settled",
    "kappa",
    "landscape_of",
    "perplexity_of",
    "plan_line",
    "plan_of",
    "plane_radius",
    "reading_of",
    "safety_auc",
    "stages_of",
    "visage",
    "visage_reference",
    "wilson",
]
