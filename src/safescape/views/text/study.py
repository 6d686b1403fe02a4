"""The table of a finetuning study, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safescape.views.text.markdown import named

__all__ = ["study_table"]


def study_table(study: Mapping[str, Any]) -> str:
    """Return study.md for a study, as study.json has it."""
    before = study["before"]
    rows = [
        ("as it is", before["asr"], "", "", ""),
        *(
            (arm["name"], arm["asr"], f"{arm['steps']}", f"{arm['losses'][-1]:.3f}", _metric(arm["edge"], 2))
            for arm in study["arms"]
        ),
    ]
    return f"""# How many harmful examples break {named(study["model"])}

VISAGE before: {_metric(before["visage"])}; basin radius {_metric(before["radius"], 3)}.

| finetuned on | ASR, % (95 %) | steps | last loss | safe as far as α = |
|---|---|---|---|---|
{chr(10).join(f"| {' | '.join((name, _rate(asr), *others))} |" for name, asr, *others in rows)}

ASR on {before["asr"]["n"]} requests of {named(study["prompts"])}, none of which was taught. α runs from the model
(0) to each finetune (1).
"""


def _rate(asr: Mapping[str, float]) -> str:
    return f"{asr['value']:.1f} ({asr['low']:.1f} to {asr['high']:.1f})"


def _metric(metric: Mapping[str, Any], decimals: int = 1) -> str:
    if metric["value"] is None:
        return "not measured"
    least = "at least " if metric["at_least"] else ""
    return f"{least}{metric['value']:.{decimals}f} ({metric['low']:.{decimals}f} to {metric['high']:.{decimals}f})"
