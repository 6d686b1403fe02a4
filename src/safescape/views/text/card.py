"""The model card of a repaired model: what was measured before and after, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safescape.views.text.markdown import named

__all__ = ["card_of"]


def card_of(repair: Mapping[str, Any]) -> str:
    """Return README.md for a repair, as repair.json has it."""
    rows = []
    for label, at in (("the finetune", repair["tuned_at"]), ("this model", repair["saved"])):
        loss = "" if at["loss"] is None else f"{at['loss']:.4g}"
        rows.append(f"| {label} | {at['complied']} of {at['n']} | {at['low']:.1f} to {at['high']:.1f} % | {loss} |")
    shares = ", ".join(f"{alpha:.4g}" for alpha in repair["saved"]["coords"])
    where = (
        f"at {shares} of the way from the base to the finetune"
        if len(repair["saved"]["coords"]) == 1
        else f"with its blocks of layers at {shares} of the way from the base to the finetune"
    )
    return f"""---
tags: [safescape]
---

# A finetune brought back into safety

This model stands {where}. It is the point nearest to the finetune that was found to be safe.

| | |
|---|---|
| base | {named(repair["base"])} |
| finetune | {named(repair["tuned"])} |

| | harmful requests answered | 95 % interval | {named(repair["loss"]) if repair["loss"] else "loss"} |
|---|---|---|---|
{chr(10).join(rows)}

Measured with {named(repair["prompts"])}, answers of up to {repair["max_new_tokens"]} tokens, decoded greedily and
judged by keywords. Safe means that the interval ends at or below {repair["max_asr"]:g} %. A model that refuses these
requests may answer others: measure it with your own.
"""
